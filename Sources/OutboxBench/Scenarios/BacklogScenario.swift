// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import OutboxRelay

/// Whether a relay drains slower where more tasks wait.
///
/// A fixed number of tasks is drained out of a backlog; and out of the smallest one in several portions, each enqueued
/// when the one before is settled, so that both drain as many in all. The clock is the relay's exchanges with the database,
/// from one that claimed to the last that did: how a relay starts, and how it ends when nothing is left, is the same for
/// every backlog and comes more often for a small one. So that a small one takes several exchanges, few tasks run at once.
package struct BacklogScenario: Scenario {
    package let name = "backlog"
    package let summary = "20,000 tasks drained while 1,000 or 100,000 wait; with --tasks 10000000 that many as well"
    package let floor = "the same number of tasks drained while 1,000 wait, portion by portion"
    package let defaults = "100,000 tasks, 3 runs"
    package let takes = "1 min; with 10,000,000 tasks 5 min"

    private static let smallest = 1000
    private static let concurrency = 250

    package init() {}

    package func measure(in context: BenchContext) async throws -> [ScenarioResult] {
        let largest = context.sizes.tasks ?? 100_000
        guard largest >= 4 * Self.smallest else {
            throw BenchFailure("too few tasks to measure a backlog", hint: "give at least --tasks 4000")
        }
        let drained = min(20_000, largest / 2)
        var results: [ScenarioResult] = []
        for backlog in Set([min(100_000, largest), largest]).sorted() {
            // filling in ten million takes minutes
            let runs = context.sizes.runs ?? (backlog > 1_000_000 ? 1 : 3)
            results.append(
                try await measure(backlog: backlog, drained: drained, runs: runs, in: context))
        }
        return results
    }

    private func measure(
        backlog: Int, drained: Int, runs: Int, in context: BenchContext
    ) async throws -> ScenarioResult {
        var result = ScenarioResult(name, "\(backlog) waiting", unit: "tasks/s", runs: [])
        var costs: [Cost] = []
        var floorCosts: [Cost] = []
        for run in 1...runs {
            let floor = try await drainPortions(drained / Self.smallest, in: context)
            let large = try await drain(drained, of: backlog, in: context)
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
        _ portions: Int, in context: BenchContext
    ) async throws -> Drain.Outcome {
        let size = Self.smallest
        try await context.bench.empty()
        try await context.bench.checkpoint()
        let total = size * (portions + 1)
        let ledger = Ledger(tasks: total)
        let watch = ClaimWatch()
        let handler = Handler(kind: "bench.task") { task, _ in ledger.note(task) }
        let relay = try context.relay([handler], concurrency: Self.concurrency, watch: watch)
        return try await context.running([relay]) {
            var stretch = Stretch()
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
                } else {
                    stretch.add(exchanges[...])
                }
            }
            let after = try await context.meter.read()
            try ledger.check()
            // enqueueing is in these, and would not be comparable
            var cost = after.cost(since: before, tasks: size * portions)
            (cost.walBytes, cost.fullPageImages, cost.postgresCPU) = (nil, nil, nil)
            cost.claimBuffers = try await watch.buffers(in: context.database)
            return .init(rate: try stretch.rate, cost: cost)
        }
    }

    /// Drains so many tasks of a backlog once the relay is warm, then stops.
    private func drain(_ count: Int, of backlog: Int, in context: BenchContext) async throws -> Drain.Outcome {
        try await context.bench.empty()
        try await context.bench.preload(backlog, payload: context.sizes.payload)
        let ledger = Ledger(tasks: backlog)
        let watch = ClaimWatch()
        let handler = Handler(kind: "bench.task") { task, _ in ledger.note(task) }
        let relay = try context.relay([handler], concurrency: Self.concurrency, watch: watch)
        let before = try await context.meter.read()
        let buffers = try await context.running([relay]) {
            try await ledger.wait(for: count + Self.smallest)
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
        var settled = 0
        let exchanges = watch.take()
        let warm = exchanges.firstIndex { exchange in
            settled += exchange.settled
            return settled >= Self.smallest
        }
        var stretch = Stretch()
        stretch.add(
            exchanges[(warm ?? 0)...].prefix { exchange in
                settled += exchange.settled
                return settled < count + Self.smallest
            })
        return .init(rate: try stretch.rate, cost: cost)
    }
}

/// Time in which a relay was at full work, and what it settled in it.
private struct Stretch {
    private var nanoseconds: Int64 = 0
    private var settled = 0

    /// Adds what lies between the first exchange that claimed something and the last.
    mutating func add(_ exchanges: ArraySlice<ClaimWatch.Exchange>) {
        guard let first = exchanges.firstIndex(where: { $0.claimed > 0 }),
            let last = exchanges.lastIndex(where: { $0.claimed > 0 }), first < last
        else { return }
        nanoseconds += exchanges[last].answered - exchanges[first].answered
        settled += exchanges[(first + 1)...last].reduce(0) { $0 + $1.settled }
    }

    /// Tasks settled in a second.
    var rate: Double {
        get throws {
            guard settled > 0, nanoseconds > 0 else { throw BenchFailure("too few exchanges to measure a rate") }
            return Double(settled) / (Double(nanoseconds) / 1e9)
        }
    }
}
