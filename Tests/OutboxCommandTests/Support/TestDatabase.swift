// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Outbox
import OutboxTesting
import PostgresClient
import Testing

@testable import OutboxCommand

/// A database of a test's own, and its URL for the binary.
struct TestDatabase: Sendable {
    let url: String
    let database: Database

    var session: Session {
        get throws { try Session(DatabaseSettings(url: url)) }
    }

    /// Runs a test's body on an empty database.
    static func empty(_ body: (TestDatabase) async throws -> Void) async throws {
        try await run(on: ThrowAwayPostgres.shared().makeDatabase(), body)
    }

    /// Runs a test's body on a database with all migrations.
    static func migrated(_ body: (TestDatabase) async throws -> Void) async throws {
        let cluster = try await ThrowAwayPostgres.shared()
        let template = try await cluster.template("command") { configuration in
            let session = try Session(DatabaseSettings(url: await url(of: configuration)))
            _ = try await Migrator(session).up()
            await session.database.close()
        }
        try await run(on: cluster.makeDatabase(template: template)) { database in
            try await database.adopt()
            try await body(database)
        }
    }

    /// Runs a test's body on a copy of a database with all migrations, as it is before anybody adopts it.
    static func copied(_ body: (TestDatabase) async throws -> Void) async throws {
        try await migrated { original in
            let name = try await original.strings("SELECT current_database()::text")[0]
            await original.database.close()
            try await run(on: ThrowAwayPostgres.shared().makeDatabase(template: name), body)
        }
    }

    /// Says that the tasks belong here, and are run.
    func adopt() async throws { _ = try await database.query("SELECT outbox.adopt('deliver')") }

    private static func url(of configuration: DatabaseConfiguration) async throws -> String {
        try await ThrowAwayPostgres.shared().url(database: configuration.parameters["dbname"] ?? "")
    }

    private static func run(
        on configuration: DatabaseConfiguration, _ body: (TestDatabase) async throws -> Void
    ) async throws {
        let database = TestDatabase(url: try await url(of: configuration), database: Database(configuration))
        do {
            try await body(database)
        } catch {
            await database.database.close()
            throw error
        }
        await database.database.close()
    }

    /// Runs the binary on this database.
    func outbox(
        _ arguments: String..., environment: [String: String] = [:], input: String = ""
    ) async throws -> OutboxBinary.Result {
        try await outbox(arguments, environment: environment, input: Array(input.utf8))
    }

    func outbox(
        _ arguments: [String], environment: [String: String] = [:], input: [UInt8] = []
    ) async throws -> OutboxBinary.Result {
        try await OutboxBinary.run(arguments, database: self, environment: environment, input: input)
    }

    func strings(_ statement: Statement) async throws -> [String] {
        try await database.query(statement).map { try $0.decode(String.self, at: 0) }
    }

    func count(_ statement: Statement) async throws -> Int {
        try await database.query(statement)[0].decode(Int.self, at: 0)
    }

    /// The payloads of the tasks that may run, in the order of their enqueueing.
    func payloads() async throws -> [[UInt8]] {
        try await database.query("SELECT payload FROM outbox.ready ORDER BY seq").map {
            try $0.decode([UInt8].self, at: 0)
        }
    }

    /// Makes dead letters of one incident, with one attempt each, as a relay would, and returns the incident's number.
    @discardableResult
    func die(
        kind: String = "orders.created", reason: String = "rejected", count: Int = 1,
        payload: [UInt8] = Array("{}".utf8),
        message: String = "The endpoint answered 400."
    ) async throws -> Int64 {
        let incident = try await database.query(
            """
            INSERT INTO outbox.incidents (group_key, kind, endpoint, fingerprint, error_type, error_message, sample, count, open)
            VALUES (\(kind + reason + message), \(kind), 'partner', 'f', 'http.400', \(message), gen_random_uuid(),
                    \(count), \(count)) RETURNING number
            """)[0].decode(Int64.self, at: 0)
        try await database.execute(
            """
            WITH died AS (
                INSERT INTO outbox.dead (id, reason, incident, error_type, error_message, http_status, response_excerpt,
                                         enqueued_at, attempt, charged, crashed, replays, lane, kind, payload)
                SELECT gen_random_uuid(), \(reason), \(incident), 'http.400', \(message), 400, 'no such order', now(), 1, 1,
                       0, 0, '5:default', \(kind), \(payload)
                FROM generate_series(1, \(count)) RETURNING id)
            INSERT INTO outbox.attempts (task, attempt, outcome, charged, error_type, error_message, http_status, response_excerpt)
            SELECT id, 1, 'dead', true, 'http.400', \(message), 400, 'no such order' FROM died
            """)
        return incident
    }
}
