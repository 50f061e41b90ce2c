// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Dispatch
internal import Synchronization

#if canImport(Darwin)
internal import Darwin
#else
internal import Glibc
#endif

extension Relay {
    /// Runs until SIGTERM or SIGINT, and then stops gracefully; a second signal ends the process at once, with the
    /// status that the shell gives a killed process (128 and the signal's number).
    ///
    /// For programs whose purpose is the relay. A service with a lifecycle of its own calls ``run()`` and ``stop()``.
    public func runUntilSignalled() async throws {
        let signals = SignalSources([SIGTERM, SIGINT]) { [self] _ in stop() }
        defer { signals.cancel() }
        await signals.registered()
        try await run()
    }
}

/// Calls a function at the first of some signals, and ends the process at the second.
///
/// Dispatch registers a source some time after it was made. Until then a signal has its default action: ignoring it
/// before would lose one that comes in between, and the process that was told to stop would run on.
package final class SignalSources: Sendable {
    private let sources: Mutex<[any DispatchSourceSignal]>
    private let count: Int
    private let registrations: AsyncStream<Void>

    package init(_ signals: [Int32], first: @escaping @Sendable (Int32) -> Void) {
        let counter = Counter()
        let (registrations, continuation) = AsyncStream.makeStream(of: Void.self)
        self.registrations = registrations
        count = signals.count
        sources = Mutex(
            signals.map { number in
                let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
                source.setRegistrationHandler { @Sendable in
                    #if canImport(Darwin)
                    // kqueue sees it all the same, and the default action does not happen; on Linux, Dispatch has
                    // installed a handler of its own
                    signal(number, SIG_IGN)
                    #endif
                    continuation.yield()
                }
                source.setEventHandler { @Sendable in
                    if counter.next() == 1 { first(number) } else { _exit(128 + number) }
                }
                source.resume()
                return source
            })
    }

    /// Returns when every signal is looked out for. To be called once.
    package func registered() async {
        for await _ in registrations.prefix(count) {}
    }

    package func cancel() {
        sources.withLock { sources in
            for source in sources { source.cancel() }
            sources = []
        }
    }

    private final class Counter: Sendable {
        private let count = Mutex(0)
        func next() -> Int {
            count.withLock {
                $0 += 1
                return $0
            }
        }
    }
}
