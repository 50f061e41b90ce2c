// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Outbox
import OutboxRelay
import OutboxTesting
import Testing

@testable import PostgresClient

/// A database that goes away, comes back, or ends sessions.
@Suite(.enabled(if: ThrowAwayPostgres.isOwn, "needs a cluster of its own, and OUTBOX_DATABASE_URL is set"))
struct TroubleTests {
    @Test func survivesAnImmediateRestartAndLosesNothing() async throws {
        let cluster = try await ThrowAwayPostgres.start()
        let database = Database(try await cluster.makeOutbox())
        let seen = Recorder<Int>()
        let handler = Handler(RelayTests.Charge.self) { task, _ in seen.record(task.order) }
        try await withRelay(database, [handler]) { _ in
            let committed = Recorder<Int>()
            let producing = Task {
                var order = 0
                while !Task.isCancelled {
                    order += 1
                    do {
                        try await database.transaction { try await $0.enqueue(RelayTests.Charge(order: order)) }
                        committed.record(order)
                    } catch {
                        // refusals and unknown outcomes alike: only what was committed is asked for below
                        await Task.yield()
                    }
                }
            }
            await seen.wait(for: 50)
            try await cluster.stopImmediately()
            try await cluster.startAgain()
            let before = committed.values.count
            await committed.wait(for: before + 50)
            producing.cancel()
            await producing.value
            try await eventually { Set(committed.values).isSubset(of: Set(seen.values)) }
            try await eventually { try await database.tasksLeft() == 0 }
            #expect(Set(committed.values).isSubset(of: Set(seen.values)))
        }
        await database.close()
    }

    @Test func survivesTheEndOfItsSessions() async throws {
        try await withOutbox { database in
            let seen = Recorder<Int>()
            let handler = Handler(RelayTests.Charge.self) { task, _ in seen.record(task.order) }
            try await withRelay(database, [handler]) { _ in
                for round in 0..<5 {
                    try await database.transaction { transaction in
                        _ = try await transaction.enqueue(
                            batch: try (0..<20).map {
                                (RelayTests.Charge.kind, try RelayTests.Charge(order: round * 20 + $0).payload())
                            })
                    }
                    _ = try await database.query(
                        """
                        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                        WHERE datname = current_database() AND application_name LIKE 'outbox relay%'
                        """)
                    try await eventually { Set(seen.values).count == (round + 1) * 20 }
                }
                try await eventually { try await database.tasksLeft() == 0 }
            }
        }
    }

    @Test func waitsForADatabaseThatIsNotThereYetAndCanBeStoppedMeanwhile() async throws {
        let configuration = try DatabaseConfiguration(url: "postgresql://127.0.0.1:1/nowhere")
        let relay = try Relay(database: configuration, handlers: [Handler(kind: "k") { _, _ in }], logger: .quiet)
        let running = Task { try await relay.run() }
        relay.stop()
        try await running.value
    }
}
