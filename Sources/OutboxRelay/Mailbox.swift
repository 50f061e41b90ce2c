// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Synchronization

/// Where everything that happens to a relay arrives: many senders, one reader, who takes all that has come at once.
final class Mailbox<Message: Sendable>: Sendable {
    private struct State {
        var messages: [Message] = []
        var reader: CheckedContinuation<Void, Never>?
    }
    private let state = Mutex(State())

    func post(_ message: Message) {
        let reader = state.withLock { state in
            state.messages.append(message)
            defer { state.reader = nil }
            return state.reader
        }
        reader?.resume()
    }

    /// Takes what has come, waiting until there is something.
    func take() async -> [Message] {
        let messages = takeNow()
        if !messages.isEmpty { return messages }
        await withCheckedContinuation { continuation in
            let isFilled = state.withLock { state in
                if state.messages.isEmpty { state.reader = continuation }
                return !state.messages.isEmpty
            }
            if isFilled { continuation.resume() }
        }
        return takeNow()
    }

    private func takeNow() -> [Message] {
        state.withLock { state in
            defer { state.messages = [] }
            return state.messages
        }
    }
}
