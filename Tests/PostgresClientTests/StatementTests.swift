// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Testing

@testable import PostgresClient

@Suite("Statements keep text and values apart")
struct StatementTests {
    @Test func interpolationBecomesBinds() {
        let missing: Int32? = nil
        let statement: Statement = "SELECT \(1), \("two"), \(missing) FROM \(identifier: #"my "table""#)"
        #expect(statement.text == #"SELECT $1, $2, $3 FROM "my ""table""""#)
        #expect(statement.binds.map(\.type) == [20, 0, 23])
        #expect(statement.binds[1] == Bind(type: 0, format: .text, bytes: Array("two".utf8)))
        #expect(statement.binds[2].bytes == nil)
    }

    @Test func aLiteralHasNoBinds() {
        let statement: Statement = "SELECT 1"
        #expect(statement == Statement("SELECT 1", binds: []))
    }

    @Test func anInjectionIsInert() async throws {
        try await withDatabase { database in
            try await database.execute("CREATE TABLE t (name text)")
            let attack = "'); DROP TABLE t; --"
            try await database.execute("INSERT INTO t VALUES (\(attack))")
            let row = try await database.query("SELECT name FROM t")[0]
            #expect(try row.decode(String.self, at: 0) == attack)
        }
    }

    @Test func anIdentifierCannotEscape() async throws {
        try await withDatabase { database in
            let name = #"x" (y int); DROP TABLE z; --"#
            try await database.execute("CREATE TABLE \(identifier: name) (n int4)")
            #expect(try await database.execute("INSERT INTO \(identifier: name) VALUES (\(1))") == 1)
        }
    }

    @Test func aStringTakesTheTypeOfItsPlace() async throws {
        try await withDatabase { database in
            try await database.execute("CREATE TABLE t (a jsonb, b timestamptz, c uuid, d text)")
            let (json, time, uuid) = (#"{"k": 1}"#, "2026-01-01Z", "00000000-0000-0000-0000-000000000001")
            try await database.execute("INSERT INTO t VALUES (\(json), \(time), \(uuid), \("d"))")
            let row = try await database.query("SELECT a FROM t")[0]
            #expect(try row.decode(String.self, at: 0) == #"{"k": 1}"#)
        }
    }

    @Test("A NUL is refused before anything is sent")
    func nul() async throws {
        // Nobody listens here: reaching for the server would be another error.
        let database = Database(try DatabaseConfiguration(url: "host=/nonexistent"))
        for statement: Statement in [
            "SELECT \("a\u{0}b")", "SELECT \(["a", "b\u{0}"])", "SELECT \(identifier: "a\u{0}")", "SELECT '\u{0}'",
            "SELECT 1 AS \(identifier: "")", "SELECT \(Duration.seconds(Int64.max))",
        ] {
            #expect(try await failure { try await database.query(statement) }.code == .invalidBind)
        }
        let error = try await failure { try await database.query("SELECT \(1), \("secret\u{0}")") }
        #expect(error.message.contains("$2") && error.hint?.contains("[UInt8]") == true)
        #expect(!String(reflecting: error).contains("secret"))
    }

    @Test func tooManyParametersAreRefused() async throws {
        let database = Database(try DatabaseConfiguration(url: "host=/nonexistent"))
        let statement = Statement("SELECT 1", binds: Array(repeating: 1.bind, count: 65_536))
        #expect(try await failure { try await database.query(statement) }.code == .invalidBind)
    }
}
