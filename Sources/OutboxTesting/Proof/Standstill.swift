// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Synchronization

/// Makes a task stand still in the middle: an executor that lets it run until it goes on after its nth wait, and then
/// keeps it, and all its children, until it is let go.
///
/// A process that is stopped or starved stands still like that, at any place; what others can see of it changes only
/// where it waits for something. So these places are all there are to try.
final class Standstill: TaskExecutor {
    private struct State {
        var jobs = 0
        var kept: [UnownedJob] = []
        var isReached = false
        var isOver = false
    }
    private let state = Mutex(State())
    private let wait: Int
    private let reached: @Sendable () -> Void

    /// - Parameters:
    ///   - wait: After which of its waits the task is to stand still, from 1.
    ///   - reached: Called once, when it does.
    init(afterWait wait: Int, reached: @escaping @Sendable () -> Void) {
        self.wait = wait
        self.reached = reached
    }

    func enqueue(_ job: consuming ExecutorJob) {
        // An actor's turn comes here too, if this task has caused it, and is no task's: who keeps it stops the actor for
        // all. Its description is what tells it; a release that words it differently fails our tests.
        let isOfTask = !job.description.hasSuffix("(id: nil)")
        let job = UnownedJob(job)
        guard isOfTask else { return globalConcurrentExecutor.enqueue(job) }
        let (keeps, isFirst) = state.withLock { state in
            state.jobs += 1
            // the first job is the beginning, which comes after no wait
            if state.isOver || !state.isReached && state.jobs <= wait { return (false, false) }
            defer { state.isReached = true }
            state.kept.append(job)
            return (true, !state.isReached)
        }
        if !keeps { globalConcurrentExecutor.enqueue(job) }
        if isFirst { reached() }
    }

    /// Lets the task go on, and never stops it again.
    func end() {
        let kept = state.withLock { state in
            defer { state.kept = [] }
            state.isOver = true
            return state.kept
        }
        for job in kept { globalConcurrentExecutor.enqueue(job) }
    }
}
