// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import FoundationEssentials
import Outbox
import OutboxMigrations
import OutboxTesting
import Testing

@testable import PostgresClient

/// The migrations as an operator applies them, and what they leave.
@Suite struct MigrationTests {
    private func withEmptyDatabase(_ body: (Database) async throws -> Void) async throws {
        let database = Database(try await ThrowAwayPostgres.shared().makeDatabase())
        do { try await body(database) } catch {
            await database.close()
            throw error
        }
        await database.close()
    }

    private func run(_ script: String, _ database: Database) async throws {
        try await database.withConnection { try await $0.runScript(script, timeout: .seconds(30)) }
    }

    /// Everything that a migration can leave in the schema, in one text.
    private func schema(_ database: Database, _ name: String = "outbox") async throws -> String {
        let lines = try await database.query(
            """
            SELECT line FROM (
                SELECT 'table ' || c.relname || ' ' || coalesce('(' || array_to_string(c.reloptions, ', ') || ')', '') FROM pg_class c
                WHERE c.relnamespace = \(name)::regnamespace AND c.relkind IN ('r', 'p')
                UNION ALL
                SELECT 'column ' || c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
                       || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END
                       || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')
                FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
                WHERE c.relnamespace = \(name)::regnamespace AND c.relkind IN ('r', 'p', 'v')
                UNION ALL
                SELECT 'index ' || pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
                WHERE c.relnamespace = \(name)::regnamespace
                UNION ALL
                SELECT 'constraint ' || k.conrelid::regclass || ' ' || k.conname || ' ' || pg_get_constraintdef(k.oid) FROM pg_constraint k
                WHERE k.connamespace = \(name)::regnamespace AND k.contype IN ('c', 'p')
                UNION ALL
                SELECT 'function ' || p.oid::regprocedure || ' returns ' || pg_get_function_result(p.oid)
                       || CASE WHEN p.prosecdef THEN ' definer' ELSE '' END
                       || coalesce(' set ' || array_to_string(p.proconfig, ', '), '')
                       || CASE WHEN has_function_privilege('public', p.oid, 'execute') THEN ' PUBLIC' ELSE '' END
                FROM pg_proc p WHERE p.pronamespace = \(name)::regnamespace
            ) x (line) ORDER BY line COLLATE "C"
            """)
        return try lines.map { try $0.decode(String.self, at: 0) }.joined(separator: "\n") + "\n"
    }

    @Test func theSchemaIsTheOneOnRecord() async throws {
        try await withOutbox { database in
            try expectGolden("schema.txt", try await schema(database))
        }
    }

    @Test func upDownUpGivesTheSameAndDownLeavesNothing() async throws {
        try await withEmptyDatabase { database in
            for migration in Migration.all { try await run(migration.up, database) }
            let first = try await schema(database)
            for migration in Migration.all.reversed() { try await run(migration.down, database) }
            let left = try await database.count("SELECT count(*) FROM pg_namespace WHERE nspname = 'outbox'")
            #expect(left == 0)
            for migration in Migration.all { try await run(migration.up, database) }
            #expect(try await schema(database) == first)
        }
    }

    @Test func downRefusesWhileThereIsWorkToLose() async throws {
        try await withOutbox { database in
            try await database.transaction { try await $0.enqueue(kind: "k", payload: []) }
            for migration in Migration.all.reversed().dropLast() { try await run(migration.down, database) }
            let refusal = await #expect(throws: PostgresError.self) { try await run(Migration.all[0].down, database) }
            #expect(refusal?.message.contains("there are tasks or open dead letters") == true)
            let kept = try await database.count("SELECT count(*) FROM outbox.ready")
            #expect(kept == 1)
            try await run("SET outbox.force = on;\n" + Migration.all[0].down, database)
        }
    }

    @Test(arguments: [
        "SELECT outbox.enqueue('k', '', delay => '1 hour')",
        """
        INSERT INTO outbox.dead (id, reason, incident, error_type, error_message, enqueued_at, attempt, charged, crashed,
            replays, lane, kind, payload)
        VALUES (gen_random_uuid(), 'rejected', 1, 't', 'm', now(), 1, 1, 0, 0, '5:default', 'k', '')
        """,
    ]) func downRefusesToLoseTasksThatWaitAndDeadLetters(work: String) async throws {
        try await withOutbox { database in
            _ = try await database.query(Statement(work, binds: []))
            for migration in Migration.all.reversed().dropLast() { try await run(migration.down, database) }
            let refusal = await #expect(throws: PostgresError.self) { try await run(Migration.all[0].down, database) }
            #expect(refusal?.message.contains("there are tasks or open dead letters") == true)
        }
    }

    /// With each number of migrations applied, no other but the next goes up and no other but the last goes down.
    @Test func noMigrationIsSkipped() async throws {
        try await withEmptyDatabase { database in
            for applied in 1..<Migration.all.count {
                try await run(Migration.all[applied - 1].up, database)
                for (index, migration) in Migration.all.enumerated() {
                    if index != applied {
                        let up = await #expect(throws: PostgresError.self) { try await run(migration.up, database) }
                        let isSaid = up?.message.contains(index == 0 ? "applied already" : " follows ") == true
                        #expect(isSaid, "\(migration.name) up after \(applied)")
                    }
                    if index != applied - 1 {
                        let down = await #expect(throws: PostgresError.self) { try await run(migration.down, database) }
                        let isSaid = down?.message.contains("the latest migration is \(applied)") == true
                        #expect(isSaid, "\(migration.name) down after \(applied)")
                    }
                }
            }
        }
    }

    @Test func migrationsApplyOnceAndInOrder() async throws {
        try await withEmptyDatabase { database in
            try await run(Migration.all[0].up, database)
            let again = await #expect(throws: PostgresError.self) { try await run(Migration.all[0].up, database) }
            #expect(again?.message.contains("applied already") == true)
            let tooEarly = await #expect(throws: PostgresError.self) { try await run(Migration.all[2].up, database) }
            #expect(tooEarly?.message.contains("migration 0003 follows 0002") == true)
            let wrongDown = await #expect(throws: PostgresError.self) { try await run(Migration.all[1].down, database) }
            #expect(wrongDown?.message.contains("the latest migration is 1") == true)
        }
    }

    @Test func ofSeveralAtOnceOneAppliesAndTheOthersSaySo() async throws {
        try await withEmptyDatabase { database in
            let messages = await withTaskGroup(of: String?.self) { group in
                for _ in 0..<5 {
                    group.addTask {
                        do {
                            let connection = try await database.connect()
                            defer { Task { await connection.close() } }
                            try await connection.runScript(Migration.all[0].up, timeout: .seconds(30))
                            return nil
                        } catch { return (error as? PostgresError)?.message ?? "\(error)" }
                    }
                }
                return await group.reduce(into: []) { $0.append($1) }
            }
            #expect(messages.count { $0 == nil } == 1)
            #expect(messages.count { $0?.contains("applied already") == true } == 4, "\(messages)")
        }
    }

    @Test func anotherSchemaNameWorksThroughout() async throws {
        try await withEmptyDatabase { database in
            for migration in Migration.all {
                try await run(Migration.script(migration.up, forSchema: "jobs"), database)
            }
            let elsewhere = try Schema("jobs")
            try await database.transaction { try await $0.enqueue(kind: "k", payload: [], schema: elsewhere) }
            let count = try await database.count("SELECT count(*) FROM jobs.tasks")
            #expect(count == 1)
            let stray = try await database.count("SELECT count(*) FROM pg_namespace WHERE nspname = 'outbox'")
            #expect(stray == 0)
            for migration in Migration.all.reversed() {
                let script = Migration.script(migration.down, forSchema: "jobs")
                try await run("SET outbox.force = on;\n" + script, database)
            }
        }
    }

    @Test func claimsReadTheIndexWhateverTheStatisticsSay() async throws {
        try await withOutbox { database in
            // statistics of an empty table, then a hundred thousand rows
            _ = try await database.query("ANALYZE outbox.ready")
            _ = try await database.query(
                "SELECT count(*) FROM outbox.enqueue_many(ARRAY['k'], ARRAY(SELECT 'x' FROM generate_series(1, 100000)))"
            )
            for _ in 0..<2 {
                let connection = try await database.connect()
                let before = try await connection.run([Self.scans])[0][0].decode(Int64.self, at: 0)
                let settled = try await connection.run([Self.claimAndSettle])[0].count
                #expect(settled == 500)
                let after = try await connection.run([Self.scans])[0][0].decode(Int64.self, at: 0)
                #expect(after == before, "no sequential scan of a leaf")
                await connection.close()
                _ = try await database.query("ANALYZE outbox.ready")  // and the same with fresh statistics
            }
        }
    }

    /// A vacuum at a moment without tasks, as there are many in a healthy outbox, and then a backlog.
    @Test func claimsLookKeysUpAfterAVacuumFoundNothing() async throws {
        try await withOutbox { database in
            let fill: Statement =
                "SELECT count(*) FROM outbox.enqueue_many(ARRAY['k'], ARRAY(SELECT 'x' FROM generate_series(1, 20000)))"
            _ = try await database.query(fill)
            _ = try await database.query("DELETE FROM outbox.ready")
            _ = try await database.query("VACUUM outbox.ready")
            _ = try await database.query(fill)
            let connection = try await database.connect()
            let before = try await connection.run([Self.entries])[0][0].decode(Int64.self, at: 0)
            let settled = try await connection.run([Self.claimAndSettle])[0].count
            #expect(settled == 500)
            let read = try await connection.run([Self.entries])[0][0].decode(Int64.self, at: 0) - before
            #expect(read < 25000, "the backlog is not walked for each task")
            await connection.close()
        }
    }

    /// Index entries of the leaves that were ever read.
    private static let entries: Statement = """
        SELECT (pg_stat_force_next_flush() IS NULL)::int + sum(pg_stat_get_tuples_returned(i.indexrelid))::bigint
        FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
        WHERE c.relnamespace = 'outbox'::regnamespace AND c.relname ~ '^ready_[0-3]$'
        """
    private static let scans: Statement = """
        SELECT (pg_stat_force_next_flush() IS NULL)::int + sum(pg_stat_get_numscans(c.oid))::bigint
        FROM pg_class c WHERE c.relnamespace = 'outbox'::regnamespace AND c.relname ~ '^ready_[0-3]$'
        """
    private static let claimAndSettle: Statement = """
        WITH claimed AS MATERIALIZED (
            SELECT * FROM outbox.claim_v1(gen_random_uuid(), '30 s', NULL, '{}', '{}', '{}', '{}', '{}', '{}', 500, 10000000, 500,
                '1 min', 100, '{}', NULL, '{log}')
        )
        SELECT outbox.settle_v1(array_agg(slot), array_agg(lane), array_agg(seq), array_agg(attempt), array_agg(id))
        FROM claimed WHERE id IS NOT NULL
        """

    /// A backlog older than a turn of the leaves: all four have old tasks, and the current one has new ones behind them.
    @Test func aBacklogOlderThanATurnOfTheLeavesIsClaimedWholeAndInItsOrder() async throws {
        try await withOutbox { database in
            // seven periods, so that the leaves of the first three come a second time
            _ = try await database.query(
                """
                INSERT INTO outbox.ready (slot, id, lane, kind, payload)
                SELECT outbox.slot_at(timestamptz '2026-01-01 00:00Z' + i / 1000 * interval '120 s'), gen_random_uuid(),
                       '5:default', 'k', i::text::bytea
                FROM generate_series(0, 6999) i
                """)
            let leaves = try await database.count("SELECT count(DISTINCT slot) FROM outbox.ready")
            #expect(leaves == 4)
            let connection = try await database.connect()
            let before = try await connection.run([Self.entries])[0][0].decode(Int64.self, at: 0)
            var claimed: [Int] = []
            while claimed.count < 7000 {
                // as a relay asks: the leaf whose turn comes next, which is the oldest, first
                let rows = try await connection.run(
                    [
                        """
                        WITH claimed AS MATERIALIZED (
                            SELECT * FROM outbox.claim_v1(gen_random_uuid(), '30 s', NULL, '{}', '{}',
                                ARRAY(SELECT outbox.slot_at(timestamptz '2026-01-01 00:00Z' + i * interval '120 s')
                                      FROM generate_series(0, 3) i),
                                array_fill('5:default'::text, '{4}'), '{0,0,0,0}', '{500,500,500,500}', 500, 10000000,
                                NULL, NULL, 0, NULL, NULL, NULL)
                        ), settled AS MATERIALIZED (
                            SELECT outbox.settle_v1(array_agg(slot), array_agg(lane), array_agg(seq), array_agg(attempt),
                                                    array_agg(id))
                            FROM claimed WHERE id IS NOT NULL
                        )
                        SELECT convert_from(payload, 'UTF8')::int FROM claimed
                        WHERE id IS NOT NULL AND (SELECT count(*) FROM settled) > 0
                        """
                    ])[0]
                try #require(!rows.isEmpty)
                claimed += try rows.map { try $0.decode(Int.self, at: 0) }
            }
            #expect(claimed.sorted() == Array(0..<7000), "each once, and none is missing")
            // within a leaf in the order of the enqueues, the new ones last
            for leaf in 0..<4 {
                let own = claimed.filter { $0 / 1000 % 4 == leaf }
                #expect(own == own.sorted())
            }
            #expect(claimed.prefix(1000).elementsEqual(0..<1000), "the oldest leaf first")
            #expect(try await database.tasksLeft() == 0)
            let read = try await connection.run([Self.entries])[0][0].decode(Int64.self, at: 0) - before
            #expect(read < 50000, "no task is walked over more often than a few times")
            await connection.close()
        }
    }

    /// Between two known lanes there is mostly nothing: to find that out must not mean reading what comes behind them.
    @Test func discoveryReadsNothingOfTheLanesThatAreKnown() async throws {
        try await withOutbox { database in
            let session = try await database.connect()
            try await session.run(["BEGIN"])
            try await session.run(
                [
                    """
                    INSERT INTO outbox.ready (slot, id, lane, kind, payload)
                    SELECT 0, gen_random_uuid(), CASE i WHEN 0 THEN '5:a' WHEN 1 THEN '5:c' ELSE '5:d' END, 'k', ''
                    FROM generate_series(0, 2000) i
                    """
                ])
            let found = try await session.run(["SELECT lane FROM outbox.lanes_v1('{0,0}', '{5:a,5:d}')"])
            #expect(try found[0].map { try $0.decode(String.self, at: 0) } == ["5:c"])
            let read = try await session.run(
                [
                    "SELECT sum(idx_tup_fetch)::int FROM pg_stat_xact_user_tables WHERE schemaname = 'outbox' AND relname LIKE 'ready%'"
                ])
            #expect(try read[0][0].decode(Int.self, at: 0) < 10)
            await session.close()
        }
    }

    @Test func rolesMayDoWhatTheirNamesSayAndNothingElse() async throws {
        try await withOutbox { database in
            let suffix = String(UInt32.random(in: 0 ... .max), radix: 36)
            let roles = try rolesScript().replacing("outbox_", with: "outbox_\(suffix)_")
            try await run(roles, database)
            let allowed: [String: [String]] = [
                "producer": ["SELECT outbox.enqueue('a.b', 'x')", "SELECT outbox.cancel(gen_random_uuid())"],
                "relay": ["SELECT outbox.settle_v1('{}', '{}', '{}', '{}', '{}')", "SELECT outbox.trim_v1()"],
                "operator": [
                    "SELECT * FROM outbox.tasks", "SELECT * FROM outbox.dead_letters", "SELECT outbox.replay('{1}')",
                    "SELECT * FROM outbox.backlog()",
                ],
            ]
            let forbidden = [
                "SELECT * FROM outbox.ready", "INSERT INTO outbox.later (run_at) VALUES (now())",
                "DELETE FROM outbox.dead",
                "TRUNCATE outbox.ready_0", "SELECT outbox.check_task('a', '', NULL, '')", "CREATE TABLE outbox.mine ()",
            ]
            for role in allowed.keys {
                for (other, statements) in allowed {
                    for text in statements {
                        let state = try await state(of: text, as: "outbox_\(suffix)_\(role)", database)
                        let isShared = role == "operator" && text.contains("outbox.cancel")
                        #expect(state == (other == role || isShared ? nil : .insufficientPrivilege), "\(role): \(text)")
                    }
                }
                for text in forbidden {
                    #expect(
                        try await state(of: text, as: "outbox_\(suffix)_\(role)", database) == .insufficientPrivilege,
                        "\(role): \(text)")
                }
            }
            try await run(
                allowed.keys.map { "DROP OWNED BY outbox_\(suffix)_\($0); DROP ROLE outbox_\(suffix)_\($0);" }.joined(),
                database)
        }
    }

    /// The error that a statement gives a role; everything is rolled back.
    private func state(of text: String, as role: String, _ database: Database) async throws -> SQLState? {
        struct Undo: Error {}
        do {
            try await database.transaction { transaction in
                _ = try await transaction.query(Statement("SET LOCAL ROLE \(role)", binds: []))
                _ = try await transaction.query(Statement(text, binds: []))
                throw Undo()
            }
        } catch is Undo {
            return nil
        } catch let error as PostgresError {
            return error.sqlState
        }
        return nil
    }

    private func rolesScript() throws -> String {
        try String(contentsOfFile: repositoryRoot + "/migrations/roles.sql", encoding: .utf8)
    }
}

/// Where this checkout is.
let repositoryRoot = #filePath.split(separator: "/").dropLast(3).map { "/" + $0 }.joined()

/// Compares a text with the one on record; `OUTBOX_RECORD=1` records it anew.
func expectGolden(_ name: String, _ text: String, sourceLocation: SourceLocation = #_sourceLocation) throws {
    let path = repositoryRoot + "/Tests/OutboxTests/Golden/" + name
    if ProcessInfo.processInfo.environment["OUTBOX_RECORD"] == "1" {
        try text.write(toFile: path, atomically: true, encoding: .utf8)
    }
    let recorded = try String(contentsOfFile: path, encoding: .utf8)
    #expect(
        text == recorded, "differs from Golden/\(name); OUTBOX_RECORD=1 records it anew", sourceLocation: sourceLocation
    )
}
