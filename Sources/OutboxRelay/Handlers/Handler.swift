// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

public import Outbox
public import OutboxCore

/// What a relay runs for the tasks of a kind.
///
///     Handler(ChargeCard.self, policy: HandlerPolicy(timeout: .seconds(20))) { task, context in
///         try await gateway.charge(task.cents, idempotencyKey: context.idempotencyKey)
///     }
///
/// Returning means that the effect happened; throwing means that it did not, or that nobody knows. Since an attempt
/// may be repeated, the effect has to be idempotent: pass the key on, or complete the task in the transaction that
/// holds its effects.
public struct Handler: Sendable {
    /// What tasks it runs.
    package enum Scope: Sendable, Hashable {
        case kind(String)
        /// Tasks whose producer named this endpoint, of whatever kind.
        case endpoint(String)
        /// Tasks of every kind that has no handler of its own.
        case others
    }

    /// How an attempt is run.
    package enum Body: Sendable {
        /// By code of the user's, in a Swift task of its own.
        case task(@Sendable (ClaimedTask, TaskContext) async -> Outcome)
        /// By something that has a thread of its own and needs no task.
        case direct(any DirectRunner)
    }

    package let scope: Scope
    package let policy: KindPolicy
    package let body: Body
    package var onDeadLetter: (@Sendable (ClaimedTask, DeathReason, Failure) async -> Void)?

    package init(scope: Scope, policy: KindPolicy, body: Body) {
        self.scope = scope
        self.policy = policy
        self.body = body
    }

    /// A handler for a type of task. A payload that the type cannot read is rejected: no later attempt could read it.
    public init<T: OutboxTask>(
        _ type: T.Type, policy: HandlerPolicy = HandlerPolicy(),
        _ body: @escaping @Sendable (T, TaskContext) async throws -> Void
    ) {
        self.init(kind: T.kind, policy: policy) { task, context in
            let value: T
            do {
                value = try T(payload: task.payload)
            } catch {
                throw Reject(because: error)
            }
            try await body(value, context)
        }
    }

    /// A handler for a kind whose payload it reads itself.
    public init(
        kind: String, policy: HandlerPolicy = HandlerPolicy(),
        _ body: @escaping @Sendable (ClaimedTask, TaskContext) async throws -> Void
    ) {
        let run: @Sendable (ClaimedTask, TaskContext) async -> Outcome = { task, context in
            let outcome: Outcome
            do {
                try await body(task, context)
                outcome = context.hasCompleted ? .retry(.completionRolledBack) : .succeeded
            } catch {
                outcome = policy.outcome(of: error, isCancelled: Task.isCancelled)
            }
            return context.hasCompleted ? .completed(orElse: outcome) : outcome
        }
        self.init(scope: .kind(kind), policy: policy.kindPolicy, body: .task(run))
    }

    /// The same handler, with a hook that runs after a task of its has become a dead letter, to undo or to tell.
    ///
    /// It runs in the relay that recorded the dead letter, at most once, and not at all if that relay dies at that
    /// moment: what has to happen belongs into the alert, which is durable, or into a task of its own.
    public func onDeadLetter(
        _ hook: @escaping @Sendable (ClaimedTask, DeathReason, Failure) async -> Void
    ) -> Handler {
        var copy = self
        copy.onDeadLetter = hook
        return copy
    }
}

extension HandlerPolicy {
    /// What an error that a handler threw means.
    func outcome(of error: any Error, isCancelled: Bool) -> Outcome {
        switch error {
        case let retry as Retry: return .retry(Failure(retry.reason), after: retry.after, charged: retry.isCharged)
        case let reject as Reject: return .rejected(Failure(reject.reason))
        case is CancellationError where isCancelled: return .released
        default: break
        }
        for rule in rules {
            switch rule.verdict(error) {
            case .retry(let after): return .retry(Failure(error), after: after)
            case .reject: return .rejected(Failure(error))
            case nil: continue
            }
        }
        // a handler that was cancelled in the middle of a call throws that call's error, not a CancellationError
        return isCancelled ? .released : .retry(Failure(error))
    }
}

extension Failure {
    /// A handler completed its task in a transaction, returned, and the task is still there.
    static let completionRolledBack = Failure(
        type: "completion_rolled_back", message: "the transaction that completed the task did not commit"
    )
}
