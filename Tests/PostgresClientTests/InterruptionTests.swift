// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import OutboxTesting
import Testing

@testable import PostgresClient

@Suite("Deadlines, cancellation and broken connections")
struct InterruptionTests {
    /// Sessions of this database that run the sleeping statement.
    func sleepers(_ database: Database) async throws -> [Int32] {
        try await database.query(
            """
            SELECT pid FROM pg_stat_activity
            WHERE datname = current_database() AND state = 'active' AND query LIKE 'SELECT pg_sleep%'
            """
        ).map { try $0.decode(Int32.self, at: 0) }
    }

    @Test func aTimeoutCancelsOnTheServerAndTheConnectionIsUsedAgain() async throws {
        try await withDatabase { database in
            let connection = try await database.connect()
            let session = await connection.processID
            let error = try await failure {
                try await connection.run(["SELECT pg_sleep(600)"], timeout: .milliseconds(50))
            }
            #expect(error.code == .timedOut && error.isTransient)
            #expect(try await sleepers(database).isEmpty)
            let row = try await connection.run(["SELECT pg_backend_pid()"])[0][0]
            #expect(try row.decode(Int32.self, at: 0) == session)
            await connection.close()
        }
    }

    @Test func aCancelledTaskCancelsOnTheServerAndTheConnectionIsUsedAgain() async throws {
        try await withDatabase { database in
            let connection = try await database.connect()
            let task = Task { try await connection.run(["SELECT pg_sleep(600)"]) }
            try await eventually { try await !sleepers(database).isEmpty }
            task.cancel()
            #expect(try await failure { try await task.value }.code == .cancelled)
            #expect(try await sleepers(database).isEmpty)
            #expect(try await connection.run(["SELECT 1"])[0].count == 1)
            await connection.close()
        }
    }

    @Test func aTaskThatIsCancelledAlreadySendsNothing() async throws {
        try await withDatabase { database in
            let connection = try await database.connect()
            let task = Task {
                withUnsafeCurrentTask { $0?.cancel() }
                return try await connection.run(["CREATE TABLE t ()"])
            }
            let error = try await failure { try await task.value }
            #expect(error.code == .cancelled && error.nothingWasSent)
            #expect(try await database.query("SELECT to_regclass('t')::text")[0].decode(String?.self, at: 0) == nil)
            await connection.close()
        }
    }

    @Test("A cancellation that comes too late never reaches the next statement")
    func lateCancellation() async throws {
        try await withDatabase { database in
            let connection = try await database.connect()
            for number in 0..<40 {
                do {
                    let result = try await connection.run(["SELECT \(number)"], timeout: .zero)[0]
                    #expect(try result[0].decode(Int.self, at: 0) == number)
                } catch let error as PostgresError {
                    #expect(error.code == .timedOut)
                }
                let next = try await connection.run(["SELECT \(number + 1) FROM pg_class LIMIT 1"])[0]
                #expect(try next[0].decode(Int.self, at: 0) == number + 1)
            }
            await connection.close()
        }
    }

    @Test func callsOnOneConnectionTakeTurns() async throws {
        try await withDatabase { database in
            let connection = try await database.connect()
            try await withThrowingTaskGroup(of: Bool.self) { group in
                for number in 0..<100 {
                    group.addTask {
                        let results = try await connection.run(["SELECT \(number)", "SELECT \(number + 1)"])
                        return try results[0][0].decode(Int.self, at: 0) == number
                            && results[1][0].decode(Int.self, at: 0) == number + 1
                    }
                }
                for try await isRight in group { #expect(isRight) }
            }
            await connection.close()
        }
    }

    @Test func waitingForOnesTurnHasADeadline() async throws {
        try await withDatabase { database in
            let connection = try await database.connect()
            let task = Task { try await connection.run(["SELECT pg_sleep(600)"]) }
            try await eventually { try await !sleepers(database).isEmpty }
            let error = try await failure { try await connection.run(["SELECT 1"], timeout: .milliseconds(20)) }
            #expect(error.code == .timedOut && error.nothingWasSent)
            task.cancel()
            #expect(try await failure { try await task.value }.code == .cancelled)
            await connection.close()
        }
    }

    @Test func aTerminatedBackendIsNoticedDuringTheQuery() async throws {
        try await withDatabase { database in
            let connection = try await database.connect()
            let task = Task { try await connection.run(["SELECT pg_sleep(600)"]) }
            try await eventually { try await !sleepers(database).isEmpty }
            try await database.execute("SELECT pg_terminate_backend(\(await connection.processID))")
            let error = try await failure { try await task.value }
            #expect(error.code == .connectionLost && error.sqlState == .adminShutdown && error.isTransient)
            #expect(await connection.isClosed)
            let after = try await failure { try await connection.run(["SELECT 1"]) }
            #expect(after.code == .connectionLost && after.nothingWasSent)
        }
    }

    @Test("A cluster that stops at once is noticed, and used again when it is back")
    func immediateStop() async throws {
        let cluster = try await ThrowAwayPostgres.start()
        let database = Database(try await cluster.makeDatabase())
        try await database.execute("CREATE TABLE t (n int4)")
        let task = Task { try await database.query("SELECT pg_sleep(600)") }
        try await eventually { try await !sleepers(database).isEmpty }
        try await cluster.stopImmediately()
        #expect(try await failure { try await task.value }.code == .connectionLost)
        let down = try await failure { try await database.query("SELECT 1") }
        #expect(down.code == .connectionFailed && down.isTransient)
        try await cluster.startAgain()
        #expect(try await database.execute("INSERT INTO t VALUES (1)") == 1)
        await database.close()
    }
}
