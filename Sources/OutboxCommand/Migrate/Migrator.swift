// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Outbox
internal import OutboxCore
package import OutboxMigrations
internal import PostgresClient

/// Applies and undoes migrations. Each script is a transaction of its own that takes an advisory lock and records its
/// version, so that several of these, and people with psql, may be at it at the same time.
package struct Migrator: Sendable {
    /// A migration that the database has.
    package struct Applied: Sendable, Equatable {
        package let version: Int
        package let name: String
        let at: PostgresTimestamp
        package let by: String
    }

    private let database: Database
    private let schema: Schema
    /// The migrations of this release.
    private let migrations: [Migration]

    init(_ session: Session, migrations: [Migration] = Migration.all) {
        database = session.database
        schema = session.schema
        self.migrations = migrations
    }

    var latest: Int { migrations.last?.version ?? 0 }

    /// What the database has, in the order of the versions; nothing if it has no outbox.
    ///
    /// - Throws: ``Problem`` if it has more than this release knows.
    package func applied() async throws -> [Applied] {
        let statement = Statement(
            "SELECT version, name, applied_at, applied_by FROM \(schema.quoted).schema_version ORDER BY version",
            binds: [])
        let applied: [Applied]
        do {
            applied = try await database.query(statement).map { row in
                try Applied(
                    version: row.decode(at: 0), name: row.decode(at: 1), at: row.decode(at: 2),
                    by: row.decode(at: 3))
            }
        } catch let error as PostgresError where error.sqlState == .undefinedTable {
            return []
        }
        if let newest = applied.last, newest.version > latest {
            throw Problem(
                .misconfigured,
                "the schema \(schema) is at version \(newest.version), and this release knows \(latest) at most",
                hint: "use a newer release of outbox; this is \(OutboxVersion.current)")
        }
        return applied
    }

    /// Applies what is missing and returns what this call applied; another process may have applied the rest meanwhile.
    package func up() async throws -> [Migration] {
        try await checkEncoding()
        var mine: [Migration] = []
        let start = try await version()
        for migration in migrations where migration.version > start {
            if try await apply(migration) { mine.append(migration) }
        }
        return mine
    }

    /// Undoes the latest migration and returns it; `nil` if there is none.
    ///
    /// - Parameter force: undo it although tasks or open dead letters are lost with it.
    package func down(force: Bool = false) async throws -> Migration? {
        let version = try await version()
        guard let migration = migrations.first(where: { $0.version == version }) else { return nil }
        let setting = force ? "SET outbox.force = on;\n" : ""
        do {
            try await run(setting + Migration.script(migration.down, forSchema: schema.name))
        } catch let error as PostgresError where error.sqlState == SQLState(rawValue: "P0001") {
            let isRefusal = error.message.contains("would lose")
            throw Problem(
                .failed, "\(migration.fileName) was not undone: \(error.message)",
                hint: isRefusal
                    ? "let the relays drain the tasks and replay or discard the dead letters; "
                        + "outbox migrate down --force loses them" : error.hint)
        }
        return migration
    }

    private func version() async throws -> Int { try await applied().last?.version ?? 0 }

    /// Whatever an endpoint answers is recorded, in any language; SQL_ASCII takes every byte.
    private func checkEncoding() async throws {
        let encoding = try await database.query(Statement("SHOW server_encoding", binds: []))[0].decode(
            String.self, at: 0)
        guard encoding == "UTF8" || encoding == "SQL_ASCII" else {
            throw Problem(
                .misconfigured, "the database is encoded in \(encoding), and an outbox needs UTF8",
                hint: "make the database with ENCODING 'UTF8' TEMPLATE template0")
        }
    }

    /// Applies one; false if somebody else did. Two at once meet at the lock, at the schema's name or at the version's
    /// row: whoever comes second looks again, and tries once more where the first was rolled back.
    private func apply(_ migration: Migration) async throws -> Bool {
        var attempt = 1
        while true {
            do {
                try await run(Migration.script(migration.up, forSchema: schema.name))
                return true
            } catch let error as PostgresError where error.code == .server {
                if try await version() >= migration.version { return false }
                let isCollision = error.sqlState == .uniqueViolation || error.isTransient
                guard isCollision, attempt < 10 else { throw error }
                attempt += 1
                try await Task.sleep(for: .milliseconds(100))
            }
        }
    }

    /// Runs a script on a connection of its own: after an error it is inside a broken transaction, and a setting of
    /// the session must not outlive it.
    private func run(_ script: String) async throws {
        let connection = try await database.connect()
        do {
            try await connection.runScript(script, timeout: .seconds(600))
        } catch {
            await connection.close()
            guard error.sqlState == .insufficientPrivilege else { throw error }
            throw Problem(
                .failed, "the database does not let this role do that: \(error.message)",
                hint: "migrate as the owner of the schema, or of the database where there is no schema yet")
        }
        await connection.close()
    }
}
