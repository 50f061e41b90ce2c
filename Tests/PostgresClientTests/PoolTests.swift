// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Testing

@testable import PostgresClient

@Suite("The pool of connections")
struct PoolTests {
    @Test func whoComesFirstIsServedFirst() async throws {
        try await withDatabase({ $0.maxConnections = 1 }) { database in
            let order = Recorder<Int>()
            try await withThrowingTaskGroup(of: Void.self) { group in
                try await database.withConnection { _ in
                    for number in 0..<10 {
                        group.addTask {
                            try await database.withConnection { _ in order.record(number) }
                        }
                        try await eventually { database.waitingTasks == number + 1 }
                    }
                }
                try await group.waitForAll()
            }
            #expect(order.values == Array(0..<10))
        }
    }

    @Test func waitingTooLongIsAnErrorOfItsOwn() async throws {
        try await withDatabase({
            $0.maxConnections = 1
            $0.acquireTimeout = .milliseconds(30)
        }) { database in
            try await database.withConnection { _ in
                let error = try await failure { try await database.query("SELECT 1") }
                #expect(error.code == .poolExhausted && error.isTransient && error.nothingWasSent)
            }
            #expect(try await database.query("SELECT 1").count == 1)
        }
    }

    @Test func aCancelledWaiterGivesItsPlaceUp() async throws {
        try await withDatabase({ $0.maxConnections = 1 }) { database in
            try await database.withConnection { _ in
                let task = Task { try await database.query("SELECT 1") }
                try await eventually { database.waitingTasks == 1 }
                task.cancel()
                #expect(try await failure { try await task.value }.code == .cancelled)
                #expect(database.waitingTasks == 0)
            }
            #expect(try await database.query("SELECT 1").count == 1)
        }
    }

    /// Opens `count` connections at once and leaves them idle.
    func openConnections(_ count: Int, of database: Database) async throws -> [Int32] {
        if count == 0 { return [] }
        return try await database.withConnection { connection in
            let others = try await openConnections(count - 1, of: database)
            return await others + [connection.processID]
        }
    }

    func living(_ sessions: [Int32], _ observer: Connection) async throws -> Int {
        let statement: Statement = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(\(sessions))"
        return try await observer.run([statement])[0][0].decode(Int.self, at: 0)
    }

    @Test func idleConnectionsThatDiedAreReplaced() async throws {
        try await withDatabase { database in
            let observer = try await database.connect()
            let sessions = try await openConnections(4, of: database)
            #expect(Set(sessions).count == 4)
            try await observer.run(["SELECT pg_terminate_backend(pid) FROM unnest(\(sessions)) pid"])
            try await eventually { try await living(sessions, observer) == 0 }
            for _ in 0..<8 { #expect(try await database.query("SELECT 1").count == 1) }
            await observer.close()
        }
    }

    @Test("After a refused write every connection of the pool is closed")
    func wrongServer() async throws {
        try await withDatabase { database in
            let observer = try await database.connect()
            let sessions = try await openConnections(3, of: database)
            let error = try await failure {
                try await database.transaction { transaction in
                    try await transaction.execute("SET TRANSACTION READ ONLY")
                    try await transaction.execute("CREATE TABLE t ()")
                }
            }
            #expect(error.sqlState == .readOnlySQLTransaction && error.hint != nil)
            try await eventually { try await living(sessions, observer) == 0 }
            let fresh = try await database.query("SELECT pg_backend_pid()")[0].decode(Int32.self, at: 0)
            #expect(!sessions.contains(fresh))
            await observer.close()
        }
    }

    @Test func aConnectionLeftInsideATransactionIsNotPassedOn() async throws {
        try await withDatabase({ $0.maxConnections = 1 }) { database in
            let first = try await database.withConnection { connection in
                try await connection.run(["BEGIN"])
                return await connection.processID
            }
            let second = try await database.query("SELECT pg_backend_pid()")[0].decode(Int32.self, at: 0)
            #expect(first != second)
        }
    }

    @Test func closingTurnsAwayWhoWaitsAndLetsFinishWhoWorks() async throws {
        try await withDatabase({ $0.maxConnections = 1 }) { database in
            try await withThrowingTaskGroup(of: Void.self) { group in
                try await database.withConnection { connection in
                    let waiter = Task { try await database.query("SELECT 1") }
                    try await eventually { database.waitingTasks == 1 }
                    group.addTask { await database.close() }
                    #expect(try await failure { try await waiter.value }.code == .poolClosed)
                    #expect(try await connection.run(["SELECT 1"])[0].count == 1)
                }
                try await group.waitForAll()
            }
            #expect(try await failure { try await database.query("SELECT 1") }.code == .poolClosed)
        }
    }

    @Test("A thousand calls over a few connections")
    func manyCalls() async throws {
        try await withDatabase({
            $0.maxConnections = 3
            $0.acquireTimeout = .seconds(60)
        }) { database in
            let sum = try await withThrowingTaskGroup(of: Int.self) { group in
                for number in 0..<1000 {
                    group.addTask { try await database.query("SELECT \(number)")[0].decode(Int.self, at: 0) }
                }
                return try await group.reduce(0, +)
            }
            #expect(sum == 499_500)
        }
    }
}
