// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// How often and for how long a task is tried.
///
/// An error that no rule names is retried. What is never to be retried is listed with the handler, or thrown as
/// `Reject`.
public struct RetryPolicy: Hashable, Sendable {
    /// How many attempts may use up the budget before the task becomes a dead letter, the first one included.
    /// Celery's `max_retries=5` is `maxAttempts: 6`. A task's own `max_attempts` goes before it. Default: 20.
    public var maxAttempts: Int
    /// How long after it was first due a task may still be tried again; `nil` for no bound. It bounds also the
    /// attempts that are not charged, such as those that a throttling endpoint turned away. Default: 24 hours, since
    /// many receivers remember idempotency keys no longer.
    public var maxAge: Duration?
    /// How many relays may vanish while they run a task before it becomes a dead letter without another run. Default: 3.
    public var maxCrashes: Int
    /// The delay between attempts.
    public var backoff: Backoff

    public init(
        maxAttempts: Int = 20, maxAge: Duration? = .seconds(24 * 3600), maxCrashes: Int = 3,
        backoff: Backoff = Backoff()
    ) {
        self.maxAttempts = max(1, maxAttempts)
        self.maxAge = maxAge
        self.maxCrashes = max(1, maxCrashes)
        self.backoff = backoff
    }
}

/// Why a task became a dead letter.
public enum DeathReason: String, Sendable, CaseIterable {
    /// Its handler or endpoint said that no later attempt can succeed.
    case rejected
    /// Its retry budget or its greatest age is used up.
    case exhausted
    /// It did not succeed before its `expires_at`.
    case expired
    /// Relays vanished while running it, as often as its policy allows.
    case crashed
    /// It is of a kind that is acknowledged before it runs, and its run did not come to its end.
    case interrupted
}

/// What becomes of a task whose attempt did not succeed.
package enum Fate: Equatable, Sendable {
    case again(after: Duration)
    case dead(DeathReason)
}

extension RetryPolicy {
    /// Ten years.
    private static let longestDelay: Duration = .seconds(315_576_000)

    /// Decides what becomes of a task whose attempt failed for a reason that may pass.
    ///
    /// - Parameters:
    ///   - failures: the charged attempts, this one included if it is charged.
    ///   - attempt: the attempt's number, which sets the delay of attempts that are not charged.
    ///   - after: the least delay that the handler or the receiver asked for.
    ///   - limit: the task's own number of attempts.
    ///   - age: since the task was first due.
    ///   - expiresIn: until the task's expiry.
    package func fate(
        charged: Bool, failures: Int, attempt: Int, after: Duration?, limit: Int?, age: Duration, expiresIn: Duration?,
        using random: inout some RandomNumberGenerator
    ) -> Fate {
        if charged, failures >= limit ?? maxAttempts { return .dead(.exhausted) }
        let own = backoff.delay(afterFailure: charged ? failures : min(attempt, 6), using: &random)
        // no longer than an enqueue may be delayed: a time that Postgres cannot hold could not be recorded
        let delay = min(max(own, after ?? .zero), Self.longestDelay)
        if let expiresIn, delay >= expiresIn { return .dead(.expired) }
        if let maxAge, age + delay > maxAge {
            // a receiver that asks for more time than there is gets what there is: one last attempt
            return age + own <= maxAge ? .again(after: maxAge - age) : .dead(.exhausted)
        }
        return .again(after: delay)
    }
}
