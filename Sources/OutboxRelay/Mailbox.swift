// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Synchronization

/// Where everything that happens to a relay arrives: many senders, one reader, who takes all that has come at once.
///
/// What is unhurried waits until the reader finds it worth waking for, or is woken by something else.
final class Mailbox<Message: Sendable>: Sendable {
    private struct State {
        var messages: [Message] = []
        var unhurried = 0
        var isUrgent = false
        var reader: (continuation: CheckedContinuation<Void, Never>, worthwhile: Int)?

        mutating func takeReader() -> CheckedContinuation<Void, Never>? {
            guard let reader, isUrgent || unhurried >= reader.worthwhile else { return nil }
            self.reader = nil
            return reader.continuation
        }
    }
    private let state = Mutex(State())

    func post(_ message: Message) {
        state.withLock { state in
            state.messages.append(message)
            state.isUrgent = true
            return state.takeReader()
        }?.resume()
    }

    func postUnhurried(_ message: Message) {
        state.withLock { state in
            state.messages.append(message)
            state.unhurried += 1
            return state.takeReader()
        }?.resume()
    }

    /// Takes what has come, waiting until there is something urgent, or so many unhurried messages.
    func take(unhurried worthwhile: Int = 1) async -> [Message] {
        await withCheckedContinuation { continuation in
            state.withLock { state in
                state.reader = (continuation, worthwhile)
                return state.takeReader()
            }?.resume()
        }
        return state.withLock { state in
            state.unhurried = 0
            state.isUrgent = false
            defer { state.messages = [] }
            return state.messages
        }
    }
}
