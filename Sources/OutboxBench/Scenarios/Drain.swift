// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import OutboxRelay

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
