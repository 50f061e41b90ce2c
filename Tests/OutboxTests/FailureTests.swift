// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import FoundationEssentials
import Outbox
import OutboxRelay
import Testing

/// What becomes of tasks whose attempts fail.
@Suite(.timeLimit(.minutes(2))) struct FailureTests {
    struct Declined: Error, CustomStringConvertible { var description: String { "card 4711 declined" } }
    struct Busy: Error {}

    private func enqueue(_ database: Database, _ options: EnqueueOptions = EnqueueOptions()) async throws {
        try await database.transaction { try await $0.enqueue(kind: "k", payload: [], options: options) }
    }

    private struct DeadLetter: Equatable {
        var reason: String
        var type: String
        var attempt: Int
        var charged: Int
    }

    private func deadLetters(_ database: Database) async throws -> [DeadLetter] {
        try await database.query("SELECT reason, error_type, attempt, charged FROM outbox.dead_letters ORDER BY number")
            .map {
                DeadLetter(
                    reason: try $0.decode(String.self, at: 0), type: try $0.decode(String.self, at: 1),
                    attempt: try $0.decode(Int.self, at: 2), charged: try $0.decode(Int.self, at: 3))
            }
    }

    @Test func isRetriedWithTheSameKeyAndAHigherAttemptUntilItSucceeds() async throws {
        try await withOutbox { database in
            let seen = Recorder<(attempt: Int, key: String)>()
            let handler = Handler(kind: "k", policy: HandlerPolicy(retry: .quick())) { _, context in
                seen.record((context.attempt, context.idempotencyKey))
                if context.attempt < 4 { throw Busy() }
            }
            try await withRelay(database, [handler]) { _ in
                try await enqueue(database)
                await seen.wait(for: 4)
                try await eventually { try await database.tasksLeft() == 0 }
            }
            #expect(seen.values.map(\.attempt) == [1, 2, 3, 4])
            #expect(Set(seen.values.map(\.key)).count == 1)
            #expect(
                try await database.count("SELECT count(*) FROM outbox.attempts") == 0, "the history goes with the task")
        }
    }

    @Test func anExhaustedBudgetMakesADeadLetterWithEveryAttemptsError() async throws {
        try await withOutbox { database in
            let hooked = Recorder<(DeathReason, String)>()
            let handler = Handler(kind: "k", policy: HandlerPolicy(retry: .quick(maxAttempts: 3))) { _, _ in
                throw Busy()
            }
            .onDeadLetter { task, reason, failure in hooked.record((reason, failure.type)) }
            try await withRelay(database, [handler]) { _ in
                try await enqueue(database)
                try await enqueue(database, EnqueueOptions(maxAttempts: 1))
                await hooked.wait(for: 2)
            }
            let dead = try await deadLetters(database)
            #expect(Set(dead.map(\.attempt)) == [3, 1])
            #expect(
                dead.allSatisfy { $0.reason == "exhausted" && $0.type.hasSuffix("Busy") && $0.charged == $0.attempt })
            #expect(try await database.count("SELECT count(*) FROM outbox.attempts") == 4)
            #expect(hooked.values.allSatisfy { $0.0 == .exhausted && $0.1.hasSuffix("Busy") })
        }
    }

    @Test func rulesAndImperativesDecide() async throws {
        try await withOutbox { database in
            let seen = Recorder<String>()
            let policy = HandlerPolicy(
                retry: .quick(),
                rules: [
                    .never(Declined.self), .retry(Busy.self, after: { _ in .milliseconds(2) }),
                    .never { "\($0)" == "hopeless" },
                ])
            struct Hopeless: Error, CustomStringConvertible { let description = "hopeless" }
            let handler = Handler(kind: "k", policy: policy) { task, context in
                let what = String(decoding: task.payload, as: UTF8.self)
                seen.record("\(what) \(context.attempt)")
                guard context.attempt == 1 || what == "uncharged" && context.attempt < 4 else { return }
                switch what {
                case "declined": throw Declined()
                case "busy": throw Busy()
                case "predicate": throw Hopeless()
                case "reject": throw Reject("the order was cancelled")
                case "retry": throw Retry(after: .milliseconds(1), because: Declined())
                case "uncharged": throw Retry(because: Busy(), isCharged: false)
                default: break
                }
            }
            try await withRelay(database, [handler]) { _ in
                try await database.transaction { transaction in
                    for what in ["declined", "busy", "predicate", "reject", "retry", "uncharged"] {
                        try await transaction.enqueue(
                            kind: "k", payload: Array(what.utf8),
                            options: EnqueueOptions(maxAttempts: what == "uncharged" ? 1 : nil))
                    }
                }
                await seen.wait(for: 11)
                try await eventually { try await database.tasksLeft() == 0 }
            }
            #expect(
                Set(seen.values) == [
                    "declined 1", "busy 1", "busy 2", "predicate 1", "reject 1", "retry 1", "retry 2", "uncharged 1",
                    "uncharged 2", "uncharged 3", "uncharged 4",
                ])
            let messages = try await database.query("SELECT error_message FROM outbox.dead_letters ORDER BY 1")
                .map { try $0.decode(String.self, at: 0) }
            #expect(messages == ["card 4711 declined", "hopeless", "the order was cancelled"])
        }
    }

    @Test func anUnreadablePayloadIsRejectedAtOnce() async throws {
        try await withOutbox { database in
            let dead = Recorder<DeathReason>()
            let handler = Handler(RelayTests.Charge.self) { _, _ in Issue.record("must not run") }
                .onDeadLetter { _, reason, _ in dead.record(reason) }
            try await withRelay(database, [handler]) { _ in
                try await database.transaction {
                    try await $0.enqueue(kind: "payments.charge", payload: Array("{".utf8))
                }
                await dead.wait(for: 1)
            }
            #expect(dead.values == [.rejected])
        }
    }

    @Test func aTaskThatExpiresBeforeItRunsIsDeadWithoutARun() async throws {
        try await withOutbox { database in
            let dead = Recorder<DeathReason>()
            let handler = Handler(kind: "k") { _, _ in Issue.record("must not run") }
                .onDeadLetter { _, reason, _ in dead.record(reason) }
            try await enqueue(database, EnqueueOptions(expiresAt: .now.addingTimeInterval(3600)))
            _ = try await database.query("UPDATE outbox.ready SET expires_at = now() - interval '1 second'")
            try await withRelay(database, [handler]) { _ in await dead.wait(for: 1) }
            #expect(dead.values == [.expired])
        }
    }

    @Test func aTaskThatExpiresAtInfinityHoldsUpNobody() async throws {
        try await withOutbox { database in
            for _ in 0..<2 { try await database.transaction { try await $0.enqueue(kind: "k", payload: []) } }
            // enqueue refuses it; a row from elsewhere must not fail the claim of the others
            _ = try await database.query(
                "UPDATE outbox.ready SET expires_at = 'infinity' WHERE seq = (SELECT min(seq) FROM outbox.ready)")
            let ran = Recorder<Void>()
            try await withRelay(database, [Handler(kind: "k") { _, _ in ran.record(()) }]) { _ in
                try await eventually { try await database.tasksLeft() == 0 }
            }
            #expect(ran.values.count == 2)
        }
    }

    @Test func aRetryThatWouldComeTooLateExpiresNow() async throws {
        try await withOutbox { database in
            let dead = Recorder<DeathReason>()
            let handler = Handler(kind: "k") { _, _ in throw Retry(after: .seconds(6000), because: Busy()) }
                .onDeadLetter { _, reason, _ in dead.record(reason) }
            try await withRelay(database, [handler]) { _ in
                try await enqueue(database, EnqueueOptions(expiresAt: .now.addingTimeInterval(3000)))
                await dead.wait(for: 1)
            }
            #expect(dead.values == [.expired])
        }
    }

    @Test func anAttemptThatTakesTooLongIsCancelledAndRetried() async throws {
        try await withOutbox { database in
            let seen = Recorder<Int>()
            let gate = Gate()
            let policy = HandlerPolicy(retry: .quick(), timeout: .milliseconds(100))
            let handler = Handler(kind: "k", policy: policy) { _, context in
                seen.record(context.attempt)
                if context.attempt == 1 { try await gate.pass() }
            }
            try await withRelay(database, [handler]) { _ in
                try await enqueue(database)
                await seen.wait(for: 2)
                try await eventually { try await database.tasksLeft() == 0 }
            }
            #expect(seen.values == [1, 2])
        }
    }

    @Test func aHandlerThatIgnoresItsCancellationDoesNotHoldItsTask() async throws {
        try await withOutbox { database in
            let seen = Recorder<Int>()
            let release = Gate()
            let policy = HandlerPolicy(retry: .quick(), timeout: .milliseconds(50))
            let handler = Handler(kind: "k", policy: policy) { _, context in
                seen.record(context.attempt)
                guard context.attempt == 1 else { return }
                await Task { try? await release.pass() }.value  // deaf to the cancellation
            }
            try await withRelay(database, [handler]) { _ in
                try await enqueue(database)
                await seen.wait(for: 2)
                try await eventually { try await database.tasksLeft() == 0 }
                release.open()
            }
            #expect(seen.values == [1, 2])
        }
    }

    @Test func textsThatPostgresCannotHoldAreStillRecorded() async throws {
        try await withOutbox { database in
            struct Odd: Error, CustomStringConvertible {
                let description = "a\0b" + String(repeating: "x", count: 5000)
            }
            let dead = Recorder<DeathReason>()
            let handler = Handler(kind: "k") { _, _ in throw Reject(because: Odd()) }
                .onDeadLetter { _, reason, _ in dead.record(reason) }
            try await withRelay(database, [handler]) { _ in
                try await enqueue(database)
                await dead.wait(for: 1)
            }
            let message = try await database.query("SELECT error_message FROM outbox.dead_letters")[0].decode(
                String.self, at: 0)
            #expect(message.hasPrefix("a\u{2400}bx"))
            #expect(message.count == 1000)
        }
    }

    /// Relays lock incidents in the order of their keys. Whoever resolves dead letters must do the same, or the two wait for
    /// each other.
    @Test func replayLocksIncidentsInTheOrderInWhichRelaysDo() async throws {
        try await withOutbox { database in
            _ = try await database.query(
                """
                WITH n AS (
                    INSERT INTO outbox.incidents (group_key, kind, fingerprint, error_type, error_message, sample, count, open)
                    SELECT key, 'k', 'f', 't', 'm', gen_random_uuid(), 1, 1 FROM unnest('{b,a}'::text[]) key RETURNING number)
                INSERT INTO outbox.dead (id, reason, incident, error_type, error_message, enqueued_at, attempt, charged, crashed,
                    replays, lane, kind, payload)
                SELECT gen_random_uuid(), 'rejected', number, 't', 'm', now(), 1, 1, 0, 0, '5:default', 'k', '' FROM n
                """)
            let relay = try await database.connect()
            try await relay.run(["BEGIN"])
            try await relay.run(["UPDATE outbox.incidents SET last_at = now() WHERE group_key = 'a'"])
            let operation = Task {
                try await database.count("SELECT count(*) FROM outbox.replay(ARRAY[1, 2]::bigint[])")
            }
            try await eventually {
                try await database.count(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
                ) == 1
            }
            // it waits for the first, and so it must not hold the second
            try await relay.run(["UPDATE outbox.incidents SET last_at = now() WHERE group_key = 'b'"])
            try await relay.run(["COMMIT"])
            #expect(try await operation.value == 2)
            await relay.close()
        }
    }

    @Test func aReplayedDeadLetterRunsWithTheSameKeyAHigherAttemptAndANewBudget() async throws {
        try await withOutbox { database in
            let seen = Recorder<(attempt: Int, key: String)>()
            let dead = Recorder<DeathReason>()
            let isFixed = Recorder<Void>()
            let handler = Handler(kind: "k", policy: HandlerPolicy(retry: .quick(maxAttempts: 2))) { _, context in
                seen.record((context.attempt, context.idempotencyKey))
                if isFixed.values.isEmpty { throw Busy() }
            }.onDeadLetter { _, reason, _ in dead.record(reason) }
            try await withRelay(database, [handler]) { _ in
                try await enqueue(database, EnqueueOptions(idempotencyKey: "order-1"))
                await dead.wait(for: 1)
                isFixed.record(())
                #expect(try await database.count("SELECT count(*) FROM outbox.replay(ARRAY[1], 'me', 'fixed')") == 1)
                #expect(
                    try await database.count("SELECT count(*) FROM outbox.replay(ARRAY[1], 'me')") == 0, "only once")
                await seen.wait(for: 3)
                try await eventually { try await database.tasksLeft() == 0 }
            }
            #expect(seen.values.map(\.attempt) == [1, 2, 3])
            #expect(Set(seen.values.map(\.key)) == ["order-1"])
            let row = try await database.query(
                "SELECT resolution, resolved_by, resolution_note FROM outbox.dead_letters")[0]
            #expect(try row.decode(String.self, at: 0) == "replayed")
            #expect(try row.decode(String.self, at: 1) == "me")
            #expect(
                try await database.count(
                    "SELECT count(*) FROM outbox.incidents WHERE resolved_at IS NOT NULL AND open = 0") == 1)
            #expect(
                try await database.count("SELECT count(*) FROM outbox.attempts") == 2,
                "the dead letter's history stays, although its replay succeeded")
        }
    }

    @Test(.timeLimit(.minutes(1))) func aHookThatDoesNotReturnDoesNotHoldTheRelaysEnd() async throws {
        try await withOutbox { database in
            let hooked = Recorder<Void>()
            let release = Gate()
            let handler = Handler(kind: "k") { _, _ in throw Reject("no") }.onDeadLetter { _, _, _ in
                hooked.record(())
                await Task { try? await release.pass() }.value  // deaf to cancellation
            }
            try await withRelay(database, [handler]) { _ in
                try await enqueue(database)
                await hooked.wait(for: 1)
            }
            release.open()
        }
    }

    @Test func replayLocksIncidentsInTheOrderInWhichTasksDie() async throws {
        try await withOutbox { database in
            // two causes of which the older one has the greater key
            for cause in ["a", "b"] {
                try await database.transaction { try await $0.enqueue(kind: "k", payload: []) }
                _ = try await database.query(
                    """
                    WITH claimed AS MATERIALIZED (
                        SELECT * FROM outbox.claim_v1(gen_random_uuid(), '30 s', NULL, '{}', '{}', '{}', '{}', '{}', '{}', 10, 1000, 10,
                            NULL, 0, NULL, NULL, NULL)
                    )
                    SELECT outbox.fail_v1(jsonb_agg(jsonb_build_object(
                        'slot', slot, 'lane', lane, 'seq', seq, 'attempt', attempt, 'id', id, 'move', 'dead', 'reason', 'rejected',
                        'charged', true, 'type', 't', 'message', 'm', 'fingerprint', \(cause)::text)), '{}', '0')
                    FROM claimed WHERE id IS NOT NULL
                    """)
            }
            let inOrder = try await database.query("SELECT number FROM outbox.incidents ORDER BY group_key")
                .map { try $0.decode(Int64.self, at: 0) }
            #expect(inOrder == [2, 1])
            let replay = try await database.transaction { transaction in
                try await transaction.execute("SELECT FROM outbox.incidents WHERE number = 2 FOR UPDATE")
                let replay = Task { try await database.count("SELECT count(*) FROM outbox.replay(ARRAY[1, 2])") }
                try await eventually {
                    try await database.count(
                        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
                    ) == 1
                }
                try await transaction.execute("SELECT FROM outbox.incidents WHERE number = 1 FOR UPDATE")
                return replay
            }
            #expect(try await replay.value == 2)
        }
    }
}
