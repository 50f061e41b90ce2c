// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

public import Outbox
public import OutboxRelay

/// Proves that a handler is idempotent: that its effect happens once, wherever its attempts are interrupted.
///
///     let database = try await ThrowAwayPostgres.shared().makeOutbox()
///     try await HandlerProof(handler, database: database).check { transaction, order in
///         try await transaction.enqueue(ChargeCard(order: order, cents: 1999))
///     } effects: { order in
///         await gateway.charges(of: order)
///     }
///
/// The handler is the value that your service gives its relay, and it is run by relays, on a real database: each
/// ``Scenario`` enqueues a task of its own, disturbs its attempts, lets the task come to its end, and counts. Give it
/// the outside world as a fake that keeps books; what is in the same database may be the real thing.
///
/// A kind that is acknowledged early is held to its own promise instead: no attempt is ever repeated, and a disturbed
/// task may have no effect, but then it is a dead letter.
///
/// What it cannot do: lose the replies of calls that the handler itself makes, interrupt code that does not wait, to
/// which belongs an `await` of what is there already, or stop what the handler starts with `Task { }`. An attempt may
/// take 30 seconds.
public struct HandlerProof: Sendable {
    let handlers: [Handler]
    let database: DatabaseConfiguration

    /// The schema that holds the outbox. Default: `outbox`.
    public var schema: Schema = .outbox
    /// How long an attempt may wait for one that stands still, as for a lock that this one holds, before that one is let
    /// go on. Where it is the database that makes it wait, that is seen at once. Default: 1 second.
    public var patience: Duration = .seconds(1)
    /// In how many of an attempt's waits it is disturbed, counted from its beginning; a longer handler is proved that
    /// far. Default: 50.
    public var mostWaits = 50

    /// A proof of one handler.
    ///
    /// - Parameter database: A database that holds the outbox and no other work, as
    ///   ``ThrowAwayPostgres/makeOutbox()`` makes it.
    public init(_ handler: Handler, database: DatabaseConfiguration) {
        self.init([handler], database: database)
    }

    /// A proof of handlers that belong together, such as those of an HTTP endpoint.
    public init(_ handlers: [Handler], database: DatabaseConfiguration) {
        self.handlers = handlers
        self.database = database
    }

    /// Plays the scenarios, and returns what it saw.
    ///
    /// - Parameters:
    ///   - scenarios: Which ones; `[.killed]` runs the handler twice, one attempt after the other. Default: all.
    ///   - enqueue: Enqueues a task as your service does, in this transaction, for the operation of this number: 1, 2, 3 …
    ///     Let whatever the handler recognises an operation by differ with the number.
    ///   - effects: How often the effect has happened for the operation of this number. It is asked before and after, and
    ///     the difference counts: it may as well count what happened for all of them.
    /// - Throws: ``HandlerProofFailure``, which says where the proof failed and what to do; what the closures throw;
    ///   `PostgresError`.
    @discardableResult
    public func check(
        _ scenarios: [Scenario] = Scenario.all,
        enqueue: @escaping @Sendable (Transaction, Int) async throws -> TaskID,
        effects: @escaping @Sendable (Int) async throws -> Int
    ) async throws -> [Observation] {
        let table = ProofTable(database: Database(database), schema: schema)
        var observations: [Observation] = []
        do {
            for scenario in scenarios {
                var wait = scenario.happensInWaits ? 1 : nil
                repeat {
                    try Task.checkCancellation()
                    let trial = ProofTrial(
                        proof: self, table: table, scenario: scenario, wait: wait, number: observations.count + 1,
                        enqueue: enqueue, effects: effects)
                    let observation = try await trial.run()
                    observations.append(observation)
                    wait = wait.flatMap { observation.wait != nil && $0 < mostWaits ? $0 + 1 : nil }
                } while wait != nil
            }
        } catch {
            await table.database.close()
            throw error
        }
        await table.database.close()
        return observations
    }
}

extension HandlerProof {
    /// What happens to a task's attempts while a proof watches.
    public struct Scenario: Hashable, Sendable, CustomStringConvertible {
        private enum Value { case undisturbed, killed, replyLost, overtaken, cancelled }
        private let value: Value

        /// Nothing.
        public static let undisturbed = Scenario(value: .undisturbed)
        /// The relay is killed when the handler has returned and nothing is settled: another one runs the task again.
        public static let killed = Scenario(value: .killed)
        /// The settlement is executed and its reply lost: the relay settles again, and nobody runs the task again.
        public static let replyLost = Scenario(value: .replyLost)
        /// An attempt stands still in the middle for longer than its lease; another one runs the task meanwhile, and
        /// then the first one goes on. Played for each time that the handler waits for something, and counted also
        /// while the first one stands still, as if it had been killed there.
        public static let overtaken = Scenario(value: .overtaken)
        /// An attempt is cancelled in the middle, as by its timeout or by a relay that stops, and the task runs again.
        /// Played for each time that the handler waits for something.
        public static let cancelled = Scenario(value: .cancelled)

        /// All of them, in this order.
        public static let all: [Scenario] = [.undisturbed, .killed, .replyLost, .overtaken, .cancelled]

        var happensInWaits: Bool { self == .overtaken || self == .cancelled }

        /// The scenario in words that follow "when the first attempt was".
        public var description: String {
            switch value {
            case .undisturbed: "left undisturbed"
            case .killed: "killed between its effect and the settlement"
            case .replyLost: "settled and the reply to that lost"
            case .overtaken: "overtaken by another after its lease had ended"
            case .cancelled: "cancelled"
            }
        }
    }
}
