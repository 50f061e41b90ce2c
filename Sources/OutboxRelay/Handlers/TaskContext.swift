// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

public import Logging
public import Outbox
public import OutboxCore

/// What a handler knows of the attempt it runs, and what it can do about its task.
public struct TaskContext: Sendable {
    let run: HandlerRun

    public var id: TaskID { run.task.id }
    public var kind: String { run.task.kind }
    /// The name of the logical operation, the same on every attempt and after every replay: pass it to whatever
    /// performs the effect.
    public var idempotencyKey: String { run.task.idempotencyKey }
    /// 1 at the first claim, higher at every later one, never lowered. A receiver that wants to can refuse an attempt
    /// lower than one it has seen.
    public var attempt: Int { run.task.attempt }
    /// When the attempt is cancelled for taking too long.
    public let deadline: ContinuousClock.Instant

    /// The relay's logger with the task's id, kind and attempt. Made when it is asked for, since most handlers do not.
    public var logger: Logger {
        var logger = run.surroundings.logger
        logger[metadataKey: "task"] = "\(id)"
        logger[metadataKey: "kind"] = "\(kind)"
        logger[metadataKey: "attempt"] = "\(attempt)"
        return logger
    }

    /// Confirms with the database that this attempt still holds the task, and renews its lease: for just before an
    /// effect that must not be repeated without need.
    ///
    /// - Throws: ``LeaseLost`` if another attempt has it or may have it; ``PostgresError`` if the database cannot say.
    public func checkLease() async throws {
        guard run.cancellation != .leaseLost, try await run.surroundings.store.renew([run.hold]) == [run.hold.seq]
        else {
            throw LeaseLost()
        }
    }

    /// Completes the task in a transaction of the handler's own, so that its effects in the same database happen
    /// exactly once: both, or neither.
    ///
    ///     try await database.transaction { transaction in
    ///         try await transaction.execute("UPDATE accounts SET …")
    ///         try await context.complete(in: transaction)
    ///     }
    ///
    /// The transaction has to be READ COMMITTED, Postgres's default: in a stricter one a renewal of the lease since its
    /// snapshot makes this fail.
    ///
    /// - Throws: ``PostgresError`` with SQLSTATE `OB001` if the lease is lost: let the transaction roll back.
    public func complete(in transaction: Transaction) async throws {
        let hadCompleted = run.hasCompleted
        let completion = completion()
        do {
            _ = try await transaction.query(Statement(completion.text, binds: completion.parameters.map(\.bind)))
        } catch {
            // the transaction cannot commit with it: this was no completion, and a refusal later is a surprise
            if !hadCompleted { run.forgetCompletion() }
            throw error
        }
    }

    /// The statement that does the same, for any Postgres driver: run it in *your* transaction. If the lease is lost it
    /// fails with SQLSTATE `OB001`, and the transaction has to roll back.
    public func completion() -> (text: String, parameters: [Enqueue.Parameter]) {
        run.noteCompletion()
        let hold = run.hold
        return (
            "SELECT \(run.surroundings.store.schema.quoted).complete_v1($1::smallint, $2::text, $3::bigint, $4::int, $5::uuid)",
            [
                .integer(Int(hold.lane.slot)), .text(hold.lane.name), .integer(Int(hold.seq)),
                .integer(Int(hold.attempt)), .text(hold.id.description),
            ]
        )
    }

    var hasCompleted: Bool { run.hasCompleted }
}

/// The attempt lost its lease: another one has the task, or may have it at any moment. Stop without an effect.
public struct LeaseLost: Error, Hashable, Sendable, CustomStringConvertible {
    public init() {}
    public var description: String { "the lease is lost: another attempt may have the task" }
}
