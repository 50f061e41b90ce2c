// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import CLibCurl
import Synchronization

/// A request that waits for the driver's thread, and who waits for its answer.
package final class CurlJob: Sendable {
    let id: UInt64
    let request: CurlRequest
    /// Asked right before the request goes out over a connection that stands.
    let mayBeSent: @Sendable () -> Bool
    /// Called once, on the driver's thread or on that of whoever submits; it must not wait for anything.
    package let completion: @Sendable (Result<CurlResponse, any Error>) -> Void

    /// The same request for the same caller, but not over a connection that was kept.
    var overFreshConnection: CurlJob {
        var request = request
        request.needsFreshConnection = true
        return CurlJob(id: id, request: request, while: mayBeSent, completion: completion)
    }

    package init(
        id: UInt64, request: CurlRequest, while mayBeSent: @escaping @Sendable () -> Bool = { true },
        completion: @escaping @Sendable (Result<CurlResponse, any Error>) -> Void
    ) {
        self.id = id
        self.request = request
        self.mayBeSent = mayBeSent
        self.completion = completion
    }
}

/// Where callers hand work to the driver's thread: all that both sides touch, under one lock.
///
///     open ── stop(grace:) ──► stopping(deadline) ── the thread is done ──► closed
package final class CurlQueue: Sendable {
    /// What the thread has to do next.
    package struct Work {
        package var jobs: [CurlJob] = []
        package var cancelled: [UInt64] = []
        /// When running transfers are failed; `nil` while the driver is open.
        package var deadline: ContinuousClock.Instant?
    }

    private enum Phase {
        case open
        case stopping(ContinuousClock.Instant)
        case closed
    }

    private struct State {
        var phase = Phase.open
        var jobs: [CurlJob] = []
        var cancelled: [UInt64] = []
        /// Jobs that are done, for a submitter to free.
        var spent: [CurlJob] = []
        /// Set while the thread sleeps or is about to: a wake-up is a system call, so a busy thread is spared it.
        var isSleeping = false
        var waker: CurlWaker?
        var waitingForClose: [CheckedContinuation<Void, Never>] = []

        mutating func wake() {
            guard isSleeping else { return }
            isSleeping = false
            waker?.wake()
        }
    }

    private let state = Mutex(State())

    package init() {}

    // MARK: Callers

    /// - Parameter heedsCancellation: Whether the calling task waits for this job, so that its cancellation ends it.
    package func submit(_ job: CurlJob, heedsCancellation: Bool) {
        // freed when this returns, outside the lock
        var spent: [CurlJob] = []
        let refusal: (any Error)? = state.withLock { state in
            swap(&spent, &state.spent)
            guard case .open = state.phase else { return CurlError.shutDown }
            // Looked at under the lock. The task is marked as cancelled before `cancel` runs, so either the mark is
            // seen here, or `cancel` comes to the lock later and the thread finds the job together with its end.
            guard !heedsCancellation || !Task.isCancelled else { return CancellationError() }
            state.jobs.append(job)
            state.wake()
            return nil
        }
        if let refusal { job.completion(.failure(refusal)) }
    }

    package func cancel(_ id: UInt64) {
        state.withLock { state in
            state.cancelled.append(id)
            state.wake()
        }
    }

    /// The first call decides; a later one can only shorten the grace.
    func stop(grace: Duration) {
        state.withLock { state in
            let deadline = ContinuousClock.now + grace
            switch state.phase {
            case .open: state.phase = .stopping(deadline)
            case .stopping(let earlier): state.phase = .stopping(min(earlier, deadline))
            case .closed: return
            }
            state.wake()
        }
    }

    func closed() async {
        await withCheckedContinuation { continuation in
            let isClosed = state.withLock { state in
                if case .closed = state.phase { return true }
                state.waitingForClose.append(continuation)
                return false
            }
            if isClosed { continuation.resume() }
        }
    }

    // MARK: The driver's thread

    func attach(_ waker: CurlWaker) {
        state.withLock { $0.waker = waker }
    }

    package func take() -> Work {
        state.withLock { state in
            state.isSleeping = false
            var work = Work()
            swap(&work.jobs, &state.jobs)
            swap(&work.cancelled, &state.cancelled)
            if case .stopping(let deadline) = state.phase { work.deadline = deadline }
            return work
        }
    }

    /// Leaves jobs that are done to the next submitter. Memory that one thread allocates and another frees goes back to the
    /// allocator's common part, under a lock for which both wait: that was one system call for every two requests. What is
    /// large is not kept that long.
    func giveBack(_ jobs: some Sequence<CurlJob>) {
        let small = jobs.filter { $0.request.body.count <= 16 * 1024 }
        state.withLock { state in
            guard state.spent.count < 64 else { return }
            state.spent += small
        }
    }

    /// Declares that the thread goes to sleep, unless there is something to do: false then.
    /// From here on every caller wakes it, also before it really sleeps: libcurl remembers the wake-up.
    func sleep(isStopping: Bool) -> Bool {
        state.withLock { state in
            if !state.jobs.isEmpty || !state.cancelled.isEmpty { return false }
            if !isStopping, case .stopping = state.phase { return false }
            state.isSleeping = true
            return true
        }
    }

    /// The thread's last word: nothing is accepted any more, and what still waits is refused.
    func close() {
        var spent: [CurlJob] = []
        let (jobs, waiting) = state.withLock { state in
            state.phase = .closed
            state.waker = nil
            let left = (state.jobs, state.waitingForClose)
            swap(&spent, &state.spent)
            state.jobs = []
            state.waitingForClose = []
            return left
        }
        for job in jobs { job.completion(.failure(CurlError.shutDown)) }
        for continuation in waiting { continuation.resume() }
    }
}

/// The one thing that other threads may do with the driver's multi handle.
///
/// `@unchecked`: the pointer is only ever passed to `curl_multi_wakeup`, which "can be called from any thread"
/// (<https://curl.se/libcurl/c/curl_multi_wakeup.html>), and only under the queue's lock, which the thread takes to
/// remove the waker before it frees the handle.
struct CurlWaker: @unchecked Sendable {
    private let multi: UnsafeMutableRawPointer

    init(_ multi: UnsafeMutableRawPointer) {
        self.multi = multi
    }

    func wake() {
        curl_multi_wakeup(multi)
    }
}
