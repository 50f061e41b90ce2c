// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import PostgresClient
import Testing

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// `outbox bench` at sizes that say nothing about speed: that every scenario comes to its end, counts right and tells
/// what it found, and that it leaves nothing behind. No figure is held against a bound.
@Suite struct BenchTests {
    struct Output: Decodable {
        struct Spread: Decodable { let median, min, max: Double }
        struct Run: Decodable {
            let value: Double
            let floor: Double?
        }
        struct Cost: Decodable {
            let own_cpu_ms_per_1000, postgres_cpu_ms_per_1000, wal_bytes_per_task, buffers_per_claim: Double?
            let resident_bytes: Double?
        }
        struct Figure: Decodable {
            let name: String
            let value: Double?
        }
        struct Result: Decodable {
            let scenario, variant, unit: String
            let value: Spread
            let floor, ratio: Spread?
            let runs: [Run]
            let cost: Cost
            let figures: [Figure]
        }
        let results: [Result]
    }

    private func bench(_ arguments: [String], on database: TestDatabase) async throws -> [Output.Result] {
        let run = try await database.outbox(["bench"] + arguments + ["--json"])
        try #require(run.status == 0, "\(run.errors)")
        #expect(run.errors.isEmpty)
        return try JSONDecoder().decode(Output.self, from: Data(run.bytes)).results
    }

    @Test(arguments: [
        (
            ["drain", "--tasks", "1500", "--runs", "1", "--payload", "0"],
            ["1 relay", "1 relay, over plain SQL", "2 relays", "4 relays"]
        ),
        (["steady", "--seconds", "0.5", "--runs", "1", "--rate", "400"], ["400 tasks/s", "at the most"]),
        (
            ["enqueue", "--seconds", "0.1", "--runs", "1", "--clients", "1,3"],
            ["1 client", "3 clients", "1,000 at a time"]
        ),
        (["late-commits", "--seconds", "1", "--rate", "200"], ["late ones"]),
        (["backlog", "--tasks", "4000", "--runs", "1"], ["4000 waiting"]),
    ])
    func aScenarioComesToItsEnd(_ arguments: [String], _ variants: [String]) async throws {
        try await TestDatabase.empty { database in
            let results = try await bench(arguments, on: database)
            #expect(results.map(\.variant) == variants)
            for result in results {
                #expect(result.scenario == arguments[0])
                #expect(result.value.min > 0 && result.value.min <= result.value.median)
                #expect(result.value.median <= result.value.max)
                let ratio = try #require(result.ratio)
                #expect(ratio.min > 0 && ratio.max.isFinite)
                #expect(result.runs.allSatisfy { $0.value > 0 && $0.floor ?? 0 > 0 })
                #expect(result.figures.allSatisfy { $0.value != nil }, "\(result.figures)")
                #expect(result.cost.wal_bytes_per_task.map { $0 > 0 } ?? false)
            }
            #if os(Linux)
            let cost = try #require(results.first?.cost)
            #expect(cost.postgres_cpu_ms_per_1000 ?? -1 >= 0, "the server is on this machine")
            if arguments[0] != "enqueue" {
                #expect(cost.own_cpu_ms_per_1000 ?? 0 > 0)
                #expect(cost.resident_bytes ?? 0 > 1_000_000)
            }
            #endif
            try await expectNothingLeft(in: database)
        }
    }

    @Test func latencyIsMeasuredOnOneClock() async throws {
        try await TestDatabase.empty { database in
            let results = try await bench(
                ["latency", "--seconds", "0.5", "--runs", "1", "--rate", "40"], on: database)
            #expect(results.map(\.variant) == ["polling", "nudged", "idle"])
            // from sending COMMIT: nothing can begin before that
            #expect(results[0].value.min > 0 && results[1].value.min > 0)
            #expect(results[0].ratio != nil && results[2].ratio == nil)
            #expect(results[2].figures.first { $0.name == "start to first claim" }?.value ?? 0 > 0)
            try await expectNothingLeft(in: database)
        }
    }

    @Test func aHeldSnapshotIsWatchedByWindows() async throws {
        try await TestDatabase.empty { database in
            let results = try await bench(["held-horizon", "--seconds", "0.8", "--rate", "500"], on: database)
            let claims = results.filter { $0.variant.hasSuffix(": claim") }
            #expect(
                claims.map(\.variant)
                    == ["free", "held", "at the most, free", "at the most, held"].map { $0 + ": claim" })
            for result in claims {
                #expect(result.value.median > 0)
                #expect(result.figures.map(\.name) == ["window 1", "window 2"])
            }
            try await expectNothingLeft(in: database)
        }
    }

    @Test func aTableForPeopleHasTheSame() async throws {
        try await TestDatabase.empty { database in
            let run = try await database.outbox("bench", "drain", "--tasks", "100", "--runs", "1")
            #expect(run.status == 0, "\(run.errors)")
            #expect(run.lines.first?.hasPrefix("drain") == true && run.lines.first?.contains("min..max") == true)
            #expect(run.lines.contains { $0.hasPrefix("4 relays") && $0.contains("tasks/s") })
        }
    }

    // MARK: - The schema

    @Test func aSchemaOfThatNameThatIsNotOursIsRefused() async throws {
        try await TestDatabase.empty { database in
            try await database.database.execute("CREATE SCHEMA outbox_bench")
            try await database.database.execute("CREATE TABLE outbox_bench.theirs AS SELECT 1 AS n")
            let run = try await database.outbox("bench", "drain", "--tasks", "10", "--runs", "1")
            #expect(run.status == 1)
            #expect(run.errors.contains("a schema outbox_bench that no benchmark made"))
            #expect(run.errors.contains("hint: "))
            #expect(try await database.count("SELECT n::bigint FROM outbox_bench.theirs") == 1)
        }
    }

    @Test func whatAKilledRunLeftIsReplaced() async throws {
        try await TestDatabase.empty { database in
            let running = try OutboxBinary.Running(["bench", "steady", "--seconds", "30"], database: database)
            try await waitForLoad(in: database)
            running.signal(SIGKILL)
            #expect(await running.result().status == 128 + SIGKILL)
            #expect(try await database.count("SELECT count(*) FROM pg_namespace WHERE nspname = 'outbox_bench'") == 1)
            _ = try await bench(["drain", "--tasks", "10", "--runs", "1"], on: database)
            try await expectNothingLeft(in: database)
        }
    }

    @Test func anotherOneIsRefusedAndASignalDropsTheSchema() async throws {
        try await TestDatabase.empty { database in
            let running = try OutboxBinary.Running(["bench", "steady", "--seconds", "30"], database: database)
            try await waitForLoad(in: database)
            let second = try await database.outbox("bench", "drain", "--tasks", "10", "--runs", "1")
            #expect(second.status == 1)
            #expect(second.errors.contains("another benchmark runs in this database"))
            running.signal(SIGINT)
            let result = await running.result()
            #expect(result.status == 1)
            #expect(result.errors.contains("interrupted"))
            try await expectNothingLeft(in: database)
        }
    }

    /// Returns when a benchmark's producers are connected and have committed something.
    private func waitForLoad(in database: TestDatabase) async throws {
        for _ in 0..<1000 {
            if try await database.count("SELECT count(*) FROM pg_class WHERE relname = 'bare'") == 1,
                try await database.count("SELECT last_value FROM outbox_bench.task_seq") > 100
            {
                return
            }
            try await Task.sleep(for: .milliseconds(10))
        }
        Issue.record("the benchmark did not begin")
    }

    private func expectNothingLeft(in database: TestDatabase) async throws {
        #expect(try await database.count("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'outbox%'") == 0)
        // a session that was cut off needs a moment to notice
        var sessions = 0
        for _ in 0..<300 {
            sessions = try await database.count(
                """
                SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'
                  AND pid <> pg_backend_pid()
                """)
            if sessions == 0 { return }
            try await Task.sleep(for: .milliseconds(10))
        }
        Issue.record("\(sessions) sessions of the benchmark are left")
    }

    // MARK: - The command line

    @Test func everyScenarioIsListed() async throws {
        let list = try await OutboxBinary.run("bench", "--list")
        #expect(list.status == 0)
        for name in ["drain", "steady", "enqueue", "latency", "held-horizon", "late-commits", "backlog"] {
            #expect(list.lines.contains { $0.hasPrefix("\(name)  (") })
        }
    }

    @Test(arguments: [
        (["nothing"], "There is no scenario 'nothing'"), (["--runs", "0"], "--runs must be"),
        (["--tasks", "x"], "'x' is invalid"), (["--payload", "2000000"], "--payload must be"),
        (["--concurrency", "0"], "--concurrency must be"), (["--seconds", "-1"], "--seconds"),
        (["--rate", "0"], "--rate must be"), (["--clients", "1,x"], "--clients must be"),
        (["--schema", "mine"], "has a schema of its own"),
    ])
    func aBadValueIsNamed(_ arguments: [String], _ message: String) async throws {
        let run = try await OutboxBinary.run(["bench"] + arguments)
        #expect(run.status == 64)
        #expect(run.errors.contains(message), "\(run.errors)")
    }
}
