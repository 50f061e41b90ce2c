// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Synchronization

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// A thread that waits for descriptors, so that no other thread has to: ``shared`` for the whole process, or one that also
/// runs the tasks that prefer it.
///
/// It does little but wait: whoever waits is resumed and reads or writes by itself, or lets this thread absorb what
/// arrives until that is enough, since a wake-up for each piece of a long answer costs more than the answer. `poll(2)`
/// and a socket pair are on every system that Swift servers are written on, and with a handful of connections they cost
/// what epoll costs.
///
///     wait ──► registered ──┬─ descriptor ready ──┬────────────► .ready
///                  ▲        │                     └─ absorbing ──► .ready when it is enough
///                  └────────│──────── not enough ────┘     └─────► .cancelled meanwhile
///                           ├─ deadline passed  ──► .timedOut
///                           ├─ task cancelled   ──► .cancelled
///                           └─ not a descriptor ──► .failed
///
/// Whoever takes a wait out of the table resumes it, once, after letting go of the lock.
///
/// A task that talks to a database much and computes little, such as a relay's loop, is cheapest on the thread that waits
/// for it: nothing is handed from thread to thread then, and it goes on while others block the threads of Swift's pool.
package final class Poller: TaskExecutor {
    package static let shared = Poller()

    /// What to wait for, and what was found.
    package struct Events: OptionSet, Sendable, Hashable {
        package let rawValue: Int16
        package init(rawValue: Int16) { self.rawValue = rawValue }
        package static let read = Events(rawValue: Int16(POLLIN))
        package static let write = Events(rawValue: Int16(POLLOUT))
    }

    /// How a wait ended.
    package enum Readiness: Sendable, Hashable {
        /// At least one of the events; a hang-up or an error of the descriptor counts as all that were asked for,
        /// because the read or write that follows reports it.
        case ready(Events)
        case timedOut
        case cancelled
        /// The descriptor is not open, or the poller has no descriptors left to work with.
        case failed(SystemFailure)
    }

    fileprivate struct Wait {
        let descriptor: Int32
        let events: Events
        let deadline: ContinuousClock.Instant?
        let absorb: (@Sendable () -> Bool)?
        let continuation: CheckedContinuation<Readiness, Never>
    }

    private struct State {
        var waits: [UInt64: Wait] = [:]
        /// Waits that the thread absorbs for, and whether they were cancelled meanwhile: until it is back from that, nobody
        /// else may use what it reads into.
        var absorbing: [UInt64: Bool] = [:]
        var alarms: [ObjectIdentifier: (at: ContinuousClock.Instant, ring: @Sendable () -> Void)] = [:]
        /// What the thread is to run, in the order in which it came.
        var jobs: [UnownedJob] = []
        /// Gets the thread out of `poll`; `nil` while there is no thread, which the first wait or job starts.
        var wake: Wake?
        /// The thread ends when there is nothing left to wait for.
        var isFinished = false
        /// The thread sleeps, or is about to, with an older table than this one: it needs a nudge.
        var isAsleep = false
        /// Until when it sleeps at most, if it does.
        var sleepsUntil: ContinuousClock.Instant?

        var isEmpty: Bool { waits.isEmpty && absorbing.isEmpty && alarms.isEmpty && jobs.isEmpty }

        /// What wakes the thread; the first to ask starts it.
        mutating func running(_ start: () -> Result<Wake, SystemFailure>) -> Result<Wake, SystemFailure> {
            if let wake { return .success(wake) }
            let started = start()
            if case .success(let wake) = started { self.wake = wake }
            return started
        }

        /// What to nudge so that the thread sees what has changed; `nil` if it is about to look anyway.
        mutating func wakeIfAsleep() -> Wake? {
            guard isAsleep else { return nil }
            isAsleep = false
            return wake
        }
    }

    /// Our end of the pair that gets the thread out of `poll`. It stays open as long as somebody may still nudge it.
    private final class Wake: Sendable {
        let descriptor: Int32
        init(_ descriptor: Int32) { self.descriptor = descriptor }
        deinit { close(descriptor) }
        func nudge() { PostgresClient.nudge(descriptor) }
    }

    private let state = Mutex(State())
    private let lastIdentity = Atomic<UInt64>(0)

    package init() {}

    /// Lets the thread end as soon as nothing waits, nothing is to be run and no alarm is set. What comes later is served by
    /// a new thread that ends likewise.
    package func finish() {
        state.withLock { state in
            state.isFinished = true
            return state.wakeIfAsleep()
        }?.nudge()
    }

    /// Runs a job of a task that prefers this thread.
    package func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        let wake: Result<Wake?, SystemFailure> = state.withLock { state in
            state.running(start).map { _ in
                state.jobs.append(job)
                return state.wakeIfAsleep()
            }
        }
        switch wake {
        case .success(let wake): wake?.nudge()
        // no descriptors or no thread to be had: Swift's own threads run it, as they would without a preference
        case .failure: globalConcurrentExecutor.enqueue(job)
        }
    }

    /// Waits until `descriptor` is ready, the deadline passes or the task is cancelled.
    ///
    /// A task that is cancelled already does not wait at all. With `heedingCancellation` off a cancelled task waits
    /// like any other: what is said to the server after a cancellation still needs its answer.
    ///
    /// - Parameter absorb: Called on the poller's thread each time that the descriptor is ready; the wait ends when it
    ///   returns true. It must not block, and until the wait has ended nobody else may touch what it touches.
    package func wait(
        for descriptor: Int32,
        _ events: Events,
        until deadline: ContinuousClock.Instant? = nil,
        heedingCancellation: Bool = true,
        absorbing absorb: (@Sendable () -> Bool)? = nil,
        isolation: isolated (any Actor)? = #isolation
    ) async -> Readiness {
        let identity = lastIdentity.wrappingAdd(1, ordering: .relaxed).newValue
        guard heedingCancellation else {
            return await withCheckedContinuation(isolation: isolation) { continuation in
                register(
                    Wait(
                        descriptor: descriptor, events: events, deadline: deadline, absorb: absorb,
                        continuation: continuation),
                    as: identity, heedingCancellation: false
                )
            }
        }
        return await withTaskCancellationHandler(
            operation: {
                await withCheckedContinuation(isolation: isolation) { continuation in
                    register(
                        Wait(
                            descriptor: descriptor, events: events, deadline: deadline, absorb: absorb,
                            continuation: continuation),
                        as: identity, heedingCancellation: true
                    )
                }
            },
            onCancel: { cancel(identity) },
            isolation: isolation
        )
    }

    private func register(_ wait: Wait, as identity: UInt64, heedingCancellation: Bool) {
        let registration: Result<Wake?, Refusal> = state.withLock { state in
            // A cancellation that came before this line is seen here; one that comes after it finds the wait in the
            // table, because the handler needs this lock.
            if heedingCancellation, Task.isCancelled { return .failure(Refusal(readiness: .cancelled)) }
            if let deadline = wait.deadline, deadline <= .now, wait.descriptor < 0 {
                return .failure(Refusal(readiness: .timedOut))
            }
            if case .failure(let failure) = state.running(start) {
                return .failure(Refusal(readiness: .failed(failure)))
            }
            state.waits[identity] = wait
            return .success(state.wakeIfAsleep())
        }
        switch registration {
        case .success(let wake): wake?.nudge()
        case .failure(let refusal): wait.continuation.resume(returning: refusal.readiness)
        }
    }

    /// The wait ended before it began.
    private struct Refusal: Error {
        let readiness: Readiness
    }

    private func cancel(_ identity: UInt64) {
        let (wait, wake): (Wait?, Wake?) = state.withLock { state in
            if state.absorbing[identity] != nil { state.absorbing[identity] = true }
            guard let wait = state.waits.removeValue(forKey: identity) else { return (nil, nil) }
            return (wait, state.wakeIfAsleep())
        }
        wait?.continuation.resume(returning: .cancelled)
        // A descriptor that `poll` still looks at is not really closed by `close`: let the thread drop it.
        wake?.nudge()
    }

    /// Sets or moves an alarm, or takes it back. As long as the process has no descriptors for the thread, it rings a second
    /// later: whoever is rung for asks again, and must not do so without end.
    fileprivate func set(_ alarm: Alarm, to time: ContinuousClock.Instant?) {
        let ring = alarm.ring
        let wake: Result<Wake?, SystemFailure> = state.withLock { state in
            guard let time else {
                state.alarms[ObjectIdentifier(alarm)] = nil
                return .success(state.isFinished ? state.wakeIfAsleep() : nil)
            }
            return state.running(start).map { _ in
                state.alarms[ObjectIdentifier(alarm)] = (time, ring)
                // a thread that wakes before looks again by itself
                return state.sleepsUntil.map({ time < $0 }) ?? true ? state.wakeIfAsleep() : nil
            }
        }
        switch wake {
        case .success(let wake): wake?.nudge()
        case .failure:
            Task {
                try? await Task.sleep(for: .seconds(1))
                ring()
            }
        }
    }

    private func start() -> Result<Wake, SystemFailure> {
        switch DescriptorPair.make() {
        case .failure(let failure): return .failure(failure)
        case .success(let pair):
            let wake = Wake(pair.near)
            let problem = detachThread { [self] in
                run(wokenBy: pair.far)
                close(pair.far)
            }
            guard problem != 0 else { return .success(wake) }
            close(pair.far)
            return .failure(SystemFailure(number: problem))
        }
    }

    private func run(wokenBy wakeDescriptor: Int32) {
        var identities: [UInt64] = []
        var table: [pollfd] = []
        var finished: [(CheckedContinuation<Readiness, Never>, Readiness)] = []
        var absorbing: [(identity: UInt64, wait: Wait, readiness: Readiness)] = []
        var ringing: [@Sendable () -> Void] = []
        while true {
            identities.removeAll(keepingCapacity: true)
            table.removeAll(keepingCapacity: true)
            table.append(pollfd(fd: wakeDescriptor, events: Int16(POLLIN), revents: 0))
            let timeout: Int32? = state.withLock { state in
                if state.isFinished, state.isEmpty {
                    state.wake = nil
                    return nil
                }
                var nearest: ContinuousClock.Instant?
                for (identity, wait) in state.waits {
                    identities.append(identity)
                    table.append(pollfd(fd: wait.descriptor, events: wait.events.rawValue, revents: 0))
                    if let deadline = wait.deadline { nearest = min(nearest ?? deadline, deadline) }
                }
                for (time, _) in state.alarms.values { nearest = min(nearest ?? time, time) }
                guard state.jobs.isEmpty else { return 0 }
                state.isAsleep = true
                state.sleepsUntil = nearest
                return milliseconds(until: nearest)
            }
            guard let timeout else { return }
            let count = poll(&table, nfds_t(table.count), timeout)
            if count > 0, table[0].revents != 0 { discardNudges(at: wakeDescriptor) }
            let now = ContinuousClock.now
            state.withLock { state in
                state.isAsleep = false
                for (identity, alarm) in state.alarms where alarm.at <= now {
                    state.alarms[identity] = nil
                    ringing.append(alarm.ring)
                }
                for (identity, entry) in zip(identities, table.dropFirst()) {
                    guard let wait = state.waits[identity],
                        let readiness = wait.readiness(found: count > 0 ? Int32(entry.revents) : 0, now: now)
                    else { continue }
                    state.waits[identity] = nil
                    if case .ready = readiness, wait.absorb != nil {
                        state.absorbing[identity] = false
                        absorbing.append((identity, wait, readiness))
                    } else {
                        finished.append((wait.continuation, readiness))
                    }
                }
            }
            for (identity, wait, readiness) in absorbing {
                let isEnough = wait.absorb?() ?? true
                state.withLock { state in
                    let isCancelled = state.absorbing.removeValue(forKey: identity) ?? false
                    if isEnough || isCancelled {
                        finished.append((wait.continuation, isEnough ? readiness : .cancelled))
                    } else if let deadline = wait.deadline, deadline <= now {
                        // something comes whenever one looks, and it is never enough
                        finished.append((wait.continuation, .timedOut))
                    } else {
                        state.waits[identity] = wait
                    }
                }
            }
            absorbing.removeAll(keepingCapacity: true)
            for ring in ringing { ring() }
            ringing.removeAll(keepingCapacity: true)
            for (continuation, readiness) in finished { continuation.resume(returning: readiness) }
            finished.removeAll(keepingCapacity: true)
            runJobs()
        }
    }

    /// Runs what has come, and what that brings about at once; but descriptors do not wait for long.
    private func runJobs() {
        for _ in 0..<8 {
            let jobs = state.withLock { state in
                defer { state.jobs.removeAll(keepingCapacity: true) }
                return state.jobs
            }
            if jobs.isEmpty { return }
            for job in jobs { job.runSynchronously(on: asUnownedTaskExecutor()) }
        }
    }
}

extension Poller.Wait {
    fileprivate func readiness(found: Int32, now: ContinuousClock.Instant) -> Poller.Readiness? {
        if found & Int32(POLLNVAL) != 0 { return .failed(SystemFailure(number: EBADF)) }
        if found & Int32(POLLERR | POLLHUP) != 0 { return .ready(events) }
        let met = events.intersection(Poller.Events(rawValue: Int16(truncatingIfNeeded: found)))
        if !met.isEmpty { return .ready(met) }
        if let deadline, deadline <= now { return .timedOut }
        return nil
    }
}

/// A time at which the poller calls back, on its thread, once; it can be moved.
///
/// One of these costs nothing while it waits. A sleeping task for each time that is thought of stays asleep when another
/// time takes its place, and with some hundred a second they are thousands.
package final class Alarm: Sendable {
    fileprivate let ring: @Sendable () -> Void
    private let poller: Poller

    /// - Parameter ring: Must not block.
    package init(on poller: Poller = .shared, _ ring: @escaping @Sendable () -> Void) {
        self.poller = poller
        self.ring = ring
    }

    /// When to ring; `nil`: not at all.
    package func set(_ time: ContinuousClock.Instant?) {
        poller.set(self, to: time)
    }
}

/// The timeout for `poll`: rounded up, so that a deadline less than a millisecond away does not spin.
private func milliseconds(until deadline: ContinuousClock.Instant?) -> Int32 {
    guard let deadline else { return -1 }
    let remaining = deadline - .now
    guard remaining > .zero else { return 0 }
    let (seconds, attoseconds) = remaining.components
    guard seconds < 1_000_000 else { return 1_000_000_000 }
    return Int32(seconds * 1000 + (attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000)
}
