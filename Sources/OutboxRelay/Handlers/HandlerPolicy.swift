// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

public import OutboxCore

/// How the tasks of one kind are run and tried again.
public struct HandlerPolicy: Sendable {
    /// When a task is acknowledged, which decides what a crash means.
    public enum Acknowledgement: Sendable, Hashable {
        /// After the run: at least once. A crash means that it runs again. This is the default.
        case late
        /// With the claim, before the run: at most once. A run that fails or does not come to its end makes a dead
        /// letter, so that a person decides; it is never run again by itself.
        case early
    }

    /// How often and for how long.
    public var retry: RetryPolicy
    /// How long an attempt may take before it is cancelled and counts as failed. Default: 5 minutes.
    public var timeout: Duration
    public var acknowledgement: Acknowledgement
    /// What errors mean, the first rule that fits. An error that no rule names is retried.
    public var rules: [ErrorRule]
    /// Whether a task whose relay vanished runs alone the next time, since its payload may be what kills relays.
    /// Default: on.
    public var runsAloneAfterCrash: Bool

    public init(
        retry: RetryPolicy = RetryPolicy(), timeout: Duration = .seconds(300), acknowledgement: Acknowledgement = .late,
        rules: [ErrorRule] = [], runsAloneAfterCrash: Bool = true
    ) {
        self.retry = retry
        self.timeout = max(timeout, .milliseconds(1))
        self.acknowledgement = acknowledgement
        self.rules = rules
        self.runsAloneAfterCrash = runsAloneAfterCrash
    }

    package var kindPolicy: KindPolicy {
        KindPolicy(
            retry: retry, timeout: timeout, acknowledgesEarly: acknowledgement == .early,
            runsAloneAfterCrash: runsAloneAfterCrash
        )
    }
}

/// What an error means for its task.
///
///     rules: [
///         .never(PaymentError.self) { $0 == .cardDeclined },
///         .retry(PaymentError.self) { $0 == .throttled ? .seconds(30) : nil },
///         .never(DecodingError.self),
///     ]
public struct ErrorRule: Sendable {
    enum Verdict {
        case retry(after: Duration?)
        case reject
    }
    let verdict: @Sendable (any Error) -> Verdict?

    /// Errors of this type are retried.
    public static func retry<E: Error>(_ type: E.Type) -> ErrorRule {
        ErrorRule { $0 is E ? .retry(after: nil) : nil }
    }

    /// Errors of this type are retried, no earlier than after the delay that the closure gives; `nil` leaves it to
    /// the policy's backoff.
    public static func retry<E: Error>(_ type: E.Type, after: @escaping @Sendable (E) -> Duration?) -> ErrorRule {
        ErrorRule { ($0 as? E).map { .retry(after: after($0)) } }
    }

    /// Errors of this type are never retried, or those of them that fit the predicate.
    public static func never<E: Error>(
        _ type: E.Type, where predicate: @escaping @Sendable (E) -> Bool = { _ in true }
    ) -> ErrorRule {
        ErrorRule { ($0 as? E).map(predicate) == true ? .reject : nil }
    }

    /// Errors that fit the predicate are never retried.
    public static func never(where predicate: @escaping @Sendable (any Error) -> Bool) -> ErrorRule {
        ErrorRule { predicate($0) ? .reject : nil }
    }
}
