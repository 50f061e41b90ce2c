// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Logging
internal import Outbox
internal import OutboxCore
internal import Synchronization

/// What all attempts of one relay share.
final class RunSurroundings: Sendable {
    let store: RelayStore
    let logger: Logger
    let mailbox: Mailbox<RelayMessage>

    init(store: RelayStore, logger: Logger, mailbox: Mailbox<RelayMessage>) {
        self.store = store
        self.logger = logger
        self.mailbox = mailbox
    }
}

/// One attempt of one task: from its claim until it is settled or left to another, and the only thing that a relay
/// allocates for it besides the payload and the Swift task.
///
/// The user's code runs in a task of its own, since a task group cannot cancel one of its children; the relay keeps it
/// until it has returned, and cancels it when its time or its lease is over.
final class HandlerRun: Sendable {
    let task: ClaimedTask
    let hold: Hold
    let handler: Handler
    let surroundings: RunSurroundings

    private enum Running {
        case task(Task<Void, Never>)
        case direct(any DirectRunner, UInt64)
    }
    private struct State {
        var running: Running?
        var cancellation: Cancellation?
        var hasCompleted = false
        var leaseEnds: ContinuousClock.Instant
    }
    private let state: Mutex<State>

    /// - Parameter leaseEnds: When another attempt may begin, unless the lease is renewed.
    init(
        _ task: ClaimedTask, hold: Hold, handler: Handler, leaseEnds: ContinuousClock.Instant,
        in surroundings: RunSurroundings
    ) {
        self.task = task
        self.hold = hold
        self.handler = handler
        self.surroundings = surroundings
        state = Mutex(State(leaseEnds: leaseEnds))
    }

    func start() {
        let running: Running
        let deadline = ContinuousClock.now + handler.policy.timeout
        switch handler.body {
        case .task(let run):
            running = .task(
                Task {
                    // the process may have stood still, or Swift's threads were all taken
                    let outcome = isHeld ? await run(task, TaskContext(run: self, deadline: deadline)) : .released
                    surroundings.mailbox.postUnhurried(.finished(seq: hold.seq, outcome))
                })
        case .direct(let runner):
            let number = runner.begin(task, while: { self.isHeld }) { [surroundings, seq = hold.seq] outcome in
                surroundings.mailbox.postUnhurried(.finished(seq: seq, outcome))
            }
            running = .direct(runner, number)
        }
        let isCancelled = state.withLock { state in
            state.running = running
            return state.cancellation != nil
        }
        if isCancelled { cancel(running) }
    }

    func cancel(_ reason: Cancellation) {
        let running = state.withLock { state in
            state.cancellation = reason
            return state.running
        }
        if let running { cancel(running) }
    }

    private func cancel(_ running: Running) {
        switch running {
        case .task(let task): task.cancel()
        case .direct(let runner, let number): runner.cancel(number)
        }
    }

    /// Whether the attempt may begin: nobody else can have the task by now, and the relay does not stop. One whose time is
    /// over before it had a thread begins and is cancelled like any other.
    private var isHeld: Bool {
        state.withLock { state in
            (state.cancellation == nil || state.cancellation == .timedOut) && .now < state.leaseEnds
        }
    }

    func noteRenewal(until leaseEnds: ContinuousClock.Instant) { state.withLock { $0.leaseEnds = leaseEnds } }

    // What the relay and the handler tell each other while the attempt runs.
    var cancellation: Cancellation? { state.withLock { $0.cancellation } }
    var hasCompleted: Bool { state.withLock { $0.hasCompleted } }
    func noteCompletion() { state.withLock { $0.hasCompleted = true } }
    func forgetCompletion() { state.withLock { $0.hasCompleted = false } }
}
