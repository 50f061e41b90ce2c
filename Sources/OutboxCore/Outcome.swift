// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// What one attempt came to: the closed vocabulary between a handler or an endpoint and the relay.
/// The rare cases are indirect, so that the common one is a word.
public enum Outcome: Sendable, Equatable {
    /// The effect happened. The task is done.
    case succeeded
    /// The attempt failed and may succeed later.
    ///
    /// - `after`: the least delay until the next attempt, as when a receiver sent `Retry-After`; the policy's own
    ///   backoff holds if it is longer. `nil` leaves the delay to the policy.
    /// - `charged`: whether the attempt uses up the retry budget. An endpoint that throttles does not charge.
    indirect case retry(Failure, after: Duration? = nil, charged: Bool = true)
    /// The attempt failed and no later one can succeed: the task becomes a dead letter now.
    indirect case rejected(Failure)
    /// The handler completed the task inside a transaction of its own. The relay checks that it committed: if not, the
    /// attempt came to the other outcome.
    indirect case completed(orElse: Outcome)
    /// The attempt was given back without a result, as at shutdown; it is not charged.
    case released
}
