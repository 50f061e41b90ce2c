// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import OutboxCore
internal import OutboxRelay

/// Runs attempts as another runner does, and tells how each ended.
struct WatchedRunner: DirectRunner {
    let runner: any DirectRunner
    /// Called before the relay learns of it.
    let ended: @Sendable (ClaimedTask, Outcome) -> Void

    func begin(
        _ task: ClaimedTask, while isHeld: @escaping @Sendable () -> Bool,
        finished: @escaping @Sendable (Outcome) -> Void
    ) -> UInt64 {
        runner.begin(task, while: isHeld) { [ended] outcome in
            ended(task, outcome)
            finished(outcome)
        }
    }

    func cancel(_ number: UInt64) { runner.cancel(number) }
}

extension Handler {
    /// The same handler, whose attempts tell how they ended; one that runs in a task of its own stays as it is.
    func watched(_ ended: @escaping @Sendable (ClaimedTask, Outcome) -> Void) -> Handler {
        guard case .direct(let runner) = body else { return self }
        return Handler(scope: scope, policy: policy, body: .direct(WatchedRunner(runner: runner, ended: ended)))
    }
}
