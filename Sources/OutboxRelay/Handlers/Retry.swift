// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import OutboxCore

/// Thrown by a handler to say when to try again.
///
///     guard response.status != 429 else {
///         throw Retry(after: .seconds(response.retryAfter), because: PaymentError.throttled)
///     }
///
/// What is recorded is the reason, never this wrapper. The attempt is charged like any failure, unless `isCharged` is
/// false, as for a receiver that turns work away for a while; the policy's greatest age bounds that too.
public struct Retry: Error {
    /// The least delay until the next attempt; the policy's own backoff holds if it is longer.
    public let after: Duration?
    public let reason: any Error
    public let isCharged: Bool

    public init(after delay: Duration? = nil, because reason: any Error, isCharged: Bool = true) {
        after = delay
        self.reason = reason
        self.isCharged = isCharged
    }
}

/// Thrown by a handler to say that no later attempt can succeed: the task becomes a dead letter now, with this reason.
public struct Reject: Error {
    public let reason: any Error

    public init(because reason: any Error) {
        self.reason = reason
    }

    /// Rejects with a sentence for the person who will read the dead letter.
    public init(_ sentence: String) {
        reason = RejectionReason(description: sentence)
    }
}

/// The reason of a rejection that was given as a sentence.
struct RejectionReason: Error, CustomStringConvertible {
    let description: String
}

extension Failure {
    /// What is recorded of an error: its type, what it says of itself, and what it tells a debugger if that is more.
    package init(_ error: any Error) {
        let message = String(describing: error)
        let detail = String(reflecting: error)
        let type = error is RejectionReason ? "rejected" : String(reflecting: Swift.type(of: error))
        self.init(type: type, message: message, detail: detail == message ? nil : detail)
    }
}
