// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import PostgresClient

/// How fast relays drain tasks that are there already: one relay, and several on one queue, in one process.
package struct DrainScenario: Scenario {
    package let name = "drain"
    package let summary = "tasks that wait already, drained by 1, 2 and 4 relays with a handler that does nothing"
    package let floor = "the same claims and settlements from as many bare loops; and the least SQL, on a plain table"
    package let defaults = "100,000 tasks, 5 runs"
    package let takes = "3 min"

    package init() {}

    package func measure(in context: BenchContext) async throws -> [ScenarioResult] {
        var results: [ScenarioResult] = []
        for relays in [1, 2, 4] {
            results += try await measure(relays: relays, in: context)
        }
        return results
    }

    private func measure(relays: Int, in context: BenchContext) async throws -> [ScenarioResult] {
        let tasks = context.sizes.tasks ?? 100_000
        var result = ScenarioResult(
            name, relays == 1 ? "1 relay" : "\(relays) relays", unit: "tasks/s", runs: [])
        // Not measured: it warms the caches up, and asks what a claim touches in the middle of a drain.
        let probe = try await Drain(tasks: tasks, relays: relays, probes: true).run(in: context)
        var costs: [Cost] = []
        var floorCosts: [Cost] = []
        var plain: [Drain.Outcome] = []
        for run in 1...(context.sizes.runs ?? 5) {
            if relays == 1 { plain.append(try await Self.plainFloor(tasks: tasks, in: context)) }
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
        guard !plain.isEmpty else { return [result] }
        var beyond = ScenarioResult(
            name, "1 relay, over plain SQL", unit: result.unit,
            runs: zip(result.runs, plain).map { .init(value: $0.value, floor: $1.rate) })
        beyond.cost = result.cost
        beyond.floorCost = Cost(medianOf: plain.map(\.cost))
        return [result, beyond]
    }

    private static func plainFloor(tasks: Int, in context: BenchContext) async throws -> Drain.Outcome {
        let schema = context.schema
        let filling = PlainLoop.filling(in: schema, tasks: tasks, payload: context.sizes.payload)
        // as a preload is: after the checkpoint, on new pages
        try await context.database.withConnection { try await $0.runScript(PlainLoop.table(in: schema)) }
        try await context.bench.checkpoint()
        try await context.database.withConnection { try await $0.runScript(filling, timeout: .seconds(600)) }
        let flag = Flag()
        let before = try await context.meter.read()
        let done = try await withTaskCancellationHandler {
            try await onThread { [url = context.url] in try PlainLoop(url: url, schema: schema).drain(until: flag) }
        } onCancel: {
            flag.raise()
        }
        let after = try await context.meter.read()
        try Task.checkCancellation()
        return try outcome(done: done, of: tasks, before, after)
    }

    private static func outcome(
        done: Int, of tasks: Int, _ before: Meter.Reading, _ after: Meter.Reading
    ) throws -> Drain.Outcome {
        guard done == tasks else { throw BenchFailure("the floor drained \(done) of \(tasks) tasks") }
        var cost = after.cost(since: before, tasks: tasks)
        // the process has had relays in it
        cost.residentBytes = nil
        return Drain.Outcome(rate: Double(tasks) / after.seconds(since: before), cost: cost)
    }

    /// The floor of a drain: bare loops on tasks of the same number and size.
    static func floor(tasks: Int, connections: Int, in context: BenchContext) async throws -> Drain.Outcome {
        try await context.bench.empty()
        try await context.bench.preload(tasks, payload: context.sizes.payload)
        let before = try await context.meter.read()
        let done = try await FloorLoop(url: context.url, schema: context.schema).drain(connections: connections)
        let after = try await context.meter.read()
        return try outcome(done: done, of: tasks, before, after)
    }
}
