// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// How long to wait before the next attempt: exponential, capped, with jitter, and never zero by accident.
///
/// The n-th charged failure waits `min(cap, base × factor^(n−1))`, of which jitter takes up to a half away: the delay
/// is uniform in [½, 1] of it ("equal jitter"), so that tasks that failed together do not come back together and none
/// comes back at once.
public struct Backoff: Hashable, Sendable {
    /// The delay after the first failure. Default: 1 second.
    public var base: Duration
    /// By how much the delay grows with each failure. Default: 2.
    public var factor: Double
    /// The longest delay. Default: 1 hour.
    public var cap: Duration
    /// Whether jitter is applied. Turn it off for tests and for schedules that have to be exact. Default: on.
    public var jitter: Bool

    /// Makes an exponential backoff.
    ///
    /// A base below a millisecond counts as one, a factor below 1 as 1, and a cap below the base as the base.
    public init(base: Duration = .seconds(1), factor: Double = 2, cap: Duration = .seconds(3600), jitter: Bool = true) {
        self.base = max(base, .milliseconds(1))
        self.factor = factor.isFinite ? max(factor, 1) : 1
        self.cap = max(cap, self.base)
        self.jitter = jitter
    }

    /// The same delay after every failure.
    public static func constant(_ delay: Duration, jitter: Bool = true) -> Backoff {
        Backoff(base: delay, factor: 1, cap: delay, jitter: jitter)
    }

    /// The delay after the `failure`-th charged failure, counted from 1.
    package func delay(afterFailure failure: Int, using random: inout some RandomNumberGenerator) -> Duration {
        // In Double, where growing past every bound gives infinity and not a trap; the cap brings it back.
        var power = 1.0
        for _ in 1..<max(1, min(failure, 1000)) where power.isFinite { power *= factor }
        let full = min(base.inSeconds * power, cap.inSeconds)
        return .seconds(jitter ? full * Double.random(in: 0.5...1, using: &random) : full)
    }
}

extension Duration {
    /// The duration as a number of seconds; exact to about a microsecond over a century.
    package var inSeconds: Double {
        let (seconds, attoseconds) = components
        return Double(seconds) + Double(attoseconds) * 1e-18
    }

    /// Whole microseconds, rounded down, as SQL functions take them; the greatest number if there are more.
    package var inMicroseconds: Int64 {
        let (seconds, attoseconds) = components
        let (whole, isTooMany) = seconds.multipliedReportingOverflow(by: 1_000_000)
        let (sum, isOver) = whole.addingReportingOverflow(attoseconds / 1_000_000_000_000)
        return isTooMany || isOver ? (seconds < 0 ? .min : .max) : sum
    }
}
