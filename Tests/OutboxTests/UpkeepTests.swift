// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Outbox
import Testing

@testable import PostgresClient

/// What relays do besides: the trim of drained leaves, heartbeats, alerts between couriers.
@Suite(.timeLimit(.minutes(2))) struct UpkeepTests {
    // MARK: - The trim

    /// Makes leaf 0 the current one for good, and leaf 2 one that had rows and has none.
    private func drainLeaf(_ leaf: Int, _ database: Database) async throws {
        _ = try await database.query(
            """
            CREATE OR REPLACE FUNCTION outbox.slot_at(at timestamptz) RETURNS smallint LANGUAGE sql STABLE PARALLEL SAFE AS
            'SELECT 0::smallint'
            """)
        try await fillLeaf(leaf, database)
        _ = try await database.query("DELETE FROM outbox.ready")
    }

    private func fillLeaf(_ leaf: Int, _ database: Database) async throws {
        _ = try await database.query(
            """
            INSERT INTO outbox.ready (slot, id, lane, kind, payload)
            SELECT \(leaf)::smallint, gen_random_uuid(), '5:default', 'k', '' FROM generate_series(1, 100)
            """)
    }

    @Test func aDrainedLeafIsGivenBackAndNoOther() async throws {
        try await withOutbox { database in
            try await drainLeaf(2, database)
            #expect(try await database.count("SELECT outbox.trim_v1()") == 0, "a small one is not worth its lock")
            #expect(try await database.count("SELECT outbox.trim_v1(1)") == 1)
            #expect(try await database.count("SELECT pg_relation_size('outbox.ready_2')") == 0)
            try await drainLeaf(0, database)
            #expect(
                try await database.count("SELECT outbox.trim_v1(1)") == 0, "anybody may enqueue into the current one")
            try await fillLeaf(1, database)
            #expect(try await database.count("SELECT outbox.trim_v1(1)") == 0)
            #expect(try await database.tasksLeft() == 100)
        }
    }

    /// What is not committed yet, the trim cannot see; and a producer must not wait for it, nor it for a producer.
    @Test func aLeafThatSomebodyWritesToIsLeftAlone() async throws {
        try await withOutbox { database in
            try await drainLeaf(2, database)
            let producer = try await database.connect()
            try await producer.run(["BEGIN"])
            try await producer.run([
                """
                INSERT INTO outbox.ready (slot, id, lane, kind, payload) VALUES (2, gen_random_uuid(), '5:default', 'k', '')
                """
            ])
            let trimmed = Recorder<Int>()
            let trim = Task { trimmed.record(try await database.count("SELECT outbox.trim_v1(1)")) }
            var waiting = 0
            try await eventually {
                waiting = try await database.count(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
                )
                return waiting > 0 || !trimmed.values.isEmpty
            }
            #expect(waiting == 0, "everybody else would queue behind it")
            try await producer.run(["COMMIT"])
            try await trim.value
            #expect(trimmed.values == [0])
            #expect(try await database.tasksLeft() == 1)
            await producer.close()
        }
    }

    /// A snapshot that is older than the lock would find a leaf empty that is not.
    @Test(arguments: ["REPEATABLE READ", "SERIALIZABLE"]) func aTrimNeedsReadCommitted(level: String) async throws {
        try await withOutbox { database in
            try await drainLeaf(2, database)
            let session = try await database.connect()
            try await session.run([Statement("BEGIN ISOLATION LEVEL \(level)", binds: [])])
            try await session.run(["SELECT count(*) FROM outbox.ready"])
            try await fillLeaf(2, database)
            let error = await #expect(throws: PostgresError.self) {
                try await session.run(["SELECT outbox.trim_v1(1)"])
            }
            #expect(error?.sqlState == SQLState(rawValue: "25000"))
            try await session.run(["ROLLBACK"])
            #expect(try await database.tasksLeft() == 100)
            await session.close()
        }
    }

    // MARK: - Heartbeats

    private func beat(_ database: Database, _ relay: PostgresUUID, _ done: String = "{}", stopping: Bool = false)
        async throws
    {
        _ = try await database.query(
            "SELECT outbox.heartbeat_v1(\(relay), 'r', '1', '{k}', '{}', '{}', \(done)::jsonb, \(stopping))")
    }

    @Test func heartbeatsSayWhoLivesAndAddUp() async throws {
        try await withOutbox { database in
            let (relay, old) = (PostgresUUID(TaskID.random()), PostgresUUID(TaskID.random()))
            for _ in 0..<2 { try await beat(database, relay, #"{"k": {"succeeded": 2, "dead": 1}}"#) }
            let succeeded = try await database.count(
                "SELECT sum(count)::bigint FROM outbox.statistics WHERE kind = 'k' AND outcome = 'succeeded'")
            #expect(succeeded == 4)
            _ = try await database.query("UPDATE outbox.relays SET seen_at = now() - interval '6 days'")
            try await beat(database, old, #"{"k": {"succeeded": 1}}"#)
            let alive: Statement =
                "SELECT count(*) FROM outbox.relays WHERE seen_at > now() - interval '1 minute' AND stopped_at IS NULL"
            #expect(try await database.count("SELECT count(*) FROM outbox.relays") == 2, "remembered for a week")
            #expect(try await database.count(alive) == 1)
            try await beat(database, relay)
            #expect(try await database.count(alive) == 2)
            try await beat(database, relay, stopping: true)
            #expect(try await database.count(alive) == 1)
            _ = try await database.query(
                "UPDATE outbox.relays SET seen_at = now() - interval '8 days' WHERE id = \(old)")
            try await beat(database, relay, #"{"k": {"succeeded": 1}}"#)
            #expect(try await database.count("SELECT count(*) FROM outbox.relays") == 1)
        }
    }

    @Test func onlyARelayThatLivesCountsAsOneThatCanRunAKind() async throws {
        try await withOutbox { database in
            try await database.transaction { try await $0.enqueue(kind: "k", payload: []) }
            _ = try await database.query("UPDATE outbox.ready SET enqueued_at = now() - interval '10 minutes'")
            func unhandled(after: String = "5 minutes") async throws -> Int {
                try await database.query("SELECT * FROM outbox.unhandled_v1(\(after)::interval, '{log}', '0')").count
            }
            let relay = PostgresUUID(TaskID.random())
            try await beat(database, relay)
            #expect(try await unhandled() == 0)
            _ = try await database.query("UPDATE outbox.relays SET seen_at = now() - interval '10 minutes'")
            #expect(try await unhandled() == 1, "it has not been heard of")
            try await beat(database, relay)
            #expect(try await unhandled() == 0)
            try await beat(database, relay, stopping: true)
            #expect(try await unhandled(after: "1 hour") == 0)
            #expect(try await unhandled() == 1, "it has stopped")
        }
    }

    // MARK: - Alerts

    private func die(_ database: some StatementRunner, groupWait: String = "0") async throws {
        _ = try await database.query("SELECT outbox.enqueue('k', '')")
        _ = try await database.query("UPDATE outbox.ready SET attempt = 1, relay = gen_random_uuid()")
        _ = try await database.query(
            """
            SELECT outbox.fail_v1(jsonb_build_array(jsonb_build_object('slot', slot, 'lane', lane, 'seq', seq, 'attempt', attempt,
                'id', id, 'move', 'dead', 'reason', 'rejected', 'charged', true, 'type', 't', 'message', 'm')), '{a,b}',
                \(groupWait)::interval) FROM outbox.ready
            """)
    }

    /// The channels of the alerts that a courier of these gets.
    private func claim(_ database: Database, _ channels: [String]) async throws -> [String] {
        try await database.query(
            "SELECT channel FROM outbox.claim_alerts_v1(gen_random_uuid(), \(channels), '1 minute', 10)"
        ).map { try $0.decode(String.self, at: 0) }
    }

    private func settle(
        _ database: Database, attempt: Int = 1, error: String? = nil, backoff: String = "0"
    ) async throws -> Bool {
        try await database.query(
            "SELECT outbox.settle_alert_v1(1, 'a', \(attempt)::int, 1, \(error)::text, \(backoff)::interval, '1 hour')"
        )[0].decode(Bool.self, at: 0)
    }

    @Test func anAlertIsOneCouriersAtATimeAndOnlyWhenItIsDue() async throws {
        try await withOutbox { database in
            func isShown(to channel: String) async throws -> Bool {
                try await database.query(
                    """
                    SELECT alert_due FROM outbox.claim_v1(gen_random_uuid(), '1 minute', NULL, '{}', '{}', '{}', '{}', '{}', '{}',
                        0, 1, NULL, NULL, 0, NULL, NULL, ARRAY[\(channel)])
                    """)[0].decode(Bool.self, at: 0)
            }
            try await die(database)
            #expect(try await isShown(to: "a"))
            #expect(try await !isShown(to: "c"))
            #expect(try await claim(database, ["a", "c"]) == ["a"])
            #expect(try await claim(database, ["a"]).isEmpty, "another courier is at it")
            #expect(try await !isShown(to: "a"))
            _ = try await database.query(
                "UPDATE outbox.alerts SET due_at = now() + interval '1 hour' WHERE channel = 'b'")
            #expect(try await claim(database, ["b"]).isEmpty, "not yet")
            #expect(try await !isShown(to: "b"))
            _ = try await database.query("UPDATE outbox.alerts SET lease_until = now() WHERE channel = 'a'")
            #expect(try await isShown(to: "a"), "its courier vanished")
            #expect(try await claim(database, ["a"]) == ["a"])
            #expect(try await !settle(database, attempt: 1), "the one that vanished comes too late")
            #expect(try await database.count("SELECT told FROM outbox.alerts WHERE channel = 'a'") == 0)
            #expect(try await settle(database, attempt: 2))
            #expect(try await database.count("SELECT told FROM outbox.alerts WHERE channel = 'a'") == 1)
        }
    }

    @Test func anAlertThatWasNotDeliveredIsDueAfterTheBackoff() async throws {
        try await withOutbox { database in
            try await die(database)
            _ = try await claim(database, ["a"])
            #expect(try await settle(database, error: "down", backoff: "1 hour"))
            let waits = try await database.count(
                "SELECT count(*) FROM outbox.alerts WHERE told = 0 AND failures = 1 AND due_at > now() + interval '50 minutes'"
            )
            #expect(waits == 1)
        }
    }

    @Test func aDeadLetterThatComesWhileItsAlertIsSentIsToldToo() async throws {
        try await withOutbox { database in
            try await die(database)
            _ = try await claim(database, ["a"])
            // it is not committed yet when the courier says that it told of the first
            let settling = try await database.transaction { transaction in
                try await die(transaction)
                let settling = Task { try await settle(database) }
                try await eventually {
                    try await database.count(
                        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
                    ) == 1
                }
                return settling
            }
            #expect(try await settling.value)
            let due = try await database.count(
                "SELECT count(*) FROM outbox.alerts WHERE channel = 'a' AND told = 1 AND due_at IS NOT NULL")
            #expect(due == 1)
        }
    }

    @Test func furtherDeadLettersDoNotPutAnAlertOff() async throws {
        try await withOutbox { database in
            try await die(database)
            try await die(database, groupWait: "1 hour")
            #expect(try await database.count("SELECT count(*) FROM outbox.alerts WHERE due_at <= now()") == 2)
        }
    }
}
