// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import OutboxTesting
import Testing

@testable import PostgresClient

@Suite("Transactions")
struct TransactionTests {
    struct Refused: Error {}

    func count(_ database: Database) async throws -> Int {
        try await database.query("SELECT count(*) FROM t")[0].decode(Int.self, at: 0)
    }

    @Test func commitKeepsAndAThrowDiscards() async throws {
        try await withDatabase { database in
            try await database.execute("CREATE TABLE t (n int4)")
            let inserted = try await database.transaction { transaction in
                try await transaction.execute("INSERT INTO t VALUES (\(1)), (\(2))")
            }
            #expect(inserted == 2)
            await #expect(throws: Refused.self) {
                try await database.transaction { transaction in
                    try await transaction.execute("INSERT INTO t VALUES (\(3))")
                    throw Refused()
                }
            }
            #expect(try await count(database) == 2)
        }
    }

    @Test("An error that the body swallowed makes the commit throw")
    func swallowedError() async throws {
        try await withDatabase { database in
            try await database.execute("CREATE TABLE t (n int4)")
            let error = try await failure {
                try await database.transaction { transaction in
                    try await transaction.execute("INSERT INTO t VALUES (1)")
                    _ = try? await transaction.query("SELECT 1/0")
                }
            }
            #expect(error.code == .server && error.sqlState == .inFailedSQLTransaction)
            #expect(try await count(database) == 0)
        }
    }

    @Test func aFailedCommitIsAnOrdinaryError() async throws {
        try await withDatabase { database in
            try await database.execute("CREATE TABLE t (n int4 UNIQUE DEFERRABLE INITIALLY DEFERRED)")
            let error = try await failure {
                try await database.transaction { try await $0.execute("INSERT INTO t VALUES (1), (1)") }
            }
            #expect(error.code == .server && error.sqlState == .uniqueViolation)
        }
    }

    @Test func aCancelledBodyRollsBackAndTheConnectionIsUsedAgain() async throws {
        try await withDatabase({ $0.maxConnections = 1 }) { database in
            try await database.execute("CREATE TABLE t (n int4)")
            let session = try await database.query("SELECT pg_backend_pid()")[0].decode(Int32.self, at: 0)
            let error = try await failure {
                try await withThrowingTaskGroup(of: Void.self) { group in
                    group.addTask {
                        try await database.transaction { transaction in
                            try await transaction.execute("INSERT INTO t VALUES (1)")
                            withUnsafeCurrentTask { $0?.cancel() }
                            try await transaction.execute("INSERT INTO t VALUES (2)")
                        }
                    }
                    try await group.waitForAll()
                }
            }
            #expect(error.code == .cancelled)
            #expect(try await count(database) == 0)
            #expect(try await database.query("SELECT pg_backend_pid()")[0].decode(Int32.self, at: 0) == session)
        }
    }

    @Test func afterItsClosureATransactionIsOfNoUse() async throws {
        try await withDatabase { database in
            let kept = Recorder<Transaction>()
            try await database.transaction { transaction in kept.record(transaction) }
            let transaction = try #require(kept.values.first)
            #expect(try await failure { try await transaction.query("SELECT 1") }.code == .transactionFinished)
        }
    }

    @Test func severalTasksMayUseOneTransaction() async throws {
        try await withDatabase { database in
            try await database.execute("CREATE TABLE t (n int4)")
            try await database.transaction { transaction in
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for number in 0..<50 {
                        group.addTask { try await transaction.execute("INSERT INTO t VALUES (\(number))") }
                    }
                    try await group.waitForAll()
                }
            }
            #expect(try await count(database) == 50)
        }
    }

    @Test func theServerKnowsWhatBecameOfATransaction() async throws {
        try await withDatabase { database in
            let identifiers = Recorder<TransactionIdentifier>()
            try await database.transaction { transaction in
                let identifier = try await transaction.readIdentifier()
                #expect(transaction.identifier == identifier)
                #expect(try await database.status(ofTransaction: identifier) == .inProgress)
                identifiers.record(identifier)
            }
            await #expect(throws: Refused.self) {
                try await database.transaction { transaction in
                    let identifier = try await transaction.readIdentifier()
                    identifiers.record(identifier)
                    throw Refused()
                }
            }
            let (committed, aborted) = (identifiers.values[0], identifiers.values[1])
            #expect(try await database.status(ofTransaction: committed) == .committed)
            #expect(try await database.status(ofTransaction: aborted) == .aborted)
            let future = TransactionIdentifier(number: committed.number + 1_000_000_000, life: committed.life)
            #expect(try await database.status(ofTransaction: future) == .unknown)
        }
    }

    /// How the server goes down: as a whole, or since one backend was killed.
    enum Crash: CaseIterable { case server, backend }

    @Test(.enabled(if: ThrowAwayPostgres.isOwn), arguments: Crash.allCases)
    func aNumberThatIsGivenAwayAgainAfterACrashIsNotTakenForTheFirst(_ crash: Crash) async throws {
        let cluster = try await ThrowAwayPostgres.start()
        let database = Database(try await cluster.makeDatabase())
        try await database.execute("CREATE TABLE t (n int4)")
        try await database.execute("CHECKPOINT")
        let lost = Recorder<TransactionIdentifier>()
        await #expect(throws: PostgresError.self) {
            try await database.transaction { transaction in
                try await transaction.execute("INSERT INTO t VALUES (1)")
                lost.record(try await transaction.readIdentifier())
                let process = try await transaction.query("SELECT pg_backend_pid()")[0].decode(Int32.self, at: 0)
                switch crash {
                case .server: try await cluster.stopImmediately()
                case .backend: kill(process, SIGKILL)
                }
            }
        }
        if crash == .server { try await cluster.startAgain() }
        let identifier = try #require(lost.values.first)
        // when the server has recovered, others do business, one of them under the number of the lost one
        try await eventually {
            let other = try? await database.transaction { try await $0.readIdentifier() }
            guard let other, other.life != identifier.life else { return false }
            return other.number >= identifier.number
        }
        #expect(try await count(database) == 0)
        #expect(try await database.status(ofTransaction: identifier) == .unknown)
        await database.close()
    }

    @Test("A commit whose answer is lost is neither a success nor a failure, and the server knows")
    func lostCommit() async throws {
        try await withDatabase { database in
            try await database.execute("CREATE TABLE t (n int4)")
            let directory = try #require(database.configuration.parameters["host"])
            let proxy = try CommitSwallowingProxy(to: "\(directory)/.s.PGSQL.5432")
            defer { proxy.stop() }
            var configuration = database.configuration
            configuration.parameters["host"] = "127.0.0.1"
            configuration.parameters["port"] = "\(proxy.listener.port)"
            configuration.parameters["sslmode"] = "disable"
            configuration.parameters["gssencmode"] = "disable"
            let throughProxy = Database(configuration)
            let identifier = Recorder<TransactionIdentifier>()
            let error = try await failure {
                try await throughProxy.transaction { transaction in
                    try await transaction.execute("INSERT INTO t VALUES (1)")
                    identifier.record(try await transaction.readIdentifier())
                }
            }
            #expect(error.code == .commitOutcomeUnknown && !error.isTransient)
            let known = try #require(error.transactionIdentifier)
            #expect([known] == identifier.values)
            #expect(try await database.status(ofTransaction: known) == .committed)
            #expect(try await count(database) == 1)
            await throughProxy.close()
        }
    }

    @Test("A connection lost before COMMIT was sent has a known outcome")
    func lostBeforeCommit() async throws {
        try await withDatabase { database in
            try await database.execute("CREATE TABLE t (n int4)")
            let error = try await failure {
                try await database.transaction { transaction in
                    try await transaction.execute("INSERT INTO t VALUES (1)")
                    _ = try? await transaction.query("SELECT pg_terminate_backend(pg_backend_pid())")
                }
            }
            #expect(error.code == .connectionLost)
            #expect(try await count(database) == 0)
        }
    }
}
