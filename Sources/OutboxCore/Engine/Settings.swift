// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// How a relay runs the tasks of one kind.
package struct KindPolicy: Sendable, Hashable {
    package var retry: RetryPolicy
    /// How long an attempt may take before it is cancelled.
    package var timeout: Duration
    /// Acknowledge with the claim, before the run: at most once, never retried.
    package var acknowledgesEarly: Bool
    /// Run alone after the relay that ran it vanished: its payload may be what kills relays.
    package var runsAloneAfterCrash: Bool
    /// The endpoint that the kind is delivered to: incidents group by it.
    package var endpoint: String?

    package init(
        retry: RetryPolicy = RetryPolicy(), timeout: Duration = .seconds(300), acknowledgesEarly: Bool = false,
        runsAloneAfterCrash: Bool = true, endpoint: String? = nil
    ) {
        self.retry = retry
        self.timeout = timeout
        self.acknowledgesEarly = acknowledgesEarly
        self.runsAloneAfterCrash = runsAloneAfterCrash
        self.endpoint = endpoint
    }
}

extension Engine {
    package struct Settings: Sendable {
        /// How many tasks run at once.
        package var capacity = 64
        /// The most tasks of one claim.
        package var batch = 500
        /// Whether tasks may be claimed before there is a place for them.
        package var claimsAhead = true
        package var lease: Duration = .seconds(30)
        /// The shortest and the longest pause between claims that find nothing.
        package var poll: ClosedRange<Duration> = .milliseconds(5) ... .milliseconds(250)
        package var sweepInterval: Duration = .seconds(5)
        /// How long a cancelled handler may take to return.
        package var cancellationGrace: Duration = .seconds(3)
        package var kinds: [String: KindPolicy] = [:]
        /// For kinds that are not named; `nil`: only named kinds are claimed.
        package var otherKinds: KindPolicy?
        /// For tasks whose producer named an endpoint.
        package var endpoints: [String: KindPolicy] = [:]

        package init() {}
    }
}

/// What a relay has done, by kind, since it was last asked.
package struct Tally: Sendable, Equatable {
    package var succeeded = 0
    package var retried = 0
    package var dead = 0
    package var released = 0
    package var fenced = 0

    package init() {}

    package mutating func add(_ other: Tally) {
        succeeded += other.succeeded
        retried += other.retried
        dead += other.dead
        released += other.released
        fenced += other.fenced
    }

    package var counts: [(outcome: String, count: Int)] {
        [("succeeded", succeeded), ("retried", retried), ("dead", dead), ("released", released), ("fenced", fenced)]
            .filter { $0.count > 0 }
    }
}
