// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// A thread for code that blocks, so that Swift's cooperative threads never do.
///
/// No signal is delivered to it: a handler of the process runs on another thread, and a write to a closed socket or
/// pipe returns `EPIPE` without `SIGPIPE` ending the process. That is why nothing here changes what the whole
/// process does with `SIGPIPE`.
package enum DetachedThread {
    /// Starts the thread; false if the system has no room for another one.
    package static func start(_ body: @escaping @Sendable () -> Void) -> Bool {
        let argument = Unmanaged.passRetained(Body(run: body)).toOpaque()
        guard createThread(argument) == 0 else {
            Unmanaged<Body>.fromOpaque(argument).release()
            return false
        }
        return true
    }

    fileprivate final class Body: Sendable {
        let run: @Sendable () -> Void

        init(run: @escaping @Sendable () -> Void) {
            self.run = run
        }
    }
}

// Functions of the file, not methods: a C function pointer made from a closure that names a static method crashes the
// 6.3.1 compiler in its check of isolation regions.

private func createThread(_ argument: UnsafeMutableRawPointer) -> CInt {
    #if canImport(Darwin)
    var thread: pthread_t?
    let result = pthread_create(&thread, nil, { runThread($0) }, argument)
    guard result == 0, let thread else { return result }
    #else
    var thread = pthread_t()
    let result = pthread_create(&thread, nil, { runThread($0) }, argument)
    guard result == 0 else { return result }
    #endif
    return pthread_detach(thread)
}

private func runThread(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    blockSignals()
    if let argument { Unmanaged<DetachedThread.Body>.fromOpaque(argument).takeRetainedValue().run() }
    return nil
}

/// Blocks all signals but those that report a fault of this very thread, which the backtracer wants to see.
private func blockSignals() {
    var signals = sigset_t()
    sigfillset(&signals)
    for fault in [SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT] { sigdelset(&signals, fault) }
    pthread_sigmask(SIG_BLOCK, &signals, nil)
}
