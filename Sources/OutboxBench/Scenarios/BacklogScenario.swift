// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import OutboxRelay

/// Whether a relay drains slower where more tasks wait.
///
/// A fixed number of tasks is drained out of a backlog; and out of the smallest one in several portions, each enqueued
/// when the one before is settled, so that both drain as many in all. What is measured is the relay's exchanges with the
/// database, from sending a claim to the answer that settled its tasks; the first thousand tasks are to warm it up.
package struct BacklogScenario: Scenario {
    package let name = "backlog"
    package let summary = "20,000 tasks drained while 1,000 or 100,000 wait; with --tasks 10000000 that many as well"
    package let floor = "the same number of tasks drained while 1,000 wait, portion by portion"
    package let defaults = "100,000 tasks, 3 runs"
    package let takes = "1 min; with 10,000,000 tasks 15 min"

    package init() {}

    package func measure(in context: BenchContext) async throws -> [ScenarioResult] {
        let largest = context.sizes.tasks ?? 100_000
        let small = min(1000, max(1, largest / 10))
        let drained = min(20_000, largest / 2)
        var results: [ScenarioResult] = []
        guard drained >= 2 * small else {
            throw BenchFailure("too few tasks to measure a backlog", hint: "give at least --tasks 100")
        }
        for backlog in Set([min(100_000, largest), largest]).sorted() {
            // filling in ten million takes minutes
            let runs = context.sizes.runs ?? (backlog > 1_000_000 ? 1 : 3)
            results.append(
                try await measure(backlog: backlog, small: small, drained: drained, runs: runs, in: context))
        }
        return results
    }

    private func measure(
        backlog: Int, small: Int, drained: Int, runs: Int, in context: BenchContext
    ) async throws -> ScenarioResult {
        var result = ScenarioResult(name, "\(backlog) waiting", unit: "tasks/s", runs: [])
        var costs: [Cost] = []
        var floorCosts: [Cost] = []
        for run in 1...runs {
            let floor = try await drainPortions(of: small, drained / small, in: context)
            let large = try await drain(drained, of: backlog, warmUp: small, in: context)
            costs.append(large.cost)
            floorCosts.append(floor.cost)
            context.note("\(backlog) waiting, run \(run): \(Int(large.rate)) tasks/s, floor \(Int(floor.rate))")
            result.runs.append(.init(value: large.rate, floor: floor.rate))
        }
        result.cost = Cost(medianOf: costs)
        result.floorCost = Cost(medianOf: floorCosts)
        return result
    }

    /// Drains one portion after the other, each enqueued in one transaction when the last one is settled.
    private func drainPortions(
        of size: Int, _ portions: Int, in context: BenchContext
    ) async throws -> Drain.Outcome {
        try await context.bench.empty()
        try await context.bench.checkpoint()
        let total = size * (portions + 1)
        let ledger = Ledger(tasks: total)
        let watch = ClaimWatch()
        let handler = Handler(kind: "bench.task") { task, _ in ledger.note(task) }
        return try await context.running([context.relay([handler], watch: watch)]) {
            var nanoseconds: Int64 = 0
            var before = try await context.meter.read()
            for portion in 0...portions {
                // a transaction has ten thousand at most, which is more than a portion
                try await context.bench.preload(
                    size, payload: context.sizes.payload, from: portion * size, checkpoints: false)
                try await ledger.wait(for: (portion + 1) * size)
                var patience = Patience("a portion to be settled")
                while case let left = try await context.bench.remaining(), left > 0 {
                    try await patience.pause(at: left)
                }
                let exchanges = watch.take()
                if portion == 0 {
                    before = try await context.meter.read()
                } else if let first = exchanges.first(where: { $0.claimed > 0 }), let last = exchanges.last {
                    nanoseconds += last.answered - first.sent
                }
            }
            let after = try await context.meter.read()
            try ledger.check()
            // enqueueing is in these, and would not be comparable
            var cost = after.cost(since: before, tasks: size * portions)
            (cost.walBytes, cost.fullPageImages, cost.postgresCPU) = (nil, nil, nil)
            cost.claimBuffers = try await watch.buffers(in: context.database)
            return .init(rate: Double(size * portions) / (Double(nanoseconds) / 1e9), cost: cost)
        }
    }

    /// Drains so many tasks of a backlog, then stops.
    private func drain(
        _ count: Int, of backlog: Int, warmUp: Int, in context: BenchContext
    ) async throws -> Drain.Outcome {
        try await context.bench.empty()
        try await context.bench.preload(backlog, payload: context.sizes.payload)
        let ledger = Ledger(tasks: backlog)
        let watch = ClaimWatch()
        let handler = Handler(kind: "bench.task") { task, _ in ledger.note(task) }
        let before = try await context.meter.read()
        let buffers = try await context.running([context.relay([handler], watch: watch)]) {
            try await ledger.wait(for: min(backlog, count + 2 * warmUp))
            return try await watch.buffers(in: context.database)
        }
        let after = try await context.meter.read()
        // what was claimed beyond the number ran as well, or was given back
        let done = ledger.done
        let remaining = try await context.bench.remaining()
        guard done + remaining == backlog else {
            throw BenchFailure("of \(backlog) tasks \(done) ran and \(remaining) are left")
        }
        var cost = after.cost(since: before, tasks: done)
        cost.claimBuffers = buffers
        return .init(rate: try Self.rate(watch.take(), after: warmUp, count), cost: cost)
    }

    /// Tasks settled in a second, once so many were settled, until so many more were.
    private static func rate(_ exchanges: [ClaimWatch.Exchange], after warmUp: Int, _ count: Int) throws -> Double {
        var settled = 0
        var start: (time: Int64, settled: Int)?
        for exchange in exchanges {
            settled += exchange.settled
            if let start, settled >= start.settled + count || exchange.answered == exchanges.last?.answered {
                return Double(settled - start.settled) / (Double(exchange.answered - start.time) / 1e9)
            }
            if start == nil, settled >= warmUp { start = (exchange.answered, settled) }
        }
        throw BenchFailure("too few tasks to measure a rate", hint: "give more --tasks")
    }
}
