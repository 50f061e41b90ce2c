// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import OutboxCore
internal import OutboxRelay

/// Whether a relay keeps up with producers, at a rate and with as many tasks as they can make.
package struct SteadyScenario: Scenario {
    package let name = "steady"
    package let summary = "tasks enqueued and drained at the same time, at a rate and at the most"
    package let floor = "the same load, drained by a bare loop over libpq that pauses as the relay does"
    package let defaults = "2,000 tasks/s and the most, 10 s each, 3 runs"
    package let takes = "2 min"

    package init() {}

    package func measure(in context: BenchContext) async throws -> [ScenarioResult] {
        let rate = context.sizes.rate ?? 2000
        return [
            try await measure("\(Int(rate)) tasks/s", rate: rate, in: context),
            try await measure("at the most", rate: nil, in: context),
        ]
    }

    private func measure(_ variant: String, rate: Double?, in context: BenchContext) async throws -> ScenarioResult {
        var result = ScenarioResult(name, variant, unit: "tasks/s", runs: [])
        var flows: [Flow.Outcome] = []
        var floors: [Flow.Outcome] = []
        for run in 1...(context.sizes.runs ?? 3) {
            let flow = Flow(rate: rate, seconds: context.sizes.seconds ?? 10)
            let floor = try await flow.run(by: .floor, in: context)
            let relay = try await flow.run(by: .relay, in: context)
            context.note("\(variant), run \(run): \(Int(relay.drainedRate)) tasks/s, floor \(Int(floor.drainedRate))")
            result.runs.append(.init(value: relay.drainedRate, floor: floor.drainedRate))
            flows.append(relay)
            floors.append(floor)
        }
        result.cost = Cost(medianOf: flows.map(\.cost))
        result.floorCost = Cost(medianOf: floors.map(\.cost))
        result.figures = [
            .init("enqueued", flows.map(\.enqueuedRate).median, "tasks/s"),
            .init("beside the floor", floors.map(\.enqueuedRate).median, "tasks/s"),
            .init("backlog at the end", flows.map(\.backlog).median, "tasks"),
            .init("of the floor", floors.map(\.backlog).median, "tasks"),
            .init("claim p50", flows.map { $0.claims.median }.median, "ms"),
            .init("p99", flows.map { $0.claims.percentile(99) }.median, "ms"),
        ]
        return result
    }
}

/// Producers in a process of their own, and a relay or a bare loop that drains what they enqueue; each task is counted.
struct Flow: Sendable {
    enum Drainer: String, Sendable {
        case relay = "the relay"
        case floor = "the floor"
    }

    struct Outcome: Sendable {
        /// Tasks in a second, while the producers were at work.
        let enqueuedRate: Double
        let drainedRate: Double
        /// What was left when the producers ended.
        let backlog: Double
        /// Milliseconds of each exchange that claimed something; of a relay.
        let claims: [Double]
        let cost: Cost
    }

    /// Tasks in a second; `nil`: as many as two producers can make.
    let rate: Double?
    let seconds: Double
    /// Tasks of a transaction, so that the producers do not take the whole machine.
    var batch = 20

    func job(in context: BenchContext) -> DatabaseJob {
        var job = DatabaseJob(.enqueueMany, schema: context.schema, seconds: seconds)
        job.clients = rate == nil ? 2 : 1
        job.batch = rate.map { max(1, min(batch, Int($0 / 50))) } ?? 100
        job.rate = rate.map { $0 / Double(job.batch) }
        job.payload = context.sizes.payload
        return job
    }

    func run(by drainer: Drainer, in context: BenchContext) async throws -> Outcome {
        try await context.bench.empty()
        try await context.bench.checkpoint()
        let tally = Tally()
        let watch = ClaimWatch()
        return try await context.withLoad("database") { load in
            switch drainer {
            case .relay:
                let handler = Handler(kind: "bench.task") { task, _ in tally.note(Ledger.number(task.payload)) }
                let relay = try context.relay([handler], watch: watch)
                return try await context.running([relay]) {
                    try await produce(load, drainer, tally, watch, in: context)
                }
            case .floor:
                let flag = Flag()
                async let drained = onThread { [url = context.url, schema = context.schema] in
                    try FloorLoop(url: url, schema: schema).serve(
                        .init(flag: flag, pause: { _ in pause(milliseconds: 18) }) { numbers in
                            for number in numbers { tally.note(number) }
                        })
                }
                do {
                    let outcome = try await produce(load, drainer, tally, watch, in: context)
                    flag.raise()
                    _ = try await drained
                    return outcome
                } catch {
                    flag.raise()
                    _ = try await drained
                    throw error
                }
            }
        }
    }

    /// Lets the producers work, and waits until what they enqueued is drained.
    private func produce(
        _ load: LoadProcess, _ drainer: Drainer, _ tally: Tally, _ watch: ClaimWatch, in context: BenchContext
    ) async throws -> Outcome {
        let job = job(in: context)
        let before = try await context.meter.read()
        let report = try await load.run(job, as: DatabaseReport.self)
        let drained = tally.count
        let claims = watch.take()
        let enqueued = report.transactions * job.batch
        // the producers' CPU in the server is in it, on both sides; what is left to drain is not
        let cost = try await context.meter.read().cost(since: before, tasks: drained)
        try await tally.wait(for: enqueued, by: drainer.rawValue)
        return Outcome(
            enqueuedRate: Double(enqueued) / report.seconds, drainedRate: Double(drained) / report.seconds,
            backlog: Double(enqueued - drained), claims: claims.claimMilliseconds, cost: cost)
    }
}
