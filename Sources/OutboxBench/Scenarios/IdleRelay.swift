// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import OutboxCore
internal import OutboxRelay
internal import PostgresClient

/// What a relay costs that has nothing to do, and how soon it has something: part of the latency scenario.
struct IdleRelay: Sendable {
    let seconds: Double

    func measure(in context: BenchContext) async throws -> ScenarioResult {
        let start = try await startToFirstClaim(in: context)
        try await context.bench.empty()
        // what the server does on its own in the same time
        let nothing = try await observe(in: context)
        let handler = Handler(kind: "bench.task") { _, _ in }
        let relay = try context.relay([handler])
        let idle = try await context.running([relay]) {
            // after the start, whose claims find their pace
            try await Task.sleep(for: .seconds(min(2, seconds)))
            return try await observe(in: context)
        }
        var result = ScenarioResult(
            "latency", "idle", unit: "transactions/s", runs: [.init(value: idle.transactions - nothing.transactions)])
        result.cost.residentBytes = idle.residentBytes
        result.figures = [
            .init("WAL", idle.walBytes * 60 / seconds, "bytes/min"),
            .init("without it", nothing.walBytes * 60 / seconds, "bytes/min"),
            .init("CPU of the relay", idle.ownCPU * 100, "% of a core"),
            .init("of Postgres", idle.postgresCPU * 100, "% of a core"),
            .init("without it", nothing.postgresCPU * 100, "% of a core"),
            .init("start to first claim", start, "ms"),
        ]
        return result
    }

    private struct Observation: Sendable {
        /// In a second, as the server counts commits and rollbacks of this database.
        let transactions: Double
        let walBytes: Double
        /// CPU seconds of a second.
        let ownCPU: Double
        let postgresCPU: Double
        let residentBytes: Double?
    }

    private func observe(in context: BenchContext) async throws -> Observation {
        let transactionsBefore = try await transactions(in: context)
        let before = try await context.meter.read()
        try await Task.sleep(for: .seconds(seconds))
        let after = try await context.meter.read()
        let transactionsAfter = try await transactions(in: context)
        let postgres = after.postgresCPU.flatMap { now in before.postgresCPU.map { (now - $0).inSeconds } }
        let elapsed = after.seconds(since: before)
        return Observation(
            transactions: Double(transactionsAfter - transactionsBefore) / elapsed,
            walBytes: Double(after.walBytes - before.walBytes),
            ownCPU: (after.ownCPU - before.ownCPU).inSeconds / elapsed, postgresCPU: (postgres ?? .nan) / elapsed,
            residentBytes: after.residentBytes.map(Double.init))
    }

    /// Every statement of an idle relay is a transaction of its own. Sessions report theirs at most a second late.
    private func transactions(in context: BenchContext) async throws -> Int {
        try await Task.sleep(for: .seconds(min(1.2, seconds)))
        return try await context.database.query(
            "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()")[0]
            .decode(Int.self, at: 0)
    }

    /// From making a relay until the answer to the claim that found the task that waits for it.
    private func startToFirstClaim(in context: BenchContext) async throws -> Double {
        var times: [Double] = []
        for _ in 0..<5 {
            try await context.bench.empty()
            try await context.bench.preload(1, payload: context.sizes.payload, checkpoints: false)
            let ledger = Ledger(tasks: 1)
            let watch = ClaimWatch()
            let handler = Handler(kind: "bench.task") { task, _ in ledger.note(task) }
            let began = Monotonic.now
            let relay = try context.relay([handler], watch: watch)
            try await context.running([relay]) { try await ledger.wait(atMost: .seconds(60)) }
            times.append(watch.first.map { Double($0.answered - began) / 1e6 } ?? .nan)
        }
        return times.median
    }
}
