// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Synchronization

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// How a call on a thread of its own ended, as its caller sees it.
package enum BlockingCallOutcome<Value: Sendable>: Sendable {
    case finished(Value)
    /// The deadline passed. The thread goes on until the call returns; its value is then dropped.
    case timedOut
    /// The caller's task was cancelled. The thread goes on as after a timeout.
    case cancelled
    /// No thread or no descriptor was to be had: the call never ran.
    case notStarted(SystemFailure)
}

/// Runs `body`, which may block, on a throw-away thread and waits for it no longer than `deadline`.
///
/// For the few calls that have no asynchronous form: `getaddrinfo` and `PQcancel`. Neither can be interrupted,
/// so the bound is on the wait, not on the thread.
package func callOffThread<Value: Sendable>(
    until deadline: ContinuousClock.Instant,
    heedingCancellation: Bool = true,
    poller: Poller = .shared,
    isolation: isolated (any Actor)? = #isolation,
    _ body: @escaping @Sendable () -> Value
) async -> BlockingCallOutcome<Value> {
    let pair: DescriptorPair
    switch DescriptorPair.make() {
    case .success(let made): pair = made
    case .failure(let failure): return .notStarted(failure)
    }
    let answer = Answer<Value>()
    let problem = detachThread {
        // The lock is held for storing the value, not for making it: whoever gives up waiting takes it too.
        let value = body()
        answer.value.withLock { $0 = value }
        close(pair.far)
    }
    defer { close(pair.near) }
    if problem != 0 {
        close(pair.far)
        return .notStarted(SystemFailure(number: problem))
    }
    // The end of the stream is the signal, so nothing is ever written and no continuation can be lost.
    let readiness = await poller.wait(
        for: pair.near, .read, until: deadline, heedingCancellation: heedingCancellation
    )
    if let value = answer.value.withLock({ $0 }) { return .finished(value) }
    switch readiness {
    case .ready, .timedOut: return .timedOut
    case .cancelled: return .cancelled
    case .failed(let failure): return .notStarted(failure)
    }
}

/// Starts a thread that runs `body` and is never joined.
///
/// - Returns: 0, or the error number of `pthread_create`.
func detachThread(_ body: @escaping @Sendable () -> Void) -> Int32 {
    let argument = Unmanaged.passRetained(ThreadBody(run: body))
    #if canImport(Glibc)
    var thread = pthread_t()
    let problem = pthread_create(
        &thread, nil,
        { argument in
            if let argument { Unmanaged<ThreadBody>.fromOpaque(argument).takeRetainedValue().run() }
            return nil
        }, argument.toOpaque())
    let identity: pthread_t? = thread
    #else
    var identity: pthread_t?
    let problem = pthread_create(
        &identity, nil,
        { argument in
            Unmanaged<ThreadBody>.fromOpaque(argument).takeRetainedValue().run()
            return nil
        }, argument.toOpaque())
    #endif
    if problem == 0, let identity { pthread_detach(identity) } else { argument.release() }
    return problem
}

private final class ThreadBody: Sendable {
    let run: @Sendable () -> Void

    init(run: @escaping @Sendable () -> Void) {
        self.run = run
    }
}

private final class Answer<Value: Sendable>: Sendable {
    let value = Mutex<Value?>(nil)
}
