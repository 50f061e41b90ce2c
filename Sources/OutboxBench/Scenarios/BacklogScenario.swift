// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import OutboxRelay

/// Whether a relay drains slower where more tasks wait.
///
/// A fixed number of tasks is drained out of a backlog; out of the smallest one in several portions, filled up between
/// them, so that both drain as many in all. What is measured is the time in which tasks are claimed, run and settled: the
/// relay's start is the same for every backlog and counts more often for a small one.
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
        let drained = min(20_000, largest)
        var results: [ScenarioResult] = []
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
            let portions = max(1, drained / small)
            var seconds = 0.0
            for _ in 0..<portions {
                let portion = try await drain(small, of: small, probes: false, in: context)
                seconds += portion.seconds
                floorCosts.append(portion.cost)
            }
            let floor = Double(portions * small) / seconds
            let large = try await drain(drained, of: backlog, probes: true, in: context)
            let value = Double(drained) / large.seconds
            costs.append(large.cost)
            context.note("\(backlog) waiting, run \(run): \(Int(value)) tasks/s, floor \(Int(floor))")
            result.runs.append(.init(value: value, floor: floor))
        }
        result.cost = Cost(medianOf: costs)
        result.floorCost = Cost(medianOf: floorCosts)
        return result
    }

    /// Drains so many tasks of a backlog, then stops.
    private func drain(
        _ count: Int, of backlog: Int, probes: Bool, in context: BenchContext
    ) async throws -> (seconds: Double, cost: Cost) {
        try await context.bench.empty()
        try await context.bench.preload(backlog, payload: context.sizes.payload, checkpoints: probes)
        let ledger = Ledger(tasks: backlog, stopsAfter: count)
        let watch = ClaimWatch()
        let handler = Handler(kind: "bench.task") { task, _ in ledger.note(task) }
        let relay = try context.relay([handler], watch: watch)
        let before = try await context.meter.read()
        let result = try await context.running([relay]) {
            try await ledger.wait()
            let ended = Monotonic.now
            relay.stop()
            return ended
        }
        let after = try await context.meter.read()
        // what was claimed beyond the number ran as well, or was given back
        let done = ledger.done
        let remaining = try await context.bench.remaining()
        guard done + remaining == backlog else {
            throw BenchFailure("of \(backlog) tasks \(done) ran and \(remaining) are left")
        }
        var cost = after.cost(since: before, tasks: done)
        if probes { cost.claimBuffers = try await watch.buffers(in: context.database) }
        return (Double(result - (watch.firstSent ?? before.time)) / 1e9, cost)
    }
}
