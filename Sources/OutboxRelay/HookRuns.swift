// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Synchronization

/// The hooks that run. Each is a task of its own; the relay's end waits for them, but not for ever, since a hook is the
/// user's code and may not return.
final class HookRuns: Sendable {
    private struct State {
        var running = 0
        var waiter: CheckedContinuation<Void, Never>?

        mutating func takeWaiter() -> CheckedContinuation<Void, Never>? {
            defer { waiter = nil }
            return waiter
        }
    }
    private let state = Mutex(State())

    func run(_ hook: @escaping @Sendable () async -> Void) {
        state.withLock { $0.running += 1 }
        Task {
            await hook()
            let waiter = state.withLock { state in
                state.running -= 1
                return state.running == 0 ? state.takeWaiter() : nil
            }
            waiter?.resume()
        }
    }

    /// Waits until none runs, or the time is over.
    func wait(atMost limit: Duration) async {
        let timer = Task {
            guard (try? await Task.sleep(for: limit)) != nil else { return }
            state.withLock { $0.takeWaiter() }?.resume()
        }
        await withCheckedContinuation { continuation in
            let isIdle = state.withLock { state in
                if state.running > 0 { state.waiter = continuation }
                return state.running == 0
            }
            if isIdle { continuation.resume() }
        }
        timer.cancel()
    }
}
