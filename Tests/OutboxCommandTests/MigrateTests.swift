// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import OutboxMigrations
import OutboxTesting
import PostgresClient
import Testing

@testable import OutboxCommand

/// `outbox migrate` on a real server.
@Suite struct MigrateTests {
    @Test func upIsIdempotentAndSaysWhatItDid() async throws {
        try await TestDatabase.empty { database in
            let missing = try await database.outbox("migrate", "status")
            #expect(missing.status == 2)
            #expect(missing.lines.dropFirst().allSatisfy { $0.hasSuffix("missing") })
            let first = try await database.outbox("migrate")
            #expect(first.status == 0)
            #expect(
                first.lines == Migration.all.map { "applied \($0.fileName)" } + [
                    "schema outbox is at version \(Migration.all.count)"
                ])
            let second = try await database.outbox("migrate", "up")
            #expect(second.lines == ["schema outbox is at version \(Migration.all.count), nothing to do"])
            let status = try await database.outbox("migrate", "status", "--json")
            #expect(status.status == 0)
            let rows = try #require(try JSONSerialization.jsonObject(with: Data(status.bytes)) as? [[String: Any]])
            #expect(rows.map { $0["version"] as? Int } == Migration.all.map(\.version))
            #expect(rows.allSatisfy { $0["applied_at"] is String })
        }
    }

    @Test func severalAtOnceAllSucceed() async throws {
        try await TestDatabase.empty { database in
            let results = try await withThrowingTaskGroup(of: OutboxBinary.Result.self) { group in
                for _ in 0..<5 { group.addTask { try await database.outbox("migrate") } }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(results.map(\.status) == [0, 0, 0, 0, 0], "\(results.map(\.errors))")
            // each was applied by one of them
            let applied = results.flatMap(\.lines).filter { $0.hasPrefix("applied") }.sorted()
            #expect(applied == Migration.all.map { "applied \($0.fileName)" })
            #expect(try await database.count("SELECT count(*) FROM outbox.schema_version") == Migration.all.count)
        }
    }

    @Test func aDatabaseThatIsNotInUTF8IsRefused() async throws {
        try await TestDatabase.empty { database in
            let name = "latin1_\(UInt32.random(in: 0 ... .max))"
            try await database.database.execute(
                Statement("CREATE DATABASE \(name) ENCODING 'LATIN1' TEMPLATE template0", binds: []))
            let url = try await ThrowAwayPostgres.shared().url(database: name)
            let result = try await OutboxBinary.run("migrate", "--database", url)
            try await database.database.execute(Statement("DROP DATABASE \(name)", binds: []))
            #expect(result.status == 78)
            #expect(result.errors.contains("encoded in LATIN1"))
        }
    }

    @Test func downUndoesOneAtATime() async throws {
        try await TestDatabase.migrated { database in
            for migration in Migration.all.reversed() {
                let down = try await database.outbox("migrate", "down")
                #expect(down.lines == ["undid \(migration.fileName)"])
            }
            let nothing = try await database.outbox("migrate", "down")
            #expect(nothing.status == 2)
            #expect(try await database.count("SELECT count(*) FROM pg_namespace WHERE nspname = 'outbox'") == 0)
            #expect(try await database.outbox("migrate").status == 0)
        }
    }

    @Test func downRefusesWhileThereIsWorkUnlessForced() async throws {
        try await TestDatabase.migrated { database in
            #expect(try await database.outbox("enqueue", "a.b").status == 0)
            for _ in 1..<Migration.all.count {
                #expect(try await database.outbox("migrate", "down").status == 0)
            }
            let refused = try await database.outbox("migrate", "down")
            #expect(refused.status == 1)
            #expect(refused.errors.contains("there are tasks or open dead letters"))
            #expect(refused.errors.contains("outbox migrate down --force"))
            let forced = try await database.outbox("migrate", "down", "--force")
            #expect(forced.status == 0)
            #expect(forced.lines == ["undid 0001_tables"])
        }
    }

    @Test func anotherSchemaIsIndependent() async throws {
        try await TestDatabase.migrated { database in
            #expect(try await database.outbox("migrate", "--schema", "second").status == 0)
            #expect(try await database.outbox("enqueue", "a.b", "--schema", "second").status == 0)
            #expect(try await database.count("SELECT count(*) FROM second.ready") == 1)
            #expect(try await database.count("SELECT count(*) FROM outbox.ready") == 0)
            let wrong = try await database.outbox("migrate", "--schema", "a\"b")
            #expect(wrong.status == 78)
        }
    }

    @Test func whatPsqlAppliedIsRecognised() async throws {
        try await TestDatabase.empty { database in
            let psql = URL(fileURLWithPath: "/usr/bin/psql")
            guard FileManager.default.isExecutableFile(atPath: psql.path) else { return }
            let printed = try await OutboxBinary.run("migrate", "print")
            #expect(printed.status == 0)
            let statements = printed.output.split(separator: "-- SPDX-License-Identifier").count
            #expect(statements == Migration.all.count)
            let result = try await runPsql(psql, database.url, printed.output)
            #expect(result == 0)
            let up = try await database.outbox("migrate")
            #expect(up.lines == ["schema outbox is at version \(Migration.all.count), nothing to do"])
            let down = try await OutboxBinary.run("migrate", "print", "--down", "--from", "2")
            #expect(try await runPsql(psql, database.url, down.output) == 0)
            #expect(try await database.count("SELECT max(version) FROM outbox.schema_version") == 1)
            #expect(try await database.outbox("migrate").lines.first == "applied 0002_enqueue")
        }
    }

    private func runPsql(_ psql: URL, _ url: String, _ script: String) async throws -> Int32 {
        let process = Process()
        let input = Pipe()
        process.executableURL = psql
        process.arguments = ["-qX", "-v", "ON_ERROR_STOP=1", "-d", url]
        process.standardInput = input
        process.standardOutput = FileHandle.nullDevice
        try process.run()
        try input.fileHandleForWriting.write(contentsOf: Data(script.utf8))
        try input.fileHandleForWriting.close()
        process.waitUntilExit()
        return process.terminationStatus
    }

    @Test func aSchemaOfANewerReleaseIsRefused() async throws {
        try await TestDatabase.migrated { database in
            try await database.database.execute(
                "INSERT INTO outbox.schema_version (version, name) VALUES (99, 'future')")
            for arguments in [
                ["migrate"], ["migrate", "status"], ["migrate", "down"], ["status"], ["enqueue", "a.b"], ["dead"],
            ] {
                let result = try await database.outbox(arguments)
                #expect(result.status == 78, "\(arguments)")
                #expect(result.errors.contains("version 99"))
                #expect(result.errors.contains("newer release"))
            }
        }
    }

    @Test func aDatabaseWithoutAnOutboxNamesTheCommand() async throws {
        try await TestDatabase.empty { database in
            for arguments in [["status"], ["enqueue", "a.b"], ["dead", "list"], ["tasks", "list"]] {
                let result = try await database.outbox(arguments)
                #expect(result.status == 78, "\(arguments)")
                #expect(result.errors.contains("hint: apply the migrations: outbox migrate"))
            }
        }
    }
}
