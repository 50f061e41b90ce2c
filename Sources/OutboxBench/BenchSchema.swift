// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Outbox
internal import OutboxMigrations
internal import PostgresClient

/// A schema of the benchmark's own in a database of the user's: created, filled, dropped; nothing else is touched.
struct BenchSchema {
    let database: Database
    let schema: Schema

    init(_ database: Database) async throws {
        self.database = database
        schema = try Schema("outbox_bench")
        try await drop()
        for migration in Migration.all {
            let script = Migration.script(migration.up, forSchema: schema.name)
            try await database.withConnection { try await $0.runScript(script, timeout: .seconds(60)) }
        }
    }

    func drop() async throws {
        _ = try await database.query(Statement("DROP SCHEMA IF EXISTS \(schema.quoted) CASCADE", binds: []))
    }

    /// Commits so many tasks of one kind, in transactions of ten thousand.
    func preload(_ count: Int, payloadBytes: Int) async throws {
        var left = count
        while left > 0 {
            let many = min(left, 10_000)
            _ = try await database.query(
                Statement(
                    """
                    SELECT count(*) FROM \(schema.quoted).enqueue_many(ARRAY['bench.task'],
                        ARRAY(SELECT repeat('x', $1::int) FROM generate_series(1, $2::int)))
                    """, binds: [payloadBytes.bind, many.bind]))
            left -= many
        }
        _ = try await database.query("CHECKPOINT")
    }

    func isEmpty() async throws -> Bool {
        try await database.query(Statement("SELECT NOT EXISTS (SELECT FROM \(schema.quoted).ready)", binds: []))[0]
            .decode(Bool.self, at: 0)
    }
}
