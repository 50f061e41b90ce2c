// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Logging
internal import Outbox
internal import OutboxCore

/// One attempt of one handler.
///
/// The user's code runs in a task of its own, since a task group cannot cancel one of its children; the relay keeps it
/// until it has returned, and cancels it when its time or its lease is over.
struct HandlerRun {
    private enum Attempt {
        case task(Task<Void, Never>, RunState)
        case direct(any DirectRunner, UInt64)
    }
    private let attempt: Attempt

    init(
        _ claimed: ClaimedTask, hold: Hold, handler: Handler, store: RelayStore, logger: Logger,
        finished: @escaping @Sendable (Outcome) -> Void
    ) {
        switch handler.body {
        case .task(let run):
            let state = RunState()
            let task = Self.task(
                claimed, hold: hold, state: state, timeout: handler.policy.timeout, store: store, logger: logger,
                run: run, finished: finished)
            attempt = .task(task, state)
        case .direct(let runner):
            attempt = .direct(runner, runner.begin(claimed, finished: finished))
        }
    }

    private static func task(
        _ claimed: ClaimedTask, hold: Hold, state: RunState, timeout: Duration, store: RelayStore, logger: Logger,
        run: @escaping @Sendable (ClaimedTask, TaskContext) async -> Outcome,
        finished: @escaping @Sendable (Outcome) -> Void
    ) -> Task<Void, Never> {
        Task {
            let context = TaskContext(
                id: claimed.id, kind: claimed.kind, idempotencyKey: claimed.idempotencyKey, attempt: claimed.attempt,
                deadline: .now + timeout, relayLogger: logger, hold: hold, schema: store.schema,
                state: state,
                confirmLease: { hold in try await store.renew([hold]) == [hold.seq] }
            )
            finished(await run(claimed, context))
        }
    }

    func cancel(_ reason: Cancellation) {
        switch attempt {
        case .task(let task, let state):
            state.cancel(reason)
            task.cancel()
        case .direct(let runner, let number):
            runner.cancel(number)
        }
    }
}
