// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Outbox
import OutboxRelay
import Synchronization
import Testing

@testable import PostgresClient

/// Leases, fences, crashes and the end of a relay.
@Suite(.timeLimit(.minutes(2))) struct LeaseTests {
    private func withRelay(
        _ database: Database, _ handlers: [Handler], configuration: RelayConfiguration = .shortLeases,
        _ body: (Relay) async throws -> Void
    ) async throws {
        try await OutboxTests.withRelay(database, handlers, configuration: configuration, body)
    }

    private func enqueue(_ database: Database, _ count: Int = 1) async throws {
        try await database.transaction { try await $0.enqueue(batch: (0..<count).map { _ in ("k", []) }) }
    }

    /// Claims everything as a relay that is about to vanish.
    private func claimAndVanish(_ database: Database, early: String = "{}", lease: String = "1 second") async throws {
        _ = try await database.query(
            """
            SELECT * FROM outbox.claim_v1(gen_random_uuid(), \(lease)::interval, NULL, '{}', \(early)::text[], '{}', '{}', '{}', '{}',
                1000, 100000000, 1000, NULL, 0, NULL, NULL, NULL)
            """)
    }

    /// Waits until the lease of the only running task has been renewed so many times, each at a third of it.
    private func renewals(_ database: Database, _ count: Int) async throws {
        var ends: Set<String> = []
        try await eventually {
            let rows = try await database.query("SELECT lease_until::text FROM outbox.ready WHERE relay IS NOT NULL")
            for row in rows { ends.insert(try row.decode(String.self, at: 0)) }
            return ends.count > count
        }
    }

    /// How many transactions have failed in the test's database.
    private func rollbacks(_ database: Database) async throws -> Int {
        try await database.count("SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()")
    }

    @Test func aVanishedRelaysTasksAreRescuedAloneWithTheCrashCounted() async throws {
        try await withOutbox { database in
            try await enqueue(database, 3)
            try await claimAndVanish(database)
            let seen = Recorder<Int>()
            let together = Recorder<Void>()
            let running = Counter()
            let handler = Handler(kind: "k") { _, context in
                if running.add(1) > 1 { together.record(()) }
                await Task.yield()
                running.add(-1)
                seen.record(context.attempt)
            }
            try await withRelay(database, [handler]) { _ in
                await seen.wait(for: 3)
                try await eventually { try await database.tasksLeft() == 0 }
            }
            #expect(seen.values == [2, 2, 2])
            #expect(together.values.isEmpty, "tasks whose relay vanished run alone")
        }
    }

    /// A relay lets everything else come to its end before it runs a suspect, so it must not do that for one that is not for it.
    @Test func onlySuspectsForItAreShownToARelay() async throws {
        try await withOutbox { database in
            try await enqueue(database)
            func isShown(to kinds: String) async throws -> Bool {
                try await database.query(
                    """
                    SELECT found_lanes IS NOT NULL FROM outbox.claim_v1(gen_random_uuid(), '1 second', \(kinds)::text[], '{}', '{}',
                        '{}', '{}', '{}', '{}', 1, 1000, 1, NULL, 0, NULL, NULL, NULL)
                    """)[0].decode(Bool.self, at: 0)
            }
            _ = try await database.query("UPDATE outbox.ready SET lane = lane || ':!'")
            #expect(try await isShown(to: "{k}"))
            #expect(try await !isShown(to: "{other}"), "another relay's kind")
            _ = try await database.query(
                "UPDATE outbox.ready SET attempt = 1, relay = gen_random_uuid(), lease_until = now() + interval '1 minute'"
            )
            #expect(try await !isShown(to: "{k}"), "another relay is running it")
            _ = try await database.query("UPDATE outbox.ready SET lease_until = now() - interval '1 second'")
            #expect(try await isShown(to: "{k}"), "to be rescued")
            _ = try await database.query("UPDATE outbox.ready SET lease_until = now() + interval '2 hours'")
            #expect(try await isShown(to: "{k}"), "the clock was set back since")
        }
    }

    @Test func whatALostReplyClaimedIsGivenBackWithoutACrash() async throws {
        try await withOutbox { database in
            try await enqueue(database, 3)
            let relay = PostgresUUID(TaskID.random())
            func claim(early: [String], held: [Int64]?) async throws -> QueryResult {
                try await database.query(
                    """
                    SELECT seq, attempt, rescued, acknowledged FROM outbox.claim_v1(\(relay), '1 hour', NULL, '{}', \(early),
                        '{0,1,2,3}', '{5:default,5:default,5:default,5:default}', '{0,0,0,0}', '{9,9,9,9}', 9, 1000000, 9, NULL, 0,
                        '{9223372036854775807,9223372036854775807,9223372036854775807,9223372036854775807}', NULL, NULL, \(held))
                    """)
            }
            let first = try await claim(early: [], held: nil)
            let seqs = try first.dropLast().map { try $0.decode(Int64.self, at: 0) }
            #expect(seqs.count == 3)
            // the relay heard of the first one alone; the others come back to it
            let second = try await claim(early: [], held: [seqs[0]])
            #expect(try second.last?.decode(Int.self, at: 2) == 2)
            #expect(try second.dropLast().map { try $0.decode(Int.self, at: 1) } == [2, 2])
            let innocent = try await database.count(
                "SELECT count(*) FROM outbox.ready WHERE crashed = 0 AND attempt = 2 AND NOT acknowledged AND lane = '5:default'"
            )
            #expect(innocent == 2)
            #expect(try await database.count("SELECT count(*) FROM outbox.attempts") == 0)
            // and what it is not asked about stays
            let third = try await claim(early: [], held: nil)
            #expect(try third.last?.decode(Int.self, at: 2) == 0)
            // what was acknowledged may have run, and been let go of: it comes back with the mark, and runs no more
            try await enqueue(database)
            _ = try await claim(early: ["k"], held: nil)
            let known = try await database.query("SELECT seq FROM outbox.ready WHERE NOT acknowledged")
                .map { try $0.decode(Int64.self, at: 0) }
            let fourth = try await claim(early: ["k"], held: known)
            #expect(try fourth.last?.decode(Int.self, at: 2) == 1)
            #expect(try fourth.first?.decode(Bool.self, "acknowledged") == true)
        }
    }

    @Test func aTaskThatMakesRelaysVanishEndsAsADeadLetter() async throws {
        try await withOutbox { database in
            try await enqueue(database)
            _ = try await database.query("UPDATE outbox.ready SET attempt = 2, crashed = 2")
            try await claimAndVanish(database)
            let dead = Recorder<DeathReason>()
            let handler = Handler(kind: "k") { _, _ in Issue.record("must not run") }
                .onDeadLetter { _, reason, _ in dead.record(reason) }
            try await withRelay(database, [handler]) { _ in await dead.wait(for: 1) }
            #expect(dead.values == [.crashed])
            #expect(try await database.count("SELECT attempt FROM outbox.dead_letters") == 4)
            #expect(try await database.count("SELECT count(*) FROM outbox.attempts WHERE outcome = 'crashed'") == 1)
        }
    }

    @Test func aStaleSettlementChangesNothing() async throws {
        try await withOutbox { database in
            let started = Recorder<Void>()
            let gate = Gate()
            let handler = Handler(kind: "k") { _, _ in
                started.record(())
                await Task { try? await gate.pass() }.value
            }
            var configuration = RelayConfiguration.quick
            configuration.lease = .seconds(60)
            try await withRelay(database, [handler], configuration: configuration) { relay in
                try await enqueue(database)
                await started.wait(for: 1)
                // another attempt takes the task over, as if the lease had ended
                _ = try await database.query("UPDATE outbox.ready SET attempt = attempt + 1, relay = gen_random_uuid()")
                gate.open()
                relay.stop()
            }
            #expect(try await database.count("SELECT count(*) FROM outbox.ready WHERE attempt = 2") == 1)
            #expect(
                try await database.count("SELECT sum(count)::bigint FROM outbox.statistics WHERE outcome = 'fenced'")
                    == 1)
        }
    }

    @Test func aHandlerWhoseLeaseIsTakenIsCancelled() async throws {
        try await withOutbox { database in
            let started = Recorder<Void>()
            let cancelled = Recorder<Bool>()
            let handler = Handler(kind: "k") { _, context in
                started.record(())
                do { try await Gate().pass() } catch {
                    var isLost = false
                    do { try await context.checkLease() } catch is LeaseLost { isLost = true }
                    cancelled.record(isLost)
                    throw error
                }
            }
            var configuration = RelayConfiguration.shortLeases
            configuration.lease = .seconds(6)  // on a busy machine a shorter one ends before it is taken
            try await withRelay(database, [handler], configuration: configuration) { _ in
                try await enqueue(database)
                await started.wait(for: 1)
                _ = try await database.query(
                    "UPDATE outbox.ready SET attempt = attempt + 1, relay = gen_random_uuid(), lease_until = now() + interval '1 hour'"
                )
                await cancelled.wait(for: 1)
            }
            #expect(cancelled.values == [true])
            #expect(try await database.count("SELECT count(*) FROM outbox.ready WHERE attempt = 2") == 1)
        }
    }

    @Test func aRunningTasksLeaseIsRenewed() async throws {
        try await withOutbox { database in
            let seen = Recorder<Int>()
            let gate = Gate()
            let handler = Handler(kind: "k") { _, context in
                seen.record(context.attempt)
                try await gate.pass()
                try await context.checkLease()
            }
            // long enough that a busy machine does not keep a relay from renewing in time
            var configuration = RelayConfiguration.shortLeases
            configuration.lease = .seconds(4)
            try await withRelay(database, [handler], configuration: configuration) { _ in
                try await withRelay(database, [handler], configuration: configuration) { _ in
                    try await enqueue(database)
                    await seen.wait(for: 1)
                    // more than two leases, during which another relay would take it if it were not renewed
                    try await renewals(database, 7)
                    gate.open()
                    try await eventually { try await database.tasksLeft() == 0 }
                }
            }
            #expect(seen.values == [1])
        }
    }

    @Test func earlyAcknowledgementNeverRunsTwiceAndIsNeverSilent() async throws {
        try await withOutbox { database in
            struct Broken: Error {}
            try await enqueue(database)
            try await claimAndVanish(database, early: "{k}")
            let dead = Recorder<DeathReason>()
            let runs = Recorder<Int>()
            let handler = Handler(kind: "k", policy: HandlerPolicy(acknowledgement: .early)) { _, context in
                runs.record(context.attempt)
                throw Broken()
            }.onDeadLetter { _, reason, _ in dead.record(reason) }
            try await withRelay(database, [handler]) { _ in
                await dead.wait(for: 1)
                #expect(dead.values == [.interrupted], "claimed by a relay that vanished: it may have run")
                #expect(runs.values.isEmpty)
                try await enqueue(database)
                await dead.wait(for: 2)
            }
            #expect(dead.values == [.interrupted, .exhausted])
            #expect(runs.values == [1])
        }
    }

    @Test func completionInTheHandlersTransactionIsExactlyOnce() async throws {
        try await withOutbox { database in
            _ = try await database.query("CREATE TABLE ledger (attempt int)")
            struct Change: Error {}
            let handler = Handler(kind: "k", policy: HandlerPolicy(retry: .quick())) { _, context in
                do {
                    try await database.transaction { transaction in
                        try await transaction.execute("INSERT INTO ledger VALUES (\(context.attempt))")
                        try await context.complete(in: transaction)
                        if context.attempt == 1 { throw Change() }  // rolls back, and the error is swallowed below
                        if context.attempt == 2 { throw Change() }
                    }
                } catch is Change where context.attempt == 1 {}
                if context.attempt == 3 { throw Change() }  // after the commit: the task is done all the same
            }
            try await withRelay(database, [handler]) { _ in
                try await enqueue(database)
                try await eventually { try await database.count("SELECT count(*) FROM ledger") == 1 }
                try await eventually { try await database.tasksLeft() == 0 }
            }
            #expect(try await database.count("SELECT attempt FROM ledger") == 3)
            let outcomes = try await database.query(
                "SELECT outcome, sum(count)::bigint FROM outbox.statistics GROUP BY 1 ORDER BY 1")
            #expect(try outcomes.map { try $0.decode(String.self, at: 0) } == ["retried", "succeeded"])
            #expect(try await database.count("SELECT count(*) FROM outbox.dead_letters") == 0)
        }
    }

    @Test func completionWithoutTheLeaseRollsTheTransactionBack() async throws {
        try await withOutbox { database in
            _ = try await database.query("CREATE TABLE ledger (attempt int)")
            let states = Recorder<SQLState?>()
            let handler = Handler(kind: "k", policy: HandlerPolicy(retry: .quick())) { _, context in
                _ = try await database.query("UPDATE outbox.ready SET attempt = attempt + 1, relay = gen_random_uuid()")
                do {
                    try await database.transaction { transaction in
                        try await transaction.execute("INSERT INTO ledger VALUES (\(context.attempt))")
                        try await context.complete(in: transaction)
                    }
                } catch let error as PostgresError {
                    states.record(error.sqlState)
                    throw error
                }
            }
            var configuration = RelayConfiguration.quick
            configuration.lease = .seconds(60)
            try await withRelay(database, [handler], configuration: configuration) { _ in
                try await enqueue(database)
                await states.wait(for: 1)
            }
            #expect(
                try await database.count("SELECT sum(count)::bigint FROM outbox.statistics WHERE outcome = 'fenced'")
                    == 1,
                "a refused settlement is counted as such, not as a success")
            #expect(try await database.count("SELECT count(*) FROM outbox.statistics WHERE outcome = 'succeeded'") == 0)
            #expect(states.values == [SQLState(rawValue: "OB001")])
            #expect(try await database.count("SELECT count(*) FROM ledger") == 0)
        }
    }

    /// After a failover to an asynchronous standby the sequence may issue a number again. What a relay held before must not
    /// settle another task that has it now.
    @Test func aSeqThatIsIssuedAgainIsAnotherTask() async throws {
        try await withOutbox { database in
            let started = Recorder<Void>()
            let gate = Gate()
            let handler = Handler(kind: "k") { _, context in
                started.record(())
                await Task { try? await gate.pass() }.value
            }
            var configuration = RelayConfiguration.quick
            configuration.lease = .seconds(60)
            try await withRelay(database, [handler], configuration: configuration) { relay in
                try await enqueue(database)
                await started.wait(for: 1)
                // the task is lost with the primary, and its number is another task's, which another relay runs
                _ = try await database.query(
                    "UPDATE outbox.ready SET id = gen_random_uuid(), relay = gen_random_uuid()")
                gate.open()
                relay.stop()
            }
            #expect(try await database.tasksLeft() == 1)
            let fenced = try await database.count(
                "SELECT sum(count)::bigint FROM outbox.statistics WHERE outcome = 'fenced'")
            #expect(fenced == 1)
        }
    }

    @Test func aRowThatSomebodyHasLockedDoesNotCostTheLeasesOfOthers() async throws {
        try await withOutbox { database in
            try await enqueue(database, 3)
            try await claimAndVanish(database, lease: "30 seconds")
            let holder = try await database.connect()
            try await holder.run(["BEGIN"])
            try await holder.run([
                "SELECT outbox.complete_v1(slot, lane, seq, attempt, id) FROM outbox.ready ORDER BY seq LIMIT 1"
            ])
            func renew() async throws -> Int {
                try await database.count(
                    """
                    SELECT cardinality(ARRAY(SELECT outbox.renew_v1(array_agg(slot), array_agg(lane), array_agg(seq),
                        array_agg(attempt), array_agg(id), '1 minute') FROM outbox.ready))
                    """)
            }
            #expect(try await renew() == 3, "whoever has it locked, nobody can take it before its lease ends")
            let renewed = try await database.count(
                "SELECT count(*) FROM outbox.ready WHERE lease_until > now() + interval '50 seconds'")
            #expect(renewed == 2)
            try await holder.run(["COMMIT"])
            #expect(try await renew() == 2)
            await holder.close()
        }
    }

    @Test func aRenewalDoesNotWaitBehindUpkeep() async throws {
        try await withOutbox { database in
            // whatever upkeep does first, it waits here
            let holder = try await database.connect()
            try await holder.run(["BEGIN"])
            try await holder.run(["LOCK TABLE outbox.relays"])
            let seen = Recorder<Int>()
            let cancelled = Recorder<Void>()
            let gate = Gate()
            let handler = Handler(kind: "k") { _, context in
                seen.record(context.attempt)
                do { try await gate.pass() } catch {
                    cancelled.record(())
                    throw error
                }
            }
            try await enqueue(database)
            var configuration = RelayConfiguration.shortLeases
            configuration.lease = .seconds(4)
            try await withRelay(database, [handler], configuration: configuration) { _ in
                await seen.wait(for: 1)
                try await renewals(database, 6)
                gate.open()
                try await eventually { try await database.tasksLeft() == 0 }
                try await holder.run(["ROLLBACK"])
            }
            await holder.close()
            #expect(seen.values == [1])
            #expect(cancelled.values.isEmpty)
        }
    }

    @Test func aRowThatSomebodyHasLockedDoesNotHoldUpTheSettlementsOfOthers() async throws {
        try await withOutbox { database in
            let done = Recorder<Void>()
            let holder = try await database.connect()
            try await holder.run(["BEGIN"])
            let handler = Handler(kind: "k") { task, _ in
                if task.payload.isEmpty {
                    // somebody's transaction that completed the task and does not end
                    try await holder.run([
                        "SELECT outbox.complete_v1(slot, lane, seq, attempt, id) FROM outbox.ready WHERE payload = ''"
                    ])
                }
                done.record(())
            }
            var configuration = RelayConfiguration.quick
            configuration.lease = .seconds(60)
            try await withRelay(database, [handler], configuration: configuration) { _ in
                try await database.transaction { transaction in
                    for payload in [[], [1], [2]] as [[UInt8]] {
                        try await transaction.enqueue(kind: "k", payload: payload)
                    }
                }
                await done.wait(for: 3)
                try await eventually { try await database.tasksLeft() == 1 }
                try await database.transaction { try await $0.enqueue(kind: "k", payload: [3]) }
                await done.wait(for: 4)
            }
            try await holder.run(["COMMIT"])
            #expect(try await database.tasksLeft() == 0)
            await holder.close()
        }
    }

    /// An operator who has replayed a dead letter and not committed yet holds its incident.
    @Test func anIncidentThatSomebodyHasLockedHoldsARelayUpOnceAndNotForEachDeadLetter() async throws {
        try await withOutbox { database in
            let patience = Duration.milliseconds(500)
            try await database.execute("ALTER FUNCTION outbox.fail_v1 SET lock_timeout = '500ms'")
            let bad = Recorder<Void>()
            let other = Recorder<ContinuousClock.Instant>()
            let handlers = [
                Handler(kind: "k") { _, _ in
                    bad.record(())
                    throw Reject("no")
                },
                Handler(kind: "other") { _, _ in other.record(.now) },
            ]
            try await enqueue(database)
            var configuration = RelayConfiguration.quick
            configuration.lease = .seconds(60)
            try await OutboxTests.withRelay(database, handlers, configuration: configuration) { _ in
                try await eventually { try await database.tasksLeft() == 0 }
            }
            let holder = try await database.connect()
            try await holder.run(["BEGIN"])
            try await holder.run(["SELECT outbox.replay(ARRAY[1])"])
            try await enqueue(database, 15)
            try await OutboxTests.withRelay(database, handlers, configuration: configuration) { _ in
                await bad.wait(for: 16)
                let failedAt = ContinuousClock.now
                try await database.transaction { try await $0.enqueue(kind: "other", payload: []) }
                await other.wait(for: 1)
                #expect(other.values[0] - failedAt < patience * 10, "and not 15 times")
                try await holder.run(["COMMIT"])
                _ = try await database.query("UPDATE outbox.ready SET lease_until = now() WHERE relay IS NOT NULL")
                try await eventually { try await database.tasksLeft() == 0 }
            }
            await holder.close()
            #expect(try await database.count("SELECT count(*) FROM outbox.dead_letters WHERE resolution IS NULL") == 16)
        }
    }

    @Test func settlementsWaitForAFunctionThatIsMissingForAMoment() async throws {
        try await withOutbox { database in
            let seen = Recorder<Int>()
            let gate = Gate()
            let handler = Handler(kind: "k") { _, context in
                seen.record(context.attempt)
                try await gate.pass()
            }
            try await enqueue(database)
            var configuration = RelayConfiguration.quick
            configuration.lease = .seconds(60)
            try await withRelay(database, [handler], configuration: configuration) { _ in
                await seen.wait(for: 1)
                _ = try await database.query("ALTER FUNCTION outbox.settle_v1 RENAME TO settle_v0")
                let before = try await rollbacks(database)
                gate.open()
                try await eventually { try await rollbacks(database) > before }
                _ = try await database.query("ALTER FUNCTION outbox.settle_v0 RENAME TO settle_v1")
                try await eventually { try await database.tasksLeft() == 0 }
            }
            #expect(seen.values == [1])
        }
    }

    @Test func stoppingFinishesWhatItCanAndGivesTheRestBackUncharged() async throws {
        try await withOutbox { database in
            let started = Recorder<Int>()
            let quick = Gate()
            let handler = Handler(kind: "k") { task, _ in
                started.record(1)
                if task.payload.isEmpty { try await quick.pass() } else { try await Gate().pass() }
            }
            var configuration = RelayConfiguration.quick
            configuration.stopGrace = .milliseconds(300)
            configuration.lease = .seconds(60)
            try await withRelay(database, [handler], configuration: configuration) { relay in
                try await database.transaction { transaction in
                    for payload in [[], [], [1]] as [[UInt8]] {
                        try await transaction.enqueue(kind: "k", payload: payload)
                    }
                }
                await started.wait(for: 3)
                relay.stop()
                quick.open()
            }
            let left = try await database.query("SELECT state, attempt, charged, crashed FROM outbox.tasks")
            #expect(left.count == 1)
            #expect(try left[0].decode(String.self, at: 0) == "ready", "claimable at once")
            #expect(try left[0].decode(Int.self, at: 1) == 1, "the attempt is never lowered")
            #expect(try left[0].decode(Int.self, at: 2) == 0)
            #expect(try left[0].decode(Int.self, at: 3) == 0)
        }
    }
}

/// A number that several tasks change.
final class Counter: Sendable {
    private let value = Atomic(0)

    @discardableResult
    func add(_ difference: Int) -> Int { value.add(difference, ordering: .relaxed).newValue }
}
