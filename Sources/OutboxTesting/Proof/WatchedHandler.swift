// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Outbox
internal import OutboxCore
internal import OutboxRelay
internal import Synchronization

/// How the first attempt that a relay runs is stopped.
enum Interruption: Sendable {
    case none
    /// It stands still after a wait of its own.
    case inWait(Int)
    /// It returns, and the relay does not hear of it.
    case beforeSettlement
}

extension Handler {
    /// The same handler, which writes into the log what becomes of a task.
    func watched(_ task: TaskID, by log: AttemptLog, interruption: Interruption) -> Handler {
        let original = self
        var policy = policy
        // an attempt that is overtaken counts as a crash, and the proof is of what comes after
        policy.retry.maxCrashes = max(policy.retry.maxCrashes, 3)
        let isFirst = Once()
        var watched = Handler(
            scope: scope, policy: policy,
            body: .task { claimed, context in
                guard claimed.id == task else { return await original.run(claimed, context) }
                let index = log.change { state in
                    state.attempts.append(
                        .init(number: claimed.attempt, idempotencyKey: claimed.idempotencyKey, outcome: nil))
                    return state.attempts.count - 1
                }
                func end(_ outcome: Outcome) { log.change { $0.attempts[index].outcome = outcome } }
                switch isFirst.take() ? interruption : .none {
                case .none:
                    let outcome = await original.run(claimed, context)
                    end(outcome)
                    return outcome
                case .inWait(let wait):
                    let outcome = await log.standStill(afterWait: wait) { await original.run(claimed, context) }
                    end(outcome)
                    return outcome
                case .beforeSettlement:
                    let outcome = await original.run(claimed, context)
                    end(outcome)
                    await log.awaitLetGo()
                    return outcome
                }
            })
        watched.onDeadLetter = { claimed, reason, failure in
            if claimed.id == task { log.change { $0.burial = "\(reason.rawValue), \(failure.message)" } }
            await original.onDeadLetter?(claimed, reason, failure)
        }
        return watched
    }

    private func run(_ task: ClaimedTask, _ context: TaskContext) async -> Outcome {
        switch body {
        case .task(let run): return await run(task, context)
        case .direct(let runner):
            let outcome = await DirectRun().run(task, by: runner)
            // a place to stand still in also where the answer was there before it was waited for
            await Task.yield()
            return outcome
        }
    }
}

/// A delivery by something that has a thread of its own, waited for by a task.
private final class DirectRun: Sendable {
    private struct State {
        var number: UInt64?
        var isCancelled = false
    }
    private let state = Mutex(State())

    func run(_ task: ClaimedTask, by runner: any DirectRunner) async -> Outcome {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let number = runner.begin(task, while: { true }) { continuation.resume(returning: $0) }
                let isCancelled = state.withLock { state in
                    state.number = number
                    return state.isCancelled
                }
                if isCancelled { runner.cancel(number) }
            }
        } onCancel: {
            let number = state.withLock { state in
                state.isCancelled = true
                return state.number
            }
            if let number { runner.cancel(number) }
        }
    }
}

/// True the first time that it is asked.
private final class Once: Sendable {
    private let isTaken = Atomic(false)
    func take() -> Bool { !isTaken.exchange(true, ordering: .relaxed) }
}
