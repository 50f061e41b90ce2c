// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Outbox
import OutboxRelay
import OutboxTesting
import Testing

/// Proofs of handlers that are idempotent, and of each way not to be that they are there to find. The first three are
/// those of the README.
@Suite(.timeLimit(.minutes(2))) struct HandlerProofTests {
    struct ChargeCard: OutboxTask, Codable {
        static let kind = "payments.charge"
        let order: Int
        let cents: Int
    }

    /// A gateway that keeps books and knows a key again.
    actor Gateway {
        private var books: [(order: Int, key: String)] = []

        func charge(_ task: ChargeCard, idempotencyKey: String) {
            if !knows(idempotencyKey) { books.append((task.order, idempotencyKey)) }
        }

        func knows(_ key: String) -> Bool { books.contains { $0.key == key } }
        /// Closes the books and begins new ones.
        func close() { books = [] }

        func charges(of order: Int) -> Int { books.count { $0.order == order } }
    }

    private func prove(
        _ handler: Handler, _ gateway: Gateway, _ scenarios: [HandlerProof.Scenario] = HandlerProof.Scenario.all
    ) async throws -> [HandlerProof.Observation] {
        let database = try await ThrowAwayPostgres.shared().makeOutbox()
        var proof = HandlerProof(handler, database: database)
        // nobody here waits for an attempt that stands still: if one stopped the gateway, the test's time would be over
        proof.patience = .seconds(600)
        return try await proof.check(scenarios) { transaction, order in
            try await transaction.enqueue(ChargeCard(order: order, cents: 1999))
        } effects: { order in
            await gateway.charges(of: order)
        }
    }

    @Test func aKeyThatIsPassedOnMakesAHandlerIdempotent() async throws {
        let gateway = Gateway()
        let seen = try await prove(
            Handler(ChargeCard.self) { task, context in
                await gateway.charge(task, idempotencyKey: context.idempotencyKey)
            }, gateway)
        #expect(Set(seen.map(\.scenario)) == Set(HandlerProof.Scenario.all))
        #expect(seen.allSatisfy { Set($0.attempts.map(\.idempotencyKey)).count == 1 && $0.effects == 1 })
        #expect(seen.first { $0.scenario == .undisturbed }?.attempts.map(\.number) == [1])
        #expect(seen.first { $0.scenario == .killed }?.attempts.map(\.number) == [1, 2])
        #expect(seen.first { $0.scenario == .replyLost }?.attempts.map(\.number) == [1])
        #expect(seen.first { $0.scenario == .overtaken && $0.wait == 1 }?.attempts.map(\.number) == [1, 2])
        #expect(
            seen.first { $0.scenario == .killed }.map { "\($0)" }
                == "killed between its effect and the settlement: attempts 1, 2; the effect happened once")
    }

    @Test func aKeyOfItsOwnForEachAttemptIsFound() async throws {
        let gateway = Gateway()
        let handler = Handler(ChargeCard.self) { task, context in
            await gateway.charge(task, idempotencyKey: "\(task.order)-\(context.attempt)")
        }
        let failure = await #expect(throws: HandlerProofFailure.self) { try await prove(handler, gateway) }
        let key = try #require(failure?.observation.attempts.first?.idempotencyKey)
        #expect(
            failure?.description == """
                When the first attempt was killed between its effect and the settlement, the effect happened twice, not once.
                  attempt 1, key \(key): returned
                  attempt 2, key \(key): returned
                What to do: every attempt has the same idempotency key: pass context.idempotencyKey on to whoever performs the \
                effect; or, if the effect is in this database, complete the task in its transaction: context.complete(in:)
                """)
    }

    @Test func completingInTheEffectsTransactionMakesAHandlerIdempotent() async throws {
        try await withOutbox { database in
            try await database.execute("CREATE TABLE accounts (id int PRIMARY KEY, cents int NOT NULL)")
            let handler = Handler(ChargeCard.self) { task, context in
                try await database.transaction { transaction in
                    try await transaction.execute(
                        "UPDATE accounts SET cents = cents + \(task.cents) WHERE id = \(task.order)")
                    try await context.complete(in: transaction)
                }
            }
            let seen = try await HandlerProof(handler, database: database.configuration)
                .check { transaction, account in
                    try await transaction.execute("INSERT INTO accounts VALUES (\(account), 0)")
                    return try await transaction.enqueue(ChargeCard(order: account, cents: 1))
                } effects: { account in
                    try await database.count("SELECT coalesce(sum(cents), 0) FROM accounts WHERE id = \(account)")
                }
            #expect(seen.contains { $0.scenario == .overtaken && $0.attempts.count == 2 })
            #expect(seen.contains { $0.scenario == .cancelled && $0.attempts.count == 2 })
        }
    }

    @Test func anEffectInTheSameDatabaseWithoutTheCompletionIsFound() async throws {
        try await withOutbox { database in
            try await database.execute("CREATE TABLE ledger (account int)")
            let handler = Handler(ChargeCard.self) { task, context in
                try await database.execute("INSERT INTO ledger VALUES (\(task.order))")
            }
            let failure = await #expect(throws: HandlerProofFailure.self) {
                try await HandlerProof(handler, database: database.configuration).check { transaction, order in
                    try await transaction.enqueue(ChargeCard(order: order, cents: 1))
                } effects: { order in
                    try await database.count("SELECT count(*) FROM ledger WHERE account = \(order)")
                }
            }
            #expect(failure?.observation.scenario == .killed)
            #expect(failure?.hint.contains("context.complete(in:)") == true)
        }
    }

    @Test func lookingBeforeActingIsFoundWhereAttemptsOverlap() async throws {
        let gateway = Gateway()
        let handler = Handler(ChargeCard.self) { task, context in
            guard await gateway.charges(of: task.order) == 0 else { return }
            await gateway.charge(task, idempotencyKey: "\(task.order)-\(context.attempt)")
        }
        _ = try await prove(handler, gateway, [.undisturbed, .killed, .replyLost, .cancelled])
        await gateway.close()
        let failure = await #expect(throws: HandlerProofFailure.self) {
            try await prove(handler, gateway, [.overtaken])
        }
        #expect(failure?.observation.wait == 1, "between looking and acting")
        #expect(failure?.message.hasSuffix("the effect happened twice, not once.") == true)
        #expect(failure?.hint.contains("two attempts can run at once") == true)
    }

    /// A set of what is done, kept by the handler itself.
    actor Notes {
        private var done: Set<Int> = []
        func add(_ order: Int) -> Bool { done.insert(order).inserted }
    }

    @Test func notingThatItIsDoneBeforeItIsDoneIsFound() async throws {
        let gateway = Gateway()
        let notes = Notes()
        let failure = await #expect(throws: HandlerProofFailure.self) {
            try await prove(
                Handler(ChargeCard.self) { task, context in
                    guard await notes.add(task.order) else { return }
                    await gateway.charge(task, idempotencyKey: context.idempotencyKey)
                }, gateway)
        }
        #expect(failure?.observation.scenario == .overtaken)
        #expect(failure?.message.contains("had the first one been killed there, it would be lost") == true)
    }

    @Test func aRepetitionThatIsRejectedIsFound() async throws {
        let gateway = Gateway()
        let failure = await #expect(throws: HandlerProofFailure.self) {
            try await prove(
                Handler(ChargeCard.self) { task, context in
                    if await gateway.knows(context.idempotencyKey) { throw Reject("charged already") }
                    await gateway.charge(task, idempotencyKey: context.idempotencyKey)
                }, gateway)
        }
        #expect(
            failure?.message
                == "When the first attempt was killed between its effect and the settlement, the effect happened once, and the task became a dead letter: rejected, charged already."
        )
    }

    @Test func aHandlerThatFailsAtFirstIsBroughtToItsEnd() async throws {
        struct Busy: Error {}
        let gateway = Gateway()
        let seen = try await prove(
            Handler(ChargeCard.self) { task, context in
                await gateway.charge(task, idempotencyKey: context.idempotencyKey)
                if context.attempt == 1 { throw Busy() }  // backoff of a second by default, which nobody waits for
            }, gateway)
        #expect(seen.first?.attempts.map(\.number) == [1, 2])
    }

    @Test func anEarlyKindIsNeverRunTwice() async throws {
        let gateway = Gateway()
        let policy = HandlerPolicy(acknowledgement: .early)
        let seen = try await prove(
            Handler(ChargeCard.self, policy: policy) { task, context in
                await gateway.charge(task, idempotencyKey: "\(task.order)-\(context.attempt)")
                try Task.checkCancellation()
            }, gateway)
        #expect(seen.allSatisfy { $0.attempts.map(\.number) == [1] && $0.effects == 1 })
        #expect(seen.first { $0.scenario == .killed }?.deadLetter?.hasPrefix("interrupted") == true)
        #expect(seen.contains { $0.scenario == .cancelled && $0.deadLetter?.hasPrefix("interrupted") == true })
    }

    /// What the scenarios do is done: the relay that was killed is refused, and the one whose connection broke is not.
    @Test func relaysAreDisturbedAsTheScenariosSay() async throws {
        try await withOutbox { database in
            let gateway = Gateway()
            let handler = Handler(ChargeCard.self) { task, context in
                await gateway.charge(task, idempotencyKey: context.idempotencyKey)
            }
            func count(_ outcome: String) async throws -> Int {
                try await database.count(
                    "SELECT coalesce(sum(count), 0)::bigint FROM outbox.statistics WHERE outcome = \(outcome)")
            }
            func play(_ scenario: HandlerProof.Scenario) async throws {
                try await HandlerProof(handler, database: database.configuration).check([scenario]) {
                    try await $0.enqueue(ChargeCard(order: $1, cents: 1))
                } effects: {
                    await gateway.charges(of: $0)
                }
                await gateway.close()
            }
            try await play(.replyLost)
            #expect(try await count("succeeded") == 1)
            #expect(try await count("fenced") == 0)
            try await eventually {
                try await database.count(
                    "SELECT sessions_killed FROM pg_stat_database WHERE datname = current_database()") == 1
            }
            try await play(.killed)
            #expect(try await count("succeeded") == 2)
            #expect(try await count("fenced") == 1)
            #expect(try await database.tasksLeft() == 0)
        }
    }

    @Test func aTaskThatNoHandlerIsForIsSaidSoAtOnce() async throws {
        let failure = await #expect(throws: HandlerProofFailure.self) {
            try await prove(Handler(kind: "other") { _, _ in }, Gateway())
        }
        #expect(failure?.message == "None of the handlers is for a task of the kind payments.charge.")
    }

    @Test func aHandlerThatDoesNothingIsFound() async throws {
        let failure = await #expect(throws: HandlerProofFailure.self) {
            try await prove(Handler(ChargeCard.self) { _, _ in }, Gateway())
        }
        #expect(
            failure?.message == "When the first attempt was left undisturbed, the effect did not happen.")
    }
}
