// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// The relay's decisions as a pure state machine: events in, commands out, time and the seed of randomness as inputs.
///
/// The same engine runs in a relay, against Postgres, and in simulation, against a table in memory. It does no I/O and
/// keeps nothing that must not be lost: leases and attempts are in the database, and a relay that starts anew finds
/// everything again. Nothing depends on the order of a dictionary, which is another one each time: the same inputs give
/// the same commands.
///
///     claimed ──start──▶ running ──finished──▶ settlement pending ──exchange──▶ settled, or fenced
///        │                  │
///        │                  ├─ timed out, or about to lose its lease: cancelled, then settled or left to its lease
///        └─ not to be run   └─ stopping: cancelled after the grace, then released
///           (expired, crashed too often, acknowledged before): dead letter at once
///
/// One exchange is under way at a time. Whatever has gathered meanwhile goes with the next one, so that a busy relay
/// settles and claims in large batches and an idle one at once, without a timer.
package struct Engine: Sendable {
    package let settings: Settings
    /// How long before the lease's end a handler is cancelled: time for the cancellation to arrive.
    let leaseMargin: Duration
    /// How old a lease is when it is renewed.
    let renewalAge: Duration
    var random: SeededGenerator
    var kinds: KindRegister

    // Tasks
    var running: [Int64: Running] = [:]
    var ahead = Ahead()
    private let claimsAhead: Bool
    var pending = Exchange(succeeded: [], failed: [], round: nil, kindsOfSucceeded: [], kindsOfFailed: [])
    /// Settlements that may have been executed already: if they are refused now, that is no surprise.
    var uncertain: Set<Int64> = []
    /// Tasks that their handlers completed in transactions of their own, if these committed.
    var completed: Set<Int64> = []
    /// When the next lease is to be renewed, deadline comes or grace ends.
    var nextAttention: Duration?
    var renewing: [Int64: Duration]?

    // Exchanges
    var exchange: (sent: Exchange, at: Duration)?
    var exchangeFailures = 0
    var nextExchange: Duration = .zero

    // Claims
    var lanes: [LaneKey: Lane] = [:]
    var turn = 0
    var currentSlot: Int16?
    var expectsMore = true
    /// When a claim last found a task.
    var lastFound: Duration = .zero
    var nextPoll: Duration = .zero
    /// The poll that settlements wait for.
    var settlesWithPollAt: Duration = .zero
    /// The nudge that no claim has looked for yet.
    var nudgedAt: Duration?
    var lastDiscovery: Duration = .zero
    var nextSweep: Duration = .zero
    var nextDiscovery: Duration = .zero
    var nextPromotion: Duration = .zero
    var nextFullPromotion: Duration = .zero
    var pollPace = Pace()
    var discoveryPace = Pace()
    var promotionPace = Pace()
    var rescuePace = Pace()
    var alone = Solitude()
    /// Until when a claim whose reply was lost may come to light.
    var unheardUntil: Duration?

    // Stopping
    var stopAt: Duration?
    var hasCancelledAll = false
    var hasStopped = false

    package init(settings: Settings, seed: UInt64) {
        self.settings = settings
        leaseMargin = settings.lease / 6
        renewalAge = settings.lease / 3
        random = SeededGenerator(seed: seed)
        kinds = KindRegister(settings: settings)
        claimsAhead = Self.mayClaimAhead(settings)
    }

    struct Running: Sendable {
        let claimed: Claimed
        let kind: Int
        let claimedAt: Duration
        var startedAt: Duration
        /// When the request that gave or renewed the lease was sent: the lease ends no earlier than `lease` after it.
        var leasedAt: Duration
        var timeoutAt: Duration
        /// It is claimed ahead and has not started.
        var isWaiting = false
        var cancelled: (reason: Cancellation, graceUntil: Duration)?
        /// Its attempt is settled although the handler has not returned; it still takes its place.
        var isAbandoned = false
    }

    /// When stopping ends although not everything is settled: after the grace of what was cancelled, and a second for
    /// the last exchange.
    private func giveUpAt(_ stopAt: Duration) -> Duration { stopAt + settings.cancellationGrace + .seconds(1) }

    /// How many more tasks may be claimed.
    var free: Int { max(0, settings.capacity + (claimsAhead ? ahead.depth : 0) - running.count) }

    /// Whether ordinary tasks may be claimed; otherwise a round is for upkeep alone, which has its own times.
    var canClaim: Bool { free > 0 && alone.isNormal }

    /// How many handlers have started and not returned.
    package var started: Int { running.count - ahead.waiting.count }

    /// Whether handlers that finish change nothing before the exchange that is under way is answered: nothing waits for
    /// their places, and what they settle goes with the next one.
    package var canDoNothingUntilAnswered: Bool { exchange != nil && ahead.waiting.isEmpty && stopAt == nil }

    /// When the engine wants `woke` at the latest; `nil` while it waits for another event.
    package var nextWake: Duration? {
        if hasStopped { return nil }
        var next = nextAttention
        func consider(_ time: Duration) { next = min(next ?? time, time) }
        if let stopAt, !hasCancelledAll { consider(stopAt) }
        if exchange == nil {
            // while one is under way its answer comes first, and giving up has to wait for it
            if let stopAt { consider(giveUpAt(stopAt)) }
            let soonest = ahead.waiting.isEmpty ? nextExchange : max(nextExchange, ahead.gathersUntil)
            if stopAt == nil { consider(max(soonest, min(nextSweep, canClaim ? nextPoll : nextPromotion))) }
            if pending.settlements > 0 { consider(max(soonest, settlesWithPollAt)) }
        }
        return next
    }

    /// Takes in what happened, of which several things may have come together, and decides once.
    package mutating func handle(_ events: [Event], at now: Duration) -> [Command] {
        var commands: [Command] = []
        for event in events { note(event, at: now, &commands) }
        decide(at: now, &commands)
        return commands
    }

    package mutating func handle(_ event: Event, at now: Duration) -> [Command] { handle([event], at: now) }

    private mutating func note(_ event: Event, at now: Duration, _ commands: inout [Command]) {
        switch event {
        case .woke: break
        case .nudged:
            nudgedAt = now
            nextPoll = min(nextPoll, now)
        case .answered(let answer): noteAnswer(answer, at: now, &commands)
        case .exchangeFailed(let unknown): noteExchangeFailure(unknown: unknown, at: now)
        case .renewed(let seqs): noteRenewal(Set(seqs), at: now, &commands)
        case .renewalFailed: noteRenewalFailure(at: now)
        case .finished(let seq, let outcome): noteOutcome(outcome, of: seq, at: now, &commands)
        case .stop(let grace):
            stopAt = stopAt.map { min($0, now + grace) } ?? now + grace
            giveBackWaiting()
        }
    }

    /// Whether settlements can wait for the next poll, which comes within milliseconds and takes them along: at some
    /// hundred tasks a second that halves the round trips.
    private mutating func settlesWithNextPoll(at now: Duration) -> Bool {
        guard stopAt == nil, pending.settlements > 0, canClaim, !expectsMore, now < nextPoll, now < nextSweep,
            nextPoll - now <= Self.longestWaitForPoll
        else { return false }
        settlesWithPollAt = nextPoll
        return true
    }

    private static let longestWaitForPoll: Duration = .milliseconds(6)

    private mutating func decide(at now: Duration, _ commands: inout [Command]) {
        guard !hasStopped else { return }
        if let nextAttention, nextAttention <= now { attend(at: now, &commands) }
        startWaiting(at: now, &commands)
        if let stopAt, stopAt <= now, !hasCancelledAll {
            hasCancelledAll = true
            cancelAll(at: now, &commands)
        }
        if exchange == nil, now >= nextExchange, !ahead.isGathering(at: now), !settlesWithNextPoll(at: now),
            let next = nextExchangeToSend(at: now)
        {
            exchange = (next, now)
            commands.append(.exchange(next))
        }
        if let stopAt, exchange == nil {
            let settledAll = running.isEmpty && pending.settlements == 0
            let onlyAbandoned = pending.settlements == 0 && running.values.allSatisfy(\.isAbandoned)
            if settledAll || onlyAbandoned || now >= giveUpAt(stopAt) {
                hasStopped = true
                commands.append(.stopped(unsettled: pending.settlements))
            }
        }
    }

    /// What was done, by kind, since this was last called.
    package mutating func takeTally() -> [String: Tally] { kinds.take() }

    /// Takes a tally back that could not be delivered.
    package mutating func giveBack(_ tally: [String: Tally]) { kinds.giveBack(tally) }
}
