// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import FoundationEssentials
import Outbox
import Testing

@testable import PostgresClient

/// What may be enqueued, by Swift and by SQL alike; what may not is refused before anything is written.
@Suite struct EnqueueTests {
    /// An argument that cannot be, once as SQL and once as Swift, and the argument that both have to name.
    struct Refused: Sendable, CustomTestStringConvertible {
        let argument: String
        let sql: String
        let swift: @Sendable () throws -> Enqueue
        var testDescription: String { sql }

        init(_ argument: String, _ sql: String, _ swift: @escaping @Sendable () throws -> Enqueue) {
            self.argument = argument
            self.sql = sql
            self.swift = swift
        }
    }

    static func task(_ options: EnqueueOptions) throws -> Enqueue {
        try Enqueue(kind: "a.b", payload: [], options: options)
    }

    static let refused: [Refused] =
        [
            Refused("kind", "'a b', ''") { try Enqueue(kind: "a b", payload: []) },
            Refused("kind", "'', ''") { try Enqueue(kind: "", payload: []) },
            Refused("kind", "'a..b', ''") { try Enqueue(kind: "a..b", payload: []) },
            Refused("kind", "'a.', ''") { try Enqueue(kind: "a.", payload: []) },
            Refused("kind", "'é', ''") { try Enqueue(kind: "é", payload: []) },
            Refused("kind", "repeat('a', 129), ''") {
                try Enqueue(kind: String(repeating: "a", count: 129), payload: [])
            },
            Refused("payload", "'a.b', repeat('x', 1048577)") {
                try Enqueue(kind: "a.b", payload: [UInt8](repeating: 120, count: 1_048_577))
            },
            Refused("queue", "'a.b', '', queue => 'A'") { try task(.init(queue: "A")) },
            Refused("queue", "'a.b', '', queue => 'a:b'") { try task(.init(queue: "a:b")) },
            Refused("queue", "'a.b', '', queue => ''") { try task(.init(queue: "")) },
            Refused("priority", "'a.b', '', priority => 10") { try task(.init(priority: 10)) },
            Refused("priority", "'a.b', '', priority => -1") { try task(.init(priority: -1)) },
            Refused("delay", "'a.b', '', delay => '-1 second'") { try task(.init(start: .after(.seconds(-1)))) },
            Refused("delay", "'a.b', '', delay => '11 years'") {
                try task(.init(start: .after(.seconds(11 * 366 * 86400))))
            },
            Refused("run_at", "'a.b', '', run_at => 'infinity'") {
                try task(.init(start: .at(Date(timeIntervalSince1970: .infinity))))
            },
            Refused("expires_at", "'a.b', '', expires_at => 'infinity'") {
                try task(.init(expiresAt: Date(timeIntervalSince1970: .infinity)))
            },
            Refused("expires_at", "'a.b', '', expires_at => '-infinity'") {
                try task(.init(expiresAt: Date(timeIntervalSince1970: .nan)))
            },
            Refused("endpoint", "'a.b', '', endpoint => 'a b'") { try task(.init(endpoint: "a b")) },
            Refused("max_attempts", "'a.b', '', max_attempts => 0") { try task(.init(maxAttempts: 0)) },
            Refused("idempotency_key", "'a.b', '', idempotency_key => ''") { try task(.init(idempotencyKey: "")) },
            Refused("idempotency_key", "'a.b', '', idempotency_key => 'é'") { try task(.init(idempotencyKey: "é")) },
            Refused("idempotency_key", "'a.b', '', idempotency_key => E'a\\nb'") {
                try task(.init(idempotencyKey: "a\nb"))
            },
            Refused("idempotency_key", "'a.b', '', idempotency_key => repeat('k', 256)") {
                try task(.init(idempotencyKey: String(repeating: "k", count: 256)))
            },
            Refused("headers", "'a.b', '', headers => '{\"a b\": \"\"}'") { try task(.init(headers: ["a b": ""])) },
            Refused("headers", "'a.b', '', headers => '{\"a\": \"\\n\"}'") { try task(.init(headers: ["a": "\n"])) },
            Refused("headers", "'a.b', '', headers => '{\"a\": \"é\"}'") { try task(.init(headers: ["a": "é"])) },
            Refused("headers", "'a.b', '', headers => '{\"x-a\": \"1\", \"X-A\": \"2\"}'") {
                try task(.init(headers: ["x-a": "1", "X-A": "2"]))
            },
            Refused("headers", "'a.b', '', headers => jsonb_build_object('a', repeat('x', 4096))") {
                try task(.init(headers: ["a": String(repeating: "x", count: 4096)]))
            },
        ]
        + [
            "Host", "content-type", "Content-Length", "transfer-encoding", "connection", "te", "trailer", "upgrade",
            "expect",
            "keep-alive", "user-agent", "Idempotency-Key", "traceparent", "tracestate", "baggage", "forwarded",
            "proxy-x",
            "webhook-id", "ce-id", "outbox-attempt", "x-forwarded-for", "Accept-Encoding",
        ].map { name in
            Refused("headers", "'a.b', '', headers => '{\"\(name)\": \"\"}'") { try task(.init(headers: [name: ""])) }
        }

    @Test(arguments: refused) func isRefusedBySQLAndBySwift(_ refused: Refused) async throws {
        let swift = #expect(throws: EnqueueError.self) { _ = try refused.swift() }
        #expect(swift?.argument == refused.argument)
        #expect(swift?.hint.isEmpty == false)
        try await withOutbox { database in
            let sql = await #expect(throws: PostgresError.self) {
                _ = try await database.query(Statement("SELECT outbox.enqueue(\(refused.sql))", binds: []))
            }
            #expect(sql?.sqlState == SQLState(rawValue: "22023"))
            #expect(sql?.message.contains("outbox.enqueue: \(refused.argument) ") == true, "\(sql?.message ?? "")")
            let left = try await database.tasksLeft()
            #expect(left == 0)
        }
    }

    @Test(arguments: [
        ("delay", "'a.b', '', delay => '1 s', run_at => now()"), ("run_at", "'a.b', '', run_at => 'infinity'"),
        ("expires_at", "'a.b', '', expires_at => now()"), ("expires_at", "'a.b', '', expires_at => 'infinity'"),
        ("expires_at", "'a.b', '', delay => '1 h', expires_at => now() + interval '1 min'"),
        ("content_type", "'a.b', '', content_type => 'json'"),
        ("content_type", "'a.b', '', content_type => E'a/b\\r\\nx: y'"),
        ("headers", "'a.b', '', headers => '[]'"), ("headers", "'a.b', '', headers => '{\"a\": 1}'"),
        ("payload", "'a.b', null::text"), ("kind", "null, 'x'"), ("priority", "'a.b', '', priority => null"),
    ]) func isRefusedBySQL(argument: String, call: String) async throws {
        try await withOutbox { database in
            let error = await #expect(throws: PostgresError.self) {
                _ = try await database.query(Statement("SELECT outbox.enqueue(\(call))", binds: []))
            }
            #expect(error?.sqlState == SQLState(rawValue: "22023"))
            #expect(error?.message.contains("outbox.enqueue: \(argument) ") == true, "\(error?.message ?? "")")
        }
    }

    @Test(arguments: [
        ("payload[2]", "ARRAY['k'], ARRAY['', repeat('x', 1048577)]"), ("payload[1]", "ARRAY['k'], ARRAY[NULL, '']"),
        ("kind[2]", "ARRAY['k', 'a b'], ARRAY['', '']"), ("kind[1]", "ARRAY['a b'], ARRAY['', '']"),
        ("kinds", "ARRAY['k', 'k'], ARRAY['', '', '']"), ("kinds", "'{}', ARRAY['']"),
        ("idempotency_key[2]", "ARRAY['k'], ARRAY['', ''], idempotency_keys => ARRAY['a', 'é']"),
        ("idempotency_keys", "ARRAY['k'], ARRAY['', ''], idempotency_keys => ARRAY['a']"),
        ("idempotency_keys", "ARRAY['k'], ARRAY['', ''], ids => ARRAY[gen_random_uuid()]"),
        ("priority", "ARRAY['k'], ARRAY[''], priority => 10"),
        ("kind[1]", "ARRAY['a b'], ARRAY['1', '2']"), ("kind[2]", "ARRAY['a.b', null], ARRAY['1', '2']"),
        ("payload[2]", "ARRAY['a.b'], ARRAY['1', null]"),
        ("payload[1]", "ARRAY['a.b'], ARRAY[repeat('x', 1048577), '2']"),
        ("payload[2]", "ARRAY['a.b'], ARRAY['', repeat('x', 1048577)::bytea]"),
        ("idempotency_key[1]", "ARRAY['a.b'], ARRAY['1', '2'], idempotency_keys => ARRAY['', null], delay => '1 h'"),
    ]) func oneOfManyThatCannotBeRefusesAll(argument: String, call: String) async throws {
        try await withOutbox { database in
            let error = await #expect(throws: PostgresError.self) {
                _ = try await database.query(Statement("SELECT outbox.enqueue_many(\(call))", binds: []))
            }
            #expect(error?.sqlState == SQLState(rawValue: "22023"))
            #expect(error?.message.contains("outbox.enqueue: \(argument) ") == true, "\(error?.message ?? "")")
            let left = try await database.tasksLeft()
            #expect(left == 0)
        }
    }

    @Test func manyWaitForTheirTimeAsOneDoes() async throws {
        try await withOutbox { database in
            _ = try await database.query("SELECT outbox.enqueue_many(ARRAY['k'], ARRAY['', ''], delay => '1 hour')")
            let waiting = try await database.count(
                "SELECT count(*) FROM outbox.tasks WHERE state = 'waiting' AND run_at > now() + interval '50 minutes'")
            #expect(waiting == 2)
        }
    }

    /// A task that was replayed has its dead letter still, which tells of its attempts.
    @Test func cancellingAReplayedTaskLeavesTheHistoryOfItsDeadLetter() async throws {
        try await withOutbox { database in
            let id = try await database.transaction { try await $0.enqueue(kind: "k", payload: []) }
            _ = try await database.query("UPDATE outbox.ready SET attempt = 1, relay = gen_random_uuid()")
            _ = try await database.query(
                """
                SELECT outbox.fail_v1(jsonb_build_array(jsonb_build_object('slot', slot, 'lane', lane, 'seq', seq, 'attempt', 1,
                    'id', id, 'move', 'dead', 'reason', 'rejected', 'charged', true, 'type', 't', 'message', 'm')), '{}', '0')
                FROM outbox.ready
                """)
            _ = try await database.query("SELECT outbox.replay('{1}')")
            let isCancelled = try await database.query("SELECT outbox.cancel(\(PostgresUUID(id)))")[0]
                .decode(Bool.self, at: 0)
            #expect(isCancelled)
            #expect(try await database.count("SELECT count(*) FROM outbox.attempts") == 1)
        }
    }

    @Test func aMissingArrayIsRefusedAndAnEmptyOneEnqueuesNothing() async throws {
        try await withOutbox { database in
            let error = await #expect(throws: PostgresError.self) {
                _ = try await database.query("SELECT outbox.enqueue_many(ARRAY['a.b'], NULL::text[])")
            }
            #expect(error?.message.contains("payloads is null") == true)
            let ids = try await database.query("SELECT outbox.enqueue_many(ARRAY['a.b'], '{}'::text[])")
            #expect(ids.isEmpty)
        }
    }

    @Test func refusalInSwiftLeavesTheTransactionAsItWas() async throws {
        try await withOutbox { database in
            try await database.transaction { transaction in
                await #expect(throws: EnqueueError.self) { try await transaction.enqueue(kind: "a b", payload: []) }
                await #expect(throws: PostgresError.self) {
                    try await transaction.enqueue(kind: "a.b", payload: [], contentType: "text/plain\0")
                }
                await #expect(throws: EnqueueError.self) {
                    try await transaction.enqueue(batch: [("a.b", []), ("a b", [])])
                }
                try await transaction.enqueue(kind: "a.b", payload: [])
            }
            #expect(try await database.tasksLeft() == 1)
        }
    }

    @Test func everyOptionIsStored() async throws {
        try await withOutbox { database in
            let id = TaskID.random()
            let options = EnqueueOptions(
                queue: "mail", priority: 2, start: .after(.seconds(60)),
                expiresAt: Date(timeIntervalSince1970: 4_000_000_000),
                idempotencyKey: "k-1", headers: ["x-tenant": "a\"b"], endpoint: "partner", maxAttempts: 7, id: id)
            try await database.transaction { transaction in
                let returned = try await transaction.enqueue(
                    kind: "a.b", payload: Array("{}".utf8), contentType: "application/vnd.x+json", options: options)
                #expect(returned == id)
            }
            let row = try await database.query(
                """
                SELECT id::text, queue, priority, state, idempotency_key, headers->>'x-tenant', endpoint, max_attempts, content_type,
                       extract(epoch FROM expires_at)::bigint, run_at BETWEEN now() + interval '50 s' AND now() + interval '61 s',
                       payload, attempt
                FROM outbox.tasks
                """)[0]
            #expect(try row.decode(String.self, at: 0) == id.description)
            let texts = try [1, 3, 4, 5, 6].map { try row.decode(String.self, at: $0) }
            #expect(texts == ["mail", "waiting", "k-1", "a\"b", "partner"])
            #expect(try row.decode(Int.self, at: 2) == 2)
            #expect(try row.decode(Int.self, at: 7) == 7)
            #expect(try row.decode(String.self, at: 8) == "application/vnd.x+json")
            #expect(try row.decode(Int.self, at: 9) == 4_000_000_000)
            #expect(try row.decode(Bool.self, at: 10))
            #expect(try row.decode(String.self, at: 11) == "{}")
            #expect(try row.decode(Int.self, at: 12) == 0)
        }
    }

    @Test func theThreePayloadFormsStoreTheirBytes() async throws {
        try await withOutbox { database in
            _ = try await database.query("SELECT outbox.enqueue('a.b', '{\"a\":  1}')")
            _ = try await database.query("SELECT outbox.enqueue('a.b', '\\x00ff'::bytea)")
            _ = try await database.query("SELECT outbox.enqueue('a.b', '{\"a\":  1}'::jsonb)")
            let rows = try await database.query("SELECT payload FROM outbox.ready ORDER BY seq")
            #expect(
                try rows.map { try $0.decode([UInt8].self, at: 0) } == [
                    Array("{\"a\":  1}".utf8), [0, 255], Array("{\"a\": 1}".utf8),
                ])
            let texts = try await database.query("SELECT payload FROM outbox.tasks WHERE bytes = 2")
            #expect(try texts[0].decode(String?.self, at: 0) == nil, "the view shows null for bytes that are no text")
        }
    }

    /// `enqueue` runs as the owner and with the search path of its caller, who may have set a trap for every name in it.
    @Test func nothingIsLookedUpInTheSearchPathOfTheCaller() async throws {
        let trap = """
            CREATE SCHEMA trap;
            CREATE TABLE trap.ready ();
            DO $do$
            DECLARE
                types text[] := '{text,int4,int8,float8,bytea,uuid,interval,timestamptz}';
                f record;
            BEGIN
                FOR f IN SELECT unnest('{"","text, "}'::text[]) AS key LOOP
                    EXECUTE format($$CREATE FUNCTION trap.num_nonnulls(%s interval, timestamptz, timestamptz, jsonb, text, text, int)
                                     RETURNS text LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''trapped''; END'$$, f.key);
                END LOOP;
                FOR f IN SELECT l, r FROM unnest(types) l, unnest(types) r LOOP
                    EXECUTE format($$CREATE FUNCTION trap.operator(%s, %s) RETURNS bool LANGUAGE plpgsql AS
                                     'BEGIN RAISE EXCEPTION ''trapped''; END'$$, f.l, f.r);
                END LOOP;
                FOR f IN SELECT o, l, r FROM unnest('{~,!~,=,<>,<,>,<=,>=,||,+,-,*,/,%}'::text[]) o, unnest(types) l, unnest(types) r LOOP
                    EXECUTE format('CREATE OPERATOR trap.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = trap.operator)', f.o, f.l, f.r);
                END LOOP;
                -- what the functions without a search path of their own call, the functions of Outbox among them
                FOR f IN SELECT DISTINCT proname, oidvectortypes(proargtypes) AS arguments FROM pg_proc p
                         WHERE NOT EXISTS (SELECT FROM unnest(proargtypes) a JOIN pg_type ON pg_type.oid = a WHERE typtype = 'p')
                           AND EXISTS (SELECT FROM pg_proc WHERE pronamespace = 'outbox'::regnamespace AND proconfig IS NULL
                                       AND prosrc ~ ('\\m' || p.proname || '\\M')) LOOP
                    EXECUTE format($$CREATE OR REPLACE FUNCTION trap.%I(%s) RETURNS text LANGUAGE plpgsql AS
                                     'BEGIN RAISE EXCEPTION ''trapped''; END'$$, f.proname, f.arguments);
                END LOOP;
                FOR f IN SELECT unnest(types || '{jsonb,int2,bool}'::text[]) AS name LOOP
                    EXECUTE format('CREATE DOMAIN trap.%I AS pg_catalog.box', f.name);
                END LOOP;
            END $do$;
            """
        try await withOutbox { database in
            try await database.withConnection { connection in
                try await connection.runScript(trap, timeout: .seconds(30))
                try await connection.runScript("SET search_path TO trap, pg_catalog", timeout: .seconds(5))
                for caught in ["SELECT 1 <= 2", "SELECT length('a'::pg_catalog.text)", "SELECT ''::text"] {
                    await #expect(throws: PostgresError.self) {
                        try await connection.runScript(caught, timeout: .seconds(5))
                    }
                }
                for options in ["", ", idempotency_key => 'k'", ", queue => 'q', id => NULL", ", delay => '1 h'"] {
                    for payload in ["'{}'::pg_catalog.text", "'{}'::pg_catalog.jsonb", "'{}'::pg_catalog.bytea"] {
                        try await connection.runScript(
                            "SELECT outbox.enqueue('a.b', \(payload)\(options))", timeout: .seconds(5))
                    }
                }
                try await connection.runScript("RESET search_path", timeout: .seconds(5))
            }
            #expect(try await database.tasksLeft() == 12)
        }
    }

    @Test func enqueueManyReturnsTheIdsInOrder() async throws {
        try await withOutbox { database in
            let ids = (0..<5).map { _ in PostgresUUID(TaskID.random()) }
            let returned = try await database.query(
                "SELECT outbox.enqueue_many(ARRAY['a.b'], ARRAY['0','1','2','3','4'], ids => \(ids), idempotency_keys => ARRAY['a',NULL,'c','d','e'])"
            )
            #expect(try returned.map { try $0.decode(PostgresUUID.self, at: 0) } == ids)
            let stored = try await database.query(
                "SELECT payload FROM outbox.tasks ORDER BY array_position(\(ids), id)")
            #expect(try stored.map { try $0.decode(String.self, at: 0) } == ["0", "1", "2", "3", "4"])
            let keys = try await database.count("SELECT count(*) FROM outbox.ready WHERE idempotency_key IS NULL")
            #expect(keys == 1)
        }
    }

    @Test func theNeutralStatementWorksAsItIs() async throws {
        try await withOutbox { database in
            let enqueue = try Enqueue(
                kind: "a.b", payload: [1, 2, 3],
                options: EnqueueOptions(start: .at(Date(timeIntervalSince1970: 0)), headers: ["a": "b"]))
            let same = try Enqueue(kind: "c", payload: [])
            #expect(enqueue.text == same.text, "one text for all, so that drivers may prepare it")
            let result = try await database.query(enqueue.statement)
            #expect(try result[0].decode(String.self, at: 0) == enqueue.id.description)
            #expect(try await database.count("SELECT count(*) FROM outbox.tasks WHERE state = 'ready'") == 1)
        }
    }

    @Test func cancelRemovesWhatDoesNotRun() async throws {
        try await withOutbox { database in
            let ids = try await database.transaction { transaction in
                [
                    try await transaction.enqueue(kind: "a.b", payload: []),
                    try await transaction.enqueue(
                        kind: "a.b", payload: [], options: .init(start: .after(.seconds(60)))),
                    try await transaction.enqueue(kind: "running", payload: []),
                ]
            }
            _ = try await database.query(
                "UPDATE outbox.ready SET relay = gen_random_uuid(), attempt = 1 WHERE kind = 'running'")
            var cancelled: [Bool] = []
            for id in ids + [ids[0]] {
                cancelled.append(
                    try await database.query("SELECT outbox.cancel(\(PostgresUUID(id)))")[0].decode(Bool.self, at: 0))
            }
            #expect(cancelled == [true, true, false, false])
        }
    }

    @Test func aTypedTaskHasStableBytes() throws {
        struct Order: OutboxTask, Codable {
            static let kind = "order"
            var b = 1
            var a = "x/é"
        }
        #expect(String(decoding: try Order().payload(), as: UTF8.self) == #"{"a":"x/é","b":1}"#)
        #expect(try Order(payload: Order().payload()).a == "x/é")
        #expect(throws: EnqueueError.self) { _ = try Schema("Robert'); DROP") }
        #expect(throws: EnqueueError.self) { _ = try Schema("1a") }
        #expect(try Schema("jobs_2").name == "jobs_2")
    }
}
