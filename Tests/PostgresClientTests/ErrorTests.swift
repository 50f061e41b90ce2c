// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Testing

@testable import PostgresClient

@Suite("Errors say what happened and no values")
struct ErrorTests {
    @Test func theSQLStateAndTheConstraintAreKnown() async throws {
        try await withDatabase { database in
            try await database.execute("CREATE TABLE people (email text CONSTRAINT one_of_each UNIQUE)")
            try await database.execute("INSERT INTO people VALUES (\("ada@example.org"))")
            let error = try await failure {
                try await database.execute("INSERT INTO people VALUES (\("ada@example.org"))")
            }
            #expect(error.code == .server)
            #expect(error.sqlState == .uniqueViolation && error.sqlState?.classCode == "23")
            #expect(error.constraint == "one_of_each")
            #expect(!error.isTransient && error.isConnectionUsable)
            #expect(!error.description.contains("ada@") && !"\(error)".contains("ada@"))
            #expect(String(reflecting: error).contains("ada@"))
        }
    }

    @Test func aMessageThatQuotesTheValueIsRedacted() async throws {
        try await withDatabase { database in
            let error = try await failure { try await database.query("SELECT \("s3cret")::int4") }
            #expect(error.sqlState == .invalidTextRepresentation)
            #expect(!error.description.contains("s3cret") && error.debugDescription.contains("s3cret"))
        }
    }

    @Test func theStatementOfABatchIsNamedAndNothingOfTheBatchRemains() async throws {
        try await withDatabase { database in
            try await database.execute("CREATE TABLE t (n int4)")
            let error = try await failure {
                try await database.run([
                    "INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (1/0)", "INSERT INTO t VALUES (3)",
                ])
            }
            #expect(error.statementIndex == 1 && error.sqlState?.rawValue == "22012")
            #expect(try await database.query("SELECT count(*) FROM t")[0].decode(Int.self, at: 0) == 0)
            let results = try await database.run(["INSERT INTO t VALUES (1), (2)", "SELECT n FROM t ORDER BY n"])
            #expect(results[0].affectedRows == 2)
            #expect(try results[1].map { try $0.decode(Int32.self, "n") } == [1, 2])
        }
    }

    @Test("A batch larger than all buffers goes both ways at once")
    func largeBatch() async throws {
        try await withDatabase { database in
            let payload = [UInt8](repeating: 9, count: 500_000)
            let results = try await database.run((0..<48).map { "SELECT \(payload), \($0)" })
            #expect(results.count == 48)
            #expect(try results[47][0].decode(Int.self, at: 1) == 47)
            #expect(results[47].withBytes(row: 0, column: 0) { $0?.count } == 500_000)
        }
    }

    @Test func copyIsRefusedAndTheDatabaseGoesOn() async throws {
        try await withDatabase { database in
            let error = try await failure { try await database.query("COPY pg_class TO STDOUT") }
            #expect(error.code == .server)
            #expect(try await database.query("SELECT 1").count == 1)
        }
    }

    @Test func transientOrNot() {
        func server(_ state: String) -> PostgresError {
            PostgresError(.server, "", sqlState: SQLState(rawValue: state))
        }
        for state in ["40001", "40P01", "55P03", "57P01", "53300", "53100", "08006", "25006"] {
            #expect(server(state).isTransient, "\(state)")
        }
        for state in ["23505", "42P01", "25P02", "22P02"] { #expect(!server(state).isTransient, "\(state)") }
        #expect(PostgresError(.connectionLost, "").isTransient)
        #expect(!PostgresError(.commitOutcomeUnknown, "").isTransient)
        #expect(server("25006").indicatesWrongServer)
        #expect(!server("57P01").isConnectionUsable && !server("08006").isConnectionUsable)
        #expect(server("40001").sqlState?.asksForRetry == true)
    }

    @Test func aScriptRunsAsOneTransaction() async throws {
        try await withDatabase { database in
            let connection = try await database.connect()
            try await connection.runScript("CREATE TABLE a (n int4); INSERT INTO a VALUES (1); CREATE TABLE b (n int4)")
            let error = try await failure { try await connection.runScript("INSERT INTO a VALUES (2); SELECT 1/0") }
            #expect(error.sqlState?.rawValue == "22012")
            let result = try await connection.run(["SELECT n FROM a"])[0]
            #expect(result.count == 1)
            await connection.close()
        }
    }
}
