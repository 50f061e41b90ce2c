// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

// Tasks that are claimed ahead of the places that they will run in.
//
//     claimed ── a place is free ──────────────────────────▶ started
//        └── none is ──▶ waiting ── another task finished ────┘
//                           ├─ stopping           ──▶ given back, uncharged: it never ran
//                           └─ for too long       ──▶ given back likewise: others may have a place for it
//
// An exchange takes a millisecond or several, a quick handler or a delivery on the local network a fraction of one.
// Without anything waiting, a place that falls free stays so for an exchange, and each exchange carries the few tasks that
// finished during the last: of 64 deliveries at once six, so that Postgres committed every six tasks. What waits keeps the
// places taken, and lets settlements gather.

/// How far ahead a relay claims, and how long settlements gather while something waits.
struct Ahead: Sendable {
    /// Claimed and not started, in the order in which they came. All of them are in `running`.
    var waiting: [Int64] = []
    /// How many more tasks than places are claimed: twice as many as finish, at the pace of the last tenth of a second, until
    /// the next exchange is answered. A slow handler's relay holds hardly anything back from its neighbours that way.
    private(set) var depth = 0
    /// Until when settlements may gather.
    private(set) var gathersUntil: Duration = .zero
    /// Tasks in a second.
    private var pace = 0.0
    private var lastAnswer: Duration = .zero

    /// A task that is done is settled no later than this because of it.
    private static let longestGathering: Duration = .milliseconds(5)
    private static let memory = 0.1

    /// An exchange was answered that settled so many and took so long.
    mutating func note(settled: Int, took: Duration, atMost most: Int, at now: Duration) {
        let elapsed = (now - lastAnswer).inSeconds
        lastAnswer = now
        pace = pace * max(0, 1 - elapsed / Self.memory) + Double(settled) / max(elapsed, Self.memory)
        let cycle = (min(took, Self.longestGathering * 4) + Self.longestGathering).inSeconds
        depth = min(Int(pace * cycle * 2), most)
        gathersUntil = now + Self.longestGathering
    }

    /// What could not start says that the pace is gone.
    mutating func forgetPace() {
        pace = 0
        depth = 0
    }

    /// Whether there is enough to start meanwhile, so that the next exchange can wait for more settlements.
    func isGathering(at now: Duration) -> Bool { waiting.count * 2 > depth && now < gathersUntil }
}

extension Engine {
    /// Whether tasks may be claimed before they can start. A kind that is acknowledged with its claim is not: if the relay
    /// vanished, it would be taken for one that ran.
    static func mayClaimAhead(_ settings: Settings) -> Bool {
        let policies = Array(settings.kinds.values) + Array(settings.endpoints.values)
        return settings.claimsAhead && !policies.contains(where: \.acknowledgesEarly)
            && settings.otherKinds?.acknowledgesEarly != true
    }

    /// Whether a task that was claimed starts at once, or waits behind those that wait if every place is taken. One that is
    /// to run alone has its own place: what still takes one then are handlers that were given up.
    func hasPlace(for task: Claimed) -> Bool {
        ahead.waiting.isEmpty && running.count < settings.capacity || task.hold.lane.runsAlone
    }

    /// Starts what waits, as far as places are free.
    mutating func startWaiting(at now: Duration, _ commands: inout [Command]) {
        guard !ahead.waiting.isEmpty else { return }
        var free = settings.capacity - (running.count - ahead.waiting.count)
        var taken = 0
        // those that may not begin any more leave their place to the next
        while free > 0, taken < ahead.waiting.count {
            let before = commands.count
            start(ahead.waiting[taken], at: now, &commands)
            taken += 1
            if commands.count > before { free -= 1 }
        }
        ahead.waiting.removeFirst(taken)
    }

    private mutating func start(_ seq: Int64, at now: Duration, _ commands: inout [Command]) {
        guard let task = running[seq] else { return }
        // as after the process stood still: another attempt may have it by now, and this one need not even begin
        guard leaseEnd(of: task) > now else {
            running[seq] = nil
            return move(task.claimed, to: .ready, kind: task.kind)
        }
        let waited = now - task.claimedAt
        if let expiresIn = task.claimed.expiresIn, expiresIn <= waited {
            running[seq] = nil
            return move(task.claimed, to: .dead(.expired), because: .expired, kind: task.kind)
        }
        let timeoutAt = now + kinds.policy(task.kind).timeout
        var started = task
        started.isWaiting = false
        started.startedAt = now
        started.timeoutAt = timeoutAt
        running[seq] = started
        payAttention(at: min(timeoutAt, task.leasedAt + renewalAge))
        commands.append(.start(seq: seq))
    }

    /// Gives back what has waited for a third of its lease, while others might have run it; and all of it at a stop.
    mutating func giveBackWaiting(claimedBefore time: Duration = .seconds(Int64.max / 2)) {
        let late = ahead.waiting.filter { running[$0].map { $0.leasedAt <= time } ?? true }
        guard !late.isEmpty else { return }
        ahead.forgetPace()
        let isLate = Set(late)
        ahead.waiting.removeAll(where: isLate.contains)
        for seq in late {
            if let task = running.removeValue(forKey: seq) { move(task.claimed, to: .ready, kind: task.kind) }
        }
    }
}
