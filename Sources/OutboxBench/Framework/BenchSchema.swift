// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

package import Outbox
internal import OutboxMigrations
internal import PostgresClient

/// A schema of the benchmark's own in a database of the user's: made, filled and dropped; nothing else is touched.
///
/// It is known by the comment that it bears from the moment it exists: one that a killed run left is replaced, and one
/// without the comment is somebody's, and stays as it is.
package struct BenchSchema: Sendable {
    private static let name = "outbox_bench"
    private static let mark = "made by outbox bench, which drops it without asking"

    let database: Database
    package let schema: Schema

    init(_ database: Database) {
        self.database = database
        schema = Self.schema
    }

    private static let schema: Schema = {
        do { return try Schema(name) } catch { preconditionFailure("\(error)") }
    }()

    /// - Throws: ``BenchFailure`` if a schema of that name exists and is not ours.
    func make() async throws {
        try await dropIfOurs()
        try await database.run([
            Statement("CREATE SCHEMA \(schema.quoted)", binds: []),
            Statement("COMMENT ON SCHEMA \(schema.quoted) IS '\(Self.mark)'", binds: []),
        ])
        for migration in Migration.all {
            let script = Migration.script(migration.up, forSchema: schema.name)
            try await database.withConnection { try await $0.runScript(script, timeout: .seconds(60)) }
        }
        try await database.withConnection { try await $0.runScript(Self.ownTables, timeout: .seconds(60)) }
    }

    /// What producers write besides tasks: a business table, and one of the shape of `ready`, the floor of an enqueue.
    private static let ownTables = """
        CREATE TABLE \(schema.quoted).orders (
            number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text NOT NULL,
            at timestamptz NOT NULL DEFAULT now());
        CREATE TABLE \(schema.quoted).bare (LIKE \(schema.quoted).ready INCLUDING ALL)
        WITH (fillfactor = 45, vacuum_truncate = off, autovacuum_vacuum_scale_factor = 0,
              autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_insert_scale_factor = 0,
              autovacuum_vacuum_insert_threshold = 100000);
        """

    /// Drops it even if the task is cancelled: it is for that moment that this outlives the cancellation.
    func drop() async throws {
        let dropping = Task { try await dropIfOurs() }
        try await dropping.value
    }

    private func dropIfOurs() async throws {
        let found = try await database.query(
            "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = \(Self.name)")
        guard !found.isEmpty else { return }
        guard try found[0].decode(String?.self, at: 0) == Self.mark else {
            throw BenchFailure(
                "the database has a schema \(Self.name) that no benchmark made",
                hint: "use another database, or drop or rename that schema yourself")
        }
        try await database.run([
            // a load process that was killed may still hold a lock for a moment
            "SET LOCAL lock_timeout = '30s'", Statement("DROP SCHEMA \(schema.quoted) CASCADE", binds: []),
        ])
    }

    // MARK: - Filling and emptying

    /// Commits so many tasks of the kind `bench.task`, numbered from `first` on in their payloads, in transactions of
    /// ten thousand.
    ///
    /// Before that it makes a checkpoint, so that each measurement is as far from one as the others, and on pages that are
    /// newer than it, as those of a queue mostly are: a page that is older is logged as a whole when it is first touched.
    package func preload(_ count: Int, payload: Int, from first: Int = 0, checkpoints: Bool = true) async throws {
        if checkpoints { try await checkpoint() }
        for start in stride(from: first, to: first + count, by: 10_000) {
            let end = min(start + 10_000, first + count) - 1
            try await database.execute(
                Statement(
                    """
                    SELECT count(*) FROM \(schema.quoted).enqueue_many(ARRAY['bench.task'],
                        ARRAY(SELECT rpad(n || ' ', greatest($1, length(n || ' ')), 'x')
                              FROM generate_series($2::int, $3::int) n))
                    """, binds: [Int32(clamping: payload).bind, Int32(clamping: start).bind, Int32(clamping: end).bind])
            )
        }
    }

    /// Makes a checkpoint if the user may.
    package func checkpoint() async throws {
        do {
            try await database.execute("CHECKPOINT")
        } catch let error as PostgresError where error.sqlState == .insufficientPrivilege {}
    }

    /// How many tasks there are, whether they wait or run.
    package func remaining() async throws -> Int {
        try await database.query(
            Statement(
                "SELECT (SELECT count(*) FROM \(schema.quoted).ready) + (SELECT count(*) FROM \(schema.quoted).later)",
                binds: []))[0].decode(Int.self, at: 0)
    }

    /// Forgets every task, and gives the space back.
    package func empty() async throws {
        try await database.execute(
            Statement(
                "TRUNCATE "
                    + ["ready", "later", "attempts", "orders", "bare"].map { "\(schema.quoted).\($0)" }
                    .joined(separator: ", "), binds: []))
    }
}

extension BenchSchema {
    /// The right to be the only benchmark in a database: another one would drop the schema of this one.
    struct Claim {
        private let connection: Connection

        init(_ database: Database) async throws {
            connection = try await database.connect()
            let answer = try await connection.run([
                "SELECT pg_try_advisory_lock(hashtext(\(BenchSchema.name)), 7239)"
            ])
            guard try answer[0][0].decode(Bool.self, at: 0) else {
                throw BenchFailure(
                    "another benchmark runs in this database", hint: "wait for its end, or use another database")
            }
        }

        func release() async { await connection.close() }
    }
}
