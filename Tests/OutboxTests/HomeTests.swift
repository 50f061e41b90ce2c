// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Logging
import Outbox
import OutboxMigrations
import OutboxTesting
import Testing

@testable import OutboxRelay
@testable import PostgresClient

/// Tasks belong to a database, and relays run them in no other.
@Suite(.timeLimit(.minutes(2))) struct HomeTests {
    private typealias Charge = RelayTests.Charge

    /// A database with ten tasks, and a copy of it that nobody has adopted.
    private func withCopy(_ body: (_ original: String, Database) async throws -> Void) async throws {
        var name = ""
        try await withOutbox { original in
            try await Self.enqueue(0..<10, original)
            name = try await original.query("SELECT current_database()::text")[0].decode(String.self, at: 0)
        }
        let copy = Database(try await ThrowAwayPostgres.shared().makeDatabase(template: name))
        do { try await body(name, copy) } catch {
            await copy.close()
            throw error
        }
        await copy.close()
    }

    private static func enqueue(_ orders: Range<Int>, _ database: Database) async throws {
        try await database.transaction { transaction in
            for order in orders {
                try await transaction.enqueue(Charge(order: order), options: .init(idempotencyKey: "order-\(order)"))
            }
        }
    }

    /// What keeps a relay from starting.
    private func refusal(_ database: Database) async throws -> RelayError? {
        let handler = Handler(Charge.self) { _, _ in Issue.record("a task ran in a database that it does not belong to")
        }
        let relay = try Relay(
            database: database.configuration, handlers: [handler], configuration: .quick, logger: .quiet)
        // one that runs all the same is stopped, and then has thrown nothing
        let limit = Task {
            try await Task.sleep(for: .seconds(10))
            relay.stop()
        }
        defer { limit.cancel() }
        return await #expect(throws: RelayError.self) { try await relay.run() }
    }

    private func adopt(_ waiting: String, _ database: Database) async throws -> Int {
        try await database.count("SELECT outbox.adopt(\(waiting), who => 'ann')")
    }

    @Test func aCopyRunsNothingUntilItIsAdoptedAndThenEverythingUnderTheSameKeys() async throws {
        try await withCopy { original, copy in
            let places = try await copy.query(
                "SELECT name, database::text, cluster::text, here_name, here_database::text, here_cluster::text FROM outbox.origin()"
            )[0]
            let texts = try (0..<6).map { try places.decode(String.self, at: $0) }
            #expect(texts[0] == original && texts[1] != texts[4] && texts[2] == texts[5])
            let error = try #require(try await refusal(copy))
            #expect(error.code == .tasksOfAnotherDatabase)
            #expect(
                error.message == "the tasks belong to the database \(texts[0]) (oid \(texts[1]), cluster \(texts[2])), "
                    + "and this is \(texts[3]) (oid \(texts[4]), cluster \(texts[5])), so no relay runs them here")
            #expect(error.hint.contains("outbox adopt --bury makes dead letters"))
            #expect(error.hint.contains("outbox adopt --deliver runs them from here"))
            #expect(error.hint.hasSuffix("SELECT outbox.adopt('bury') or SELECT outbox.adopt('deliver')"))
            // business goes on meanwhile
            try await Self.enqueue(10..<12, copy)
            #expect(try await copy.count("SELECT count(*) FROM outbox.ready WHERE attempt = 0") == 12)

            #expect(try await adopt("deliver", copy) == 12)
            let seen = Recorder<String>()
            let handler = Handler(Charge.self) { _, context in seen.record(context.idempotencyKey) }
            try await withRelay(copy, [handler]) { _ in await seen.wait(for: 12) }
            #expect(seen.values.sorted() == (0..<12).map { "order-\($0)" }.sorted())
        }
    }

    @Test func anotherClusterIsAnotherDatabaseAndAnotherNameIsNot() async throws {
        try await withOutbox { database in
            try await Self.enqueue(0..<3, database)
            _ = try await database.query("UPDATE outbox.home SET name = 'renamed'")
            _ = try await database.query("SELECT outbox.home_v1()")
            _ = try await database.query("UPDATE outbox.home SET cluster = cluster + 1")
            let error = try #require(try await refusal(database))
            #expect(error.code == .tasksOfAnotherDatabase)
            #expect(error.message.hasPrefix("the tasks belong to the database renamed (oid "))
            // nobody says where they belong
            _ = try await database.query("DELETE FROM outbox.home")
            let silence = try #require(try await refusal(database))
            #expect(
                silence.message == "the outbox does not say which database its tasks belong to, so no relay runs them")
            #expect(try await adopt("deliver", database) == 3)
            let by = try await database.query("SELECT adopted_by FROM outbox.origin() WHERE is_here")[0]
            #expect(try by.decode(String.self, at: 0) == "ann")
            // to say it again changes nothing
            #expect(try await adopt("deliver", database) == 3)
            try await withRelay(database, [Handler(Charge.self) { _, _ in }]) { _ in
                try await eventually { try await database.tasksLeft() == 0 }
            }
        }
    }

    /// A dump that is restored over a database whose relays run, or a pooler that leads elsewhere: no connection is lost.
    @Test func aRunningRelayHoldsWhenItsDatabaseIsReplacedAndGoesOnOnceThatIsAdopted() async throws {
        try await holding(.quick) { database in
            _ = try await database.query("UPDATE outbox.home SET cluster = cluster + 1")
        }
    }

    /// A failover that leads to a clone, a name that leads elsewhere: at once, whatever the interval.
    @Test func aRelayThatReconnectsLooksBeforeItRunsAnything() async throws {
        var configuration = RelayConfiguration.quick
        configuration.sweepInterval = .seconds(600)
        try await holding(configuration) { database in
            _ = try await database.query("UPDATE outbox.home SET database = 1")
            let sessions: Statement = """
                SELECT pid FROM pg_stat_activity
                WHERE datname = current_database() AND application_name LIKE 'outbox relay%'
                """
            let old = try await database.query(sessions).map { try $0.decode(Int32.self, at: 0) }
            _ = try await database.query("SELECT pg_terminate_backend(pid) FROM unnest(\(old)) pid")
            try await eventually {
                try await database.count("SELECT count(*) FROM pg_stat_activity WHERE pid = ANY (\(old))") == 0
            }
        }
    }

    private func holding(_ configuration: RelayConfiguration, _ replace: (Database) async throws -> Void) async throws {
        try await withOutbox { database in
            let (seen, lines) = (Recorder<Int>(), Recorder<String>())
            let relay = try Relay(
                database: database.configuration,
                handlers: [Handler(Charge.self) { task, _ in seen.record(task.order) }],
                configuration: configuration, logger: Logger(label: "test") { _ in RecordingLog(lines: lines) })
            let running = Task { try await relay.run() }
            try await Self.enqueue(0..<5, database)
            await seen.wait(for: 5)
            try await replace(database)
            func refusals() -> Int {
                lines.values.count { $0.hasPrefix("the tasks belong to another database") }
            }
            try await eventually { refusals() > 0 }
            #expect(lines.values.contains { $0.contains("OB002") && $0.contains("outbox adopt --bury") })
            try await Self.enqueue(5..<10, database)
            // it has asked again, and been refused again
            let before = refusals()
            try await eventually { refusals() > before }
            #expect(seen.values.count == 5)
            #expect(try await database.count("SELECT count(*) FROM outbox.ready WHERE attempt = 0") == 5)
            _ = try await adopt("deliver", database)
            await seen.wait(for: 10)
            relay.stop()
            try await running.value
            #expect(seen.values.sorted() == Array(0..<10))
        }
    }

    @Test func whatIsBuriedIsADeadLetterWithItsKeyAndReplayTakesItBack() async throws {
        try await withCopy { original, copy in
            try await copy.transaction { transaction in
                try await transaction.enqueue(
                    kind: "mail.send", payload: [1], options: .init(start: .after(.seconds(3600))))
            }
            _ = try await copy.query(
                "UPDATE outbox.ready SET relay = gen_random_uuid(), attempt = 3, charged = 2 WHERE idempotency_key = 'order-4'"
            )
            _ = try await copy.query("UPDATE outbox.ready SET lane = lane || ':!' WHERE idempotency_key = 'order-4'")
            // something that the original has still to tell
            _ = try await copy.query(
                """
                WITH n AS (
                    INSERT INTO outbox.incidents (group_key, kind, fingerprint, error_type, error_message, sample, count, open)
                    VALUES ('g', 'k', 'f', 't', 'm', gen_random_uuid(), 2, 2) RETURNING number)
                INSERT INTO outbox.alerts (incident, channel, due_at) SELECT number, 'log', now() FROM n
                """)
            #expect(try await adopt("bury", copy) == 11)
            #expect(try await copy.tasksLeft() == 0)
            let letters = try await copy.query(
                """
                SELECT count(*), count(DISTINCT incident), count(*) FILTER (WHERE attempt = 3 AND charged = 2), min(error_message)
                FROM outbox.dead_letters WHERE reason = 'restored' AND resolution IS NULL
                """)[0]
            #expect(try (0..<3).map { try letters.decode(Int.self, at: $0) } == [11, 2, 1])
            #expect(
                try letters.decode(String.self, at: 3)
                    == "the task waited in a copy of the database \(original), and was buried when the copy was adopted"
            )
            let open = try await copy.count(
                "SELECT sum(open)::int FROM outbox.incidents WHERE fingerprint = 'restored'")
            #expect(open == 11)
            #expect(
                try await copy.count("SELECT count(*) FROM outbox.alerts WHERE due_at IS NOT NULL OR told < 2") == 0)

            let again = try await copy.count(
                "SELECT count(*) FROM outbox.replay(ARRAY(SELECT number FROM outbox.dead WHERE kind = 'payments.charge'))"
            )
            #expect(again == 10)
            let seen = Recorder<(String, Int)>()
            let handler = Handler(Charge.self) { _, context in seen.record((context.idempotencyKey, context.attempt)) }
            try await withRelay(copy, [handler]) { _ in await seen.wait(for: 10) }
            #expect(seen.values.map(\.0).sorted() == (0..<10).map { "order-\($0)" }.sorted())
            #expect(seen.values.first { $0.0 == "order-4" }?.1 == 4)
        }
    }

    @Test func nothingIsBuriedWhereItBelongsAndAChoiceHasToBeMade() async throws {
        try await withOutbox { database in
            try await Self.enqueue(0..<2, database)
            let refused = await #expect(throws: PostgresError.self) { try await adopt("bury", database) }
            #expect(refused?.message == "the tasks belong to this database, so none is buried")
            let unknown = await #expect(throws: PostgresError.self) { try await adopt("", database) }
            #expect(unknown?.message.contains("deliver or bury") == true)
            #expect(try await database.tasksLeft() == 2)
        }
    }

    /// A service that is compatible with Postgres, or an administrator who has revoked the right.
    @Test func whereTheClusterIsNotToldTheDatabaseAloneDecides() async throws {
        let database = Database(try await ThrowAwayPostgres.shared().makeDatabase())
        let role = "outbox_test_\(String(UInt32.random(in: 0 ... .max), radix: 36))"
        do {
            try await database.execute("CREATE ROLE \(identifier: role)")
            try await database.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
            let name = try await database.query("SELECT current_database()::text")[0].decode(String.self, at: 0)
            try await database.execute("GRANT CREATE ON DATABASE \(identifier: name) TO \(identifier: role)")
            for migration in Migration.all {
                try await database.withConnection {
                    try await $0.runScript("SET ROLE \(role);\n\(migration.up)\nRESET ROLE;", timeout: .seconds(30))
                }
            }
            #expect(
                try await database.count("SELECT count(*) FROM outbox.home WHERE cluster IS NULL AND database > 0") == 1
            )
            _ = try await database.query("SELECT outbox.home_v1()")
            try await database.execute("UPDATE outbox.home SET database = 1")
            let error = try #require(try await refusal(database))
            #expect(error.message.contains("(oid 1, cluster unknown)"))
            try await database.execute("DROP OWNED BY \(identifier: role) CASCADE")
            try await database.execute("DROP ROLE \(identifier: role)")
        } catch {
            await database.close()
            throw error
        }
        await database.close()
    }
}
