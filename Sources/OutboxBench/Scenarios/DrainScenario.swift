// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import OutboxRelay

/// How fast relays drain tasks that are there already: one relay, and several on one queue.
package struct DrainScenario: Scenario {
    package let name = "drain"
    package let summary = "tasks that wait already, drained by 1, 2 and 4 relays with a handler that does nothing"
    package let floor = "the same claims and settlements from bare loops over libpq, as many as there are relays"
    package let defaults = "100,000 tasks, 5 runs"
    package let takes = "2 min"

    package init() {}

    package func measure(in context: BenchContext) async throws -> [ScenarioResult] {
        var results: [ScenarioResult] = []
        for relays in [1, 2, 4] {
            results.append(try await measure(relays: relays, in: context))
        }
        return results
    }

    private func measure(relays: Int, in context: BenchContext) async throws -> ScenarioResult {
        let tasks = context.sizes.tasks ?? 100_000
        var result = ScenarioResult(
            name, relays == 1 ? "1 relay" : "\(relays) relays", unit: "tasks/s", runs: [])
        // Not measured: it warms the caches up, and asks what a claim touches in the middle of a drain.
        let probe = try await Drain(tasks: tasks, relays: relays, probes: true).run(in: context)
        var costs: [Cost] = []
        var floorCosts: [Cost] = []
        for run in 1...(context.sizes.runs ?? 5) {
            let floor = try await Self.floor(tasks: tasks, connections: relays, in: context)
            let drain = try await Drain(tasks: tasks, relays: relays).run(in: context)
            context.note("\(result.variant), run \(run): \(Int(drain.rate)) tasks/s, floor \(Int(floor.rate))")
            result.runs.append(.init(value: drain.rate, floor: floor.rate))
            costs.append(drain.cost)
            floorCosts.append(floor.cost)
        }
        result.cost = Cost(medianOf: costs)
        result.cost.claimBuffers = probe.cost.claimBuffers
        result.floorCost = Cost(medianOf: floorCosts)
        return result
    }

    /// The floor of a drain: bare loops on tasks of the same number and size.
    static func floor(tasks: Int, connections: Int, in context: BenchContext) async throws -> Drain.Outcome {
        try await context.bench.empty()
        try await context.bench.preload(tasks, payload: context.sizes.payload)
        let before = try await context.meter.read()
        let done = try await FloorLoop(url: context.url, schema: context.schema).drain(connections: connections)
        let after = try await context.meter.read()
        guard done == tasks else { throw BenchFailure("the floor drained \(done) of \(tasks) tasks") }
        return Drain.Outcome(
            rate: Double(tasks) / after.seconds(since: before), cost: after.cost(since: before, tasks: tasks))
    }
}

/// One drain of tasks that are there already, each counted.
struct Drain: Sendable {
    struct Outcome: Sendable {
        /// Tasks in a second, from the relays' start until everything is settled.
        let rate: Double
        var cost: Cost
    }

    let tasks: Int
    var relays = 1
    /// Asks in the middle what a claim touches, which costs time.
    var probes = false

    func run(in context: BenchContext) async throws -> Outcome {
        try await context.bench.empty()
        try await context.bench.preload(tasks, payload: context.sizes.payload)
        let ledger = Ledger(tasks: tasks)
        let watch = probes ? ClaimWatch() : nil
        let handler = Handler(kind: "bench.task") { task, _ in ledger.note(task) }
        let relays = try (0..<relays).map { _ in try context.relay([handler], watch: watch) }
        let before = try await context.meter.read()
        let buffers = try await context.running(relays) { [tasks] in
            var buffers: Double?
            if let watch {
                try await ledger.wait(for: tasks / 2)
                buffers = try await watch.buffers(in: context.database)
            }
            try await ledger.wait()
            return buffers
        }
        let after = try await context.meter.read()
        try ledger.check()
        let remaining = try await context.bench.remaining()
        guard remaining == 0 else { throw BenchFailure("\(remaining) tasks ran and were not settled") }
        var cost = after.cost(since: before, tasks: tasks)
        cost.claimBuffers = buffers
        return Outcome(rate: Double(tasks) / after.seconds(since: before), cost: cost)
    }
}
