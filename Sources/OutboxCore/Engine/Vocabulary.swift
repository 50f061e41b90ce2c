// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

// The words between the engine, which decides, and the shell around it, which does.

/// A claimed task's row and the attempt that holds it: what settle, renew and complete name. With the task's id, since
/// after a failover to an asynchronous standby the same seq may be another task's.
package struct Hold: Hashable, Sendable {
    package let lane: LaneKey
    package let seq: Int64
    package let attempt: Int32
    package let id: TaskID

    package init(lane: LaneKey, seq: Int64, attempt: Int32, id: TaskID) {
        self.lane = lane
        self.seq = seq
        self.attempt = attempt
        self.id = id
    }
}

/// What the engine needs to know of a task that was claimed. The payload stays with the shell.
package struct Claimed: Sendable {
    package var hold: Hold
    package var kind: String
    /// The endpoint that the producer named; its policy goes before the kind's.
    package var endpoint: String?
    package var charged: Int
    package var crashed: Int
    /// An earlier claim acknowledged it for good: it must not run.
    package var acknowledged: Bool
    package var maxAttempts: Int?
    /// Since it was first due.
    package var age: Duration
    package var expiresIn: Duration?

    package init(
        hold: Hold, kind: String, endpoint: String? = nil, charged: Int = 0, crashed: Int = 0,
        acknowledged: Bool = false,
        maxAttempts: Int? = nil, age: Duration = .zero, expiresIn: Duration? = nil
    ) {
        self.hold = hold
        self.kind = kind
        self.endpoint = endpoint
        self.charged = charged
        self.crashed = crashed
        self.acknowledged = acknowledged
        self.maxAttempts = maxAttempts
        self.age = age
        self.expiresIn = expiresIn
    }
}

/// One claim, with the upkeep that goes along.
package struct Round: Sendable, Equatable {
    package struct Ask: Sendable, Equatable {
        package let lane: LaneKey
        package let floor: Int64
        package let limit: Int
        package let ceiling: Int64
    }
    package enum Promotion: Sendable, Equatable { case recent, all }

    package var asks: [Ask]
    /// The most tasks to claim.
    package var total: Int
    /// Look for lanes that were not asked.
    package var discover: Bool
    package var promote: Promotion?
    /// Return expired leases of the lanes asked, up to their ceilings.
    package var rescue: Bool
    /// After a claim whose reply was lost: all that this relay knows that it holds. What else it holds by the table is
    /// given back without a crash.
    package var held: [Int64]?
    /// It claims one task that is to run alone.
    var isForSuspect = false
}

/// An attempt that did not succeed, and where its task goes.
package struct Move: Sendable, Equatable {
    package enum Target: Sendable, Equatable {
        case later(Duration)
        case dead(DeathReason)
        case ready
    }
    package let hold: Hold
    package let target: Target
    package let failure: Failure?
    package let charged: Bool
    package let took: Duration
    /// The endpoint that it was delivered to, if it was.
    package let endpoint: String?
}

/// One round trip: settlements first, then a claim, in one transaction.
package struct Exchange: Sendable {
    package var succeeded: [Hold]
    package var failed: [Move]
    package var round: Round?
    var kindsOfSucceeded: [Int]
    /// The number of each one's kind.
    package var kindsOfFailed: [Int]

    package var isEmpty: Bool { succeeded.isEmpty && failed.isEmpty && round == nil }
    package var settlements: Int { succeeded.count + failed.count }
}

/// What an exchange came to.
package struct Answer: Sendable {
    package struct News: Sendable {
        package var currentSlot: Int16
        package var promoted: Int
        package var rescued: Int
        package var alertDue: Bool
        package var found: [LaneKey]
        /// The database's time for discovery, promotion and rescue.
        package var took: (discovery: Duration, promotion: Duration, rescue: Duration)

        package init(
            currentSlot: Int16, promoted: Int = 0, rescued: Int = 0, alertDue: Bool = false, found: [LaneKey] = [],
            took: (discovery: Duration, promotion: Duration, rescue: Duration) = (.zero, .zero, .zero)
        ) {
            self.currentSlot = currentSlot
            self.promoted = promoted
            self.rescued = rescued
            self.alertDue = alertDue
            self.found = found
            self.took = took
        }
    }
    /// The seq of each settlement that took effect.
    package var settled: [Int64]
    package var claimed: [Claimed]
    /// Whether the claim stopped at the bound of payload bytes, with more to claim.
    package var stoppedAtBytes: Bool
    package var news: News?

    package init(settled: [Int64] = [], claimed: [Claimed] = [], stoppedAtBytes: Bool = false, news: News? = nil) {
        self.settled = settled
        self.claimed = claimed
        self.stoppedAtBytes = stoppedAtBytes
        self.news = news
    }
}

/// What happened. What is large is indirect: a busy relay passes many small ones.
package enum Event: Sendable {
    /// The time that the engine asked to be woken at has come.
    case woke
    /// Somebody says that there is work.
    case nudged
    indirect case answered(Answer)
    /// The exchange failed; `unknown`: it may have been executed, and only its reply is lost.
    case exchangeFailed(unknown: Bool)
    /// The leases that the database renewed.
    case renewed([Int64])
    case renewalFailed
    case finished(seq: Int64, Outcome)
    /// Stop gracefully: claim nothing more, and cancel what still runs after the grace.
    case stop(grace: Duration)
}

/// Why a running handler is told to stop.
package enum Cancellation: Sendable, Equatable {
    case timedOut, leaseLost, stopping
}

/// What is to be done.
package enum Command: Sendable {
    indirect case exchange(Exchange)
    /// Run the handler of a task that was claimed.
    case start(seq: Int64)
    case cancel(seq: Int64, Cancellation)
    case renew([Hold])
    case deliverAlerts
    /// A task has become a dead letter.
    indirect case buried(seq: Int64, DeathReason, Failure)
    indirect case report(Report)
    /// Nothing more will be said of a task that did not succeed: what is kept of it can go.
    case forget(seq: Int64)
    /// Everything is settled, or cannot be settled any more: `unsettled` leases are left to expire.
    case stopped(unsettled: Int)
}

/// What people may want to read about.
package enum Report: Sendable, Equatable {
    /// A settlement was refused: another attempt holds the task, or it is settled already.
    case fenced(seq: Int64, kind: String)
    case leaseLost(seq: Int64, kind: String)
    case timedOut(seq: Int64, kind: String)
    /// A handler went on for longer than the grace after it was cancelled; its place stays taken until it returns.
    case ignoredCancellation(seq: Int64, kind: String)
    case rescued(Int)
}
