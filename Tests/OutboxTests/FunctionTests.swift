// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Outbox
import Testing

@testable import PostgresClient

/// The functions that relays call, called as by relays that are wrong, late or many: what they refuse, pass over and keep.
@Suite(.timeLimit(.minutes(2))) struct FunctionTests {
    private func enqueue(_ database: Database, _ count: Int = 1, bytes: Int = 0) async throws {
        let payload = [UInt8](repeating: 0, count: bytes)
        try await database.transaction { try await $0.enqueue(batch: (0..<count).map { _ in ("k", payload) }) }
    }

    /// A claim of everything by a relay of its own.
    private func claim(early: [String] = [], total: Int = 100, bytes: Int = 1_000_000) -> Statement {
        """
        SELECT * FROM outbox.claim_v1(gen_random_uuid(), '1 minute', NULL, '{ep}', \(early), '{}', '{}', '{}', '{}',
            \(total)::int, \(bytes), 1000, NULL, 0, NULL, NULL, NULL) WHERE id IS NOT NULL
        """
    }

    /// All tasks that run fail in one statement, each for its kind's cause.
    private func fail(_ move: String, channels: [String] = []) -> Statement {
        """
        SELECT outbox.fail_v1((
            SELECT jsonb_agg(jsonb_build_object('slot', slot, 'lane', lane, 'seq', seq, 'attempt', attempt, 'id', id,
                'move', \(move)::text, 'delay', 0, 'reason', 'rejected', 'charged', true, 'type', 't', 'message', 'm'))
            FROM outbox.ready WHERE relay IS NOT NULL), \(channels), '0')
        """
    }

    /// Ends the leases of what runs, and returns it to the lanes as a relay's sweep does.
    private func rescue(_ database: Database, lane: String) async throws -> Int {
        _ = try await database.query(
            "UPDATE outbox.ready SET lease_until = now() - interval '1 s' WHERE relay IS NOT NULL")
        return try await database.count(
            """
            SELECT outbox.rescue_v1(gen_random_uuid(), NULL, NULL, '{ep}', NULL, '{0,1,2,3}', array_fill(\(lane)::text, '{4}'),
                array_fill(9223372036854775807, '{4}'), 100)
            """)
    }

    // MARK: - Fences

    /// A row, and a hold of it that is not, or not any more, the one that runs.
    struct Stale: Sendable, CustomTestStringConvertible {
        let row: Int
        let attempt: Int
        var isOfAnotherTask = false
        var isRunning = true
        var testDescription: String {
            "attempt \(attempt) of \(row)\(isOfAnotherTask ? ", another id" : "")\(isRunning ? "" : ", not running")"
        }
    }
    static let stale: [Stale] = [
        Stale(row: 1, attempt: 0), Stale(row: 1, attempt: 2), Stale(row: 2, attempt: 1), Stale(row: 3, attempt: 2),
        Stale(row: 3, attempt: 4), Stale(row: 1, attempt: 1, isOfAnotherTask: true),
        Stale(row: 3, attempt: 3, isOfAnotherTask: true), Stale(row: 1, attempt: 1, isRunning: false),
        Stale(row: 3, attempt: 3, isRunning: false),
    ]

    @Test(arguments: stale) func whoDoesNotHoldATaskCanDoNothingWithIt(stale: Stale) async throws {
        try await withOutbox { database in
            try await enqueue(database)
            _ = try await database.query(
                """
                UPDATE outbox.ready SET attempt = \(stale.row)::int, lease_until = now() + interval '1 minute',
                    relay = CASE WHEN \(stale.isRunning) THEN gen_random_uuid() END
                """)
            func state() async throws -> [String] {
                try await database.query(
                    """
                    SELECT x::text FROM outbox.ready x UNION ALL SELECT x::text FROM outbox.later x
                    UNION ALL SELECT x::text FROM outbox.dead x UNION ALL SELECT x::text FROM outbox.attempts x
                    UNION ALL SELECT x::text FROM outbox.incidents x UNION ALL SELECT x::text FROM outbox.alerts x
                    """
                ).map { try $0.decode(String.self, at: 0) }
            }
            let before = try await state()
            let id = stale.isOfAnotherTask ? "gen_random_uuid()" : "id"
            let hold = "ARRAY[slot], ARRAY[lane], ARRAY[seq], ARRAY[\(stale.attempt)], ARRAY[\(id)]"
            var calls = ["settle_v1(\(hold))", "renew_v1(\(hold), '5 minutes')"]
            for move in ["later", "ready", "dead"] {
                calls.append(
                    """
                    fail_v1(jsonb_build_array(jsonb_build_object('slot', slot, 'lane', lane, 'seq', seq,
                        'attempt', \(stale.attempt), 'id', \(id), 'move', '\(move)', 'delay', 0, 'reason', 'rejected',
                        'charged', true, 'type', 't', 'message', 'm')), '{log}', '0')
                    """)
            }
            for call in calls {
                let done = try await database.query(Statement("SELECT outbox.\(call) FROM outbox.ready", binds: []))
                #expect(done.isEmpty, "\(call)")
                #expect(try await state() == before, "\(call)")
            }
            let error = await #expect(throws: PostgresError.self) {
                let complete = "SELECT outbox.complete_v1(slot, lane, seq, \(stale.attempt), \(id)) FROM outbox.ready"
                _ = try await database.query(Statement(complete, binds: []))
            }
            #expect(error?.sqlState == SQLState(rawValue: "OB001"))
            #expect(try await state() == before)
        }
    }

    // MARK: - Claims

    @Test func whatAnotherRelayIsAtIsPassedOver() async throws {
        try await withOutbox { database in
            try await enqueue(database, 4)
            let other = try await database.connect()
            try await other.run(["BEGIN"])
            let first = try await other.run([claim(total: 2)])[0]
            #expect(first.count == 2)
            let second = try await database.query(claim())
            #expect(second.count == 2, "neither waits for the other, nor takes what it has")
            try await other.run(["COMMIT"])
            let seqs = try (Array(first) + Array(second)).map { try $0.decode(Int64.self, "seq") }
            #expect(Set(seqs).count == 4)

            // the same of a rescue and of a promotion
            _ = try await database.query("UPDATE outbox.ready SET lease_until = now()")
            try await other.run(["BEGIN"])
            try await other.run(["SELECT FROM outbox.ready ORDER BY seq LIMIT 1 FOR UPDATE"])
            _ = try await database.query("SELECT outbox.enqueue('k', '', delay => '1 hour') FROM generate_series(1, 2)")
            _ = try await database.query("UPDATE outbox.later SET run_at = now()")
            try await other.run(["SELECT FROM outbox.later ORDER BY seq LIMIT 1 FOR UPDATE"])
            let news = try await database.query(
                """
                SELECT rescued, promoted FROM outbox.claim_v1(gen_random_uuid(), '1 minute', NULL, '{}', '{}', '{0,1,2,3}',
                    array_fill('5:default'::text, '{4}'), '{0,0,0,0}', '{0,0,0,0}', 0, 1, NULL, NULL, 10,
                    array_fill(9223372036854775807, '{4}'), NULL, NULL)
                """)[0]
            #expect(try news.decode(Int.self, at: 0) == 3)
            #expect(try news.decode(Int.self, at: 1) == 1)
            try await other.run(["COMMIT"])
            await other.close()
        }
    }

    @Test func aClaimStopsAtItsBytesButBringsOneTaskAlways() async throws {
        try await withOutbox { database in
            try await enqueue(database, 5, bytes: 10)
            #expect(try await database.query(claim(bytes: 25)).count == 3)
            #expect(try await database.query(claim(bytes: 1)).count == 1)
            #expect(try await database.count("SELECT count(*) FROM outbox.ready WHERE attempt = 0") == 1)
        }
    }

    @Test func aLeaseIsASecondToAnHour() async throws {
        try await withOutbox { database in
            for lease in ["0 seconds", "61 minutes"] {
                let error = await #expect(throws: PostgresError.self) {
                    _ = try await database.query(
                        """
                        SELECT FROM outbox.claim_v1(gen_random_uuid(), \(lease)::interval, NULL, '{}', '{}', '{}', '{}', '{}', '{}',
                            1, 1, 1, NULL, 0, NULL, NULL, NULL)
                        """)
                }
                #expect(error?.sqlState == SQLState(rawValue: "22023"))
            }
        }
    }

    /// During a rolling change of the handler's policy, of two relays one may acknowledge early and the other not.
    @Test func anAcknowledgementOutlivesTheClaimOfARelayThatDoesNotGiveIt() async throws {
        try await withOutbox { database in
            try await enqueue(database)
            var said: [Bool] = []
            for early in [["k"], [], []] {
                let claimed = try await database.query(claim(early: early))
                said += try claimed.map { try $0.decode(Bool.self, "acknowledged") }
                #expect(try await rescue(database, lane: "5:default") == 1)
                _ = try await database.query("UPDATE outbox.ready SET lane = '5:default'")
            }
            #expect(said == [false, true, true])
        }
    }

    // MARK: - What a task keeps

    @Test func aTaskKeepsWhatItWasEnqueuedWithOnEveryWay() async throws {
        try await withOutbox { database in
            _ = try await database.query(
                """
                SELECT outbox.enqueue('k', '{"a":1}', queue => 'q', priority => 3, delay => '1 hour',
                    expires_at => now() + interval '2 hours', idempotency_key => 'key', headers => '{"x-a": "1"}',
                    content_type => 'text/plain', endpoint => 'ep', max_attempts => 7)
                """)
            func task(in table: String) async throws -> [String] {
                try await database.query(
                    Statement(
                        """
                        SELECT ROW(enqueued_at, id, max_attempts, expires_at, lane, kind, idempotency_key, endpoint, content_type,
                            headers, payload)::text FROM outbox.\(table)
                        """, binds: [])
                ).map { try $0.decode(String.self, at: 0) }
            }
            func promote() async throws {
                _ = try await database.query("UPDATE outbox.later SET run_at = now()")
                #expect(try await database.count("SELECT outbox.promote_v1(NULL, 10)") == 1)
            }
            let enqueued = try await task(in: "later")
            #expect(enqueued.count == 1)
            let due = try await database.query("SELECT due_at::text FROM outbox.later")[0].decode(String.self, at: 0)
            try await promote()
            #expect(try await task(in: "ready") == enqueued, "promoted")
            for (move, table) in [("later", "later"), ("ready", "ready"), ("dead", "dead")] {
                #expect(try await database.query(claim()).count == 1)
                #expect(try await rescue(database, lane: "3:q:e=ep") == 1)
                #expect(try await task(in: "ready") == enqueued, "rescued")
                #expect(try await database.query(claim()).count == 1)
                #expect(try await database.query(fail(move)).count == 1)
                #expect(try await task(in: table) == enqueued, "\(move)")
                let kept = Statement("SELECT due_at::text FROM outbox.\(table)", binds: [])
                #expect(try await database.query(kept)[0].decode(String.self, at: 0) == due)
                if table == "later" { try await promote() }
            }
            #expect(try await database.query("SELECT outbox.replay('{1}')").count == 1)
            #expect(try await task(in: "ready") == enqueued, "replayed")
            let counts = try await database.query("SELECT attempt, charged, crashed, replays FROM outbox.ready")[0]
            #expect(try (0..<4).map { try counts.decode(Int.self, at: $0) } == [6, 0, 0, 1])
        }
    }

    /// Whoever replays it says that it shall run.
    @Test func aReplayForgetsAnExpiryThatHasPassed() async throws {
        try await withOutbox { database in
            try await enqueue(database)
            _ = try await database.query("UPDATE outbox.ready SET expires_at = now() - interval '1 minute'")
            _ = try await database.query(claim())
            #expect(try await database.query(fail("dead")).count == 1)
            #expect(try await database.query("SELECT outbox.replay('{1}')").count == 1)
            #expect(try await database.count("SELECT count(*) FROM outbox.ready WHERE expires_at IS NULL") == 1)
        }
    }

    @Test func aSuspectThatIsGivenBackStaysAloneAndOneThatFailedDoesNot() async throws {
        try await withOutbox { database in
            try await enqueue(database)
            for (move, table, lane) in [("ready", "ready", "5:default:!"), ("later", "later", "5:default")] {
                _ = try await database.query(
                    "UPDATE outbox.ready SET lane = '5:default:!', attempt = attempt + 1, relay = gen_random_uuid()")
                #expect(try await database.query(fail(move)).count == 1)
                let kept = try await database.query(Statement("SELECT lane FROM outbox.\(table)", binds: []))
                #expect(try kept.map { try $0.decode(String.self, at: 0) } == [lane])
            }
        }
    }

    // MARK: - Incidents

    @Test func anIncidentIsOpenWhileOneOfItsDeadLettersIs() async throws {
        try await withOutbox { database in
            func incidents() async throws -> [String] {
                try await database.query(
                    "SELECT concat_ws(' ', count, open, resolved_at IS NOT NULL) FROM outbox.incidents ORDER BY number"
                ).map { try $0.decode(String.self, at: 0) }
            }
            for _ in 0..<2 {
                try await enqueue(database)
                _ = try await database.query(claim())
                _ = try await database.query(fail("dead"))
            }
            #expect(try await incidents() == ["2 2 f"])
            #expect(try await database.query("SELECT outbox.replay('{1}')").count == 1)
            #expect(try await incidents() == ["2 1 f"])
            #expect(try await database.query("SELECT outbox.discard('{2}', 'not needed')").count == 1)
            #expect(try await incidents() == ["2 0 t"])
            let kept = try await database.count("SELECT count(*) FROM outbox.dead WHERE resolution IS NOT NULL")
            #expect(kept == 2, "as evidence")
        }
    }

    @Test func theSameErrorOfTwoEndpointsIsTwoIncidents() async throws {
        try await withOutbox { database in
            for endpoint in ["ep", "other"] {
                _ = try await database.query("SELECT outbox.enqueue('k', '', endpoint => \(endpoint))")
            }
            _ = try await database.query("UPDATE outbox.ready SET attempt = 1, relay = gen_random_uuid()")
            #expect(try await database.query(fail("dead")).count == 2)
            #expect(try await database.count("SELECT count(*) FROM outbox.incidents") == 2)
        }
    }

    /// Two relays whose batches have the same causes must not wait for each other.
    @Test func deadLettersLockIncidentsInTheOrderOfTheirKeys() async throws {
        try await withOutbox { database in
            func run() async throws {
                _ = try await database.query("SELECT outbox.enqueue(kind, '') FROM unnest('{a,b}'::text[]) kind")
                _ = try await database.query(claim())
            }
            try await run()
            _ = try await database.query(fail("dead"))
            let numbers = try await database.query("SELECT number FROM outbox.incidents ORDER BY group_key")
                .map { try $0.decode(Int64.self, at: 0) }
            #expect(numbers.count == 2)
            try await run()
            let failing = fail("dead")
            let other = try await database.connect()
            try await other.run(["BEGIN"])
            try await other.run(["SELECT FROM outbox.incidents WHERE number = \(numbers[0]) FOR UPDATE"])
            let relay = Task { try await database.query(failing).count }
            try await eventually {
                try await database.count(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
                ) == 1
            }
            // it waits for the first, and so it must not hold the second
            try await other.run(["SELECT FROM outbox.incidents WHERE number = \(numbers[1]) FOR UPDATE"])
            try await other.run(["COMMIT"])
            #expect(try await relay.value == 2)
            await other.close()
        }
    }
}
