// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Outbox
internal import OutboxCore
internal import OutboxRelay
internal import PostgresClient

/// Whether claims become slower while somebody else's snapshot keeps vacuum from removing what is done.
///
/// Its floor is its own beginning: the last window over the first. The same load without a snapshot runs beside it, since
/// a queue may become slower for other reasons too.
package struct HeldHorizonScenario: Scenario {
    package let name = "held-horizon"
    package let summary =
        "claims by 10-s windows at 2,000 tasks/s and at the most, while a REPEATABLE READ snapshot is open"
    package let floor = "the first window of the same run"
    package let defaults = "2,000 tasks/s, 60 s each; our claim is for --seconds 600"
    package let takes = "4 min"
    package let isLong = true

    package init() {}

    package func measure(in context: BenchContext) async throws -> [ScenarioResult] {
        let rate = context.sizes.rate ?? 2000
        var results: [ScenarioResult] = []
        for (variant, rate, isHeld) in [
            ("free", rate, false), ("held", rate, true), ("at the most, free", nil as Double?, false),
            ("at the most, held", nil, true),
        ] {
            let windows = try await measure(variant, rate: rate, isHeld: isHeld, in: context)
            results += Self.results(name, variant, windows.windows, windows.cost)
        }
        return results
    }

    private static func results(_ name: String, _ variant: String, _ windows: [Window], _ cost: Cost)
        -> [ScenarioResult]
    {
        guard let first = windows.first, let last = windows.last else { return [] }
        func result(_ what: String, _ unit: String, _ value: (Window) -> Double) -> ScenarioResult {
            var result = ScenarioResult(
                name, "\(variant): \(what)", unit: unit, runs: [.init(value: value(last), floor: value(first))])
            result.figures = windows.enumerated().map { .init("window \($0.offset + 1)", value($0.element)) }
            return result
        }
        var claims = result("claim", "ms", \.claim)
        claims.cost = cost
        claims.cost.claimBuffers = last.buffers
        return [
            claims, result("buffers of a claim", "", \.buffers), result("drained", "tasks/s", \.rate),
            result("dead rows", "", \.deadRows), result("size", "MB", \.megabytes),
        ]
    }

    private struct Window: Sendable {
        /// The median of the exchanges that claimed something, in milliseconds.
        let claim: Double
        let buffers: Double
        let rate: Double
        let deadRows: Double
        let megabytes: Double
    }

    private func measure(
        _ variant: String, rate: Double?, isHeld: Bool, in context: BenchContext
    ) async throws -> (windows: [Window], cost: Cost) {
        try await context.bench.empty()
        try await context.bench.checkpoint()
        let holder = try await context.database.connect()
        if isHeld { try await holder.run(["BEGIN ISOLATION LEVEL REPEATABLE READ"]) }
        // the snapshot is taken by the first statement
        if isHeld { try await holder.run(["SELECT 1"]) }
        let seconds = context.sizes.seconds ?? 60
        // the producers begin before the first window, and are not to end before the last
        let flow = Flow(rate: rate, seconds: seconds * 1.05 + 0.5)
        let tally = Tally()
        let watch = ClaimWatch()
        let handler = Handler(kind: "bench.task") { task, _ in tally.note(Ledger.number(task.payload)) }
        let relay = try context.relay([handler], watch: watch)
        do {
            let outcome = try await context.withLoad("database") { load in
                try await context.running([relay]) {
                    let before = try await context.meter.read()
                    let job = flow.job(in: context)
                    async let producing = load.run(job, as: DatabaseReport.self)
                    let windows = try await observe(seconds, tally, watch, in: context) { window, index in
                        context.note(
                            "\(variant), window \(index): claim \(window.claim) ms, \(Int(window.rate)) tasks/s")
                    }
                    let enqueued = try await producing.transactions * job.batch
                    let cost = try await context.meter.read().cost(since: before, tasks: tally.count)
                    try await tally.wait(for: enqueued, by: "the relay")
                    return (windows, cost)
                }
            }
            await holder.close()
            return outcome
        } catch {
            await holder.close()
            throw error
        }
    }

    private func observe(
        _ seconds: Double, _ tally: Tally, _ watch: ClaimWatch, in context: BenchContext,
        report: (Window, Int) -> Void
    ) async throws -> [Window] {
        let count = max(2, Int(seconds / 10))
        let length = seconds / Double(count)
        // the producers are a process that starts
        var patience = Patience("a first task")
        while tally.count == 0 { try await patience.pause(at: 0) }
        _ = watch.take()
        let began = ContinuousClock.now
        var windows: [Window] = []
        var done = tally.count
        var from = Monotonic.now
        for index in 1...count {
            try await Task.sleep(until: began + .seconds(length * Double(index)), clock: .continuous)
            var seen = watch.take()
            while !seen.contains(where: { $0.claimed > 0 }) {
                try await patience.pause(at: index)
                seen += watch.take()
            }
            let now = Monotonic.now
            let total = tally.count
            let buffers = try await watch.buffers(in: context.database) ?? .nan
            let (dead, bytes) = try await size(in: context)
            let window = Window(
                claim: seen.claimMilliseconds.median, buffers: buffers,
                rate: Double(total - done) / (Double(now - from) / 1e9),
                deadRows: dead, megabytes: bytes / 1_048_576)
            (done, from) = (total, now)
            report(window, index)
            windows.append(window)
        }
        return windows
    }

    /// Dead rows of the ready table, as the server's statistics have them, and its size with its index.
    private func size(in context: BenchContext) async throws -> (dead: Double, bytes: Double) {
        let row = try await context.database.query(
            """
            SELECT coalesce(sum(n_dead_tup), 0)::float8, coalesce(sum(pg_total_relation_size(relid)), 0)::float8
            FROM pg_stat_user_tables WHERE schemaname = \(context.schema.name) AND relname LIKE 'ready%'
            """)[0]
        return (try row.decode(Double.self, at: 0), try row.decode(Double.self, at: 1))
    }
}
