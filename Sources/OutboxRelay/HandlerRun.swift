// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Logging
internal import Outbox
internal import OutboxCore

/// One attempt of one handler.
///
/// It is a task of its own, since a task group cannot cancel one of its children; the relay keeps it until it has
/// returned, and cancels it when its time or its lease is over.
struct HandlerRun {
    private let task: Task<Void, Never>
    private let state: RunState

    init(
        _ claimed: ClaimedTask, hold: Hold, handler: Handler, store: RelayStore, logger: Logger,
        finished: @escaping @Sendable (Outcome) -> Void
    ) {
        let state = RunState()
        self.state = state
        task = Task {
            let context = TaskContext(
                id: claimed.id, kind: claimed.kind, idempotencyKey: claimed.idempotencyKey, attempt: claimed.attempt,
                deadline: .now + handler.policy.timeout, relayLogger: logger, hold: hold, schema: store.schema,
                state: state,
                confirmLease: { hold in try await store.renew([hold]) == [hold.seq] }
            )
            finished(await handler.run(claimed, context))
        }
    }

    func cancel(_ reason: Cancellation) {
        state.cancel(reason)
        task.cancel()
    }
}
