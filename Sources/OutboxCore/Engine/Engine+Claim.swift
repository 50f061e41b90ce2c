// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

// Which lanes to ask, from where, for how many; and what upkeep goes along.

extension Engine {
    /// The most settlements that go in one exchange.
    private static let mostSettlements = 2000
    /// The most lanes that one claim asks; further ones have their turn next time.
    private static let mostLanes = 256
    /// The longest pause between claims that find nothing and are slow about it.
    private static let longestPoll: Duration = .seconds(2)
    /// The shortest pause between discoveries that nudges ask for.
    private static let shortestDiscovery: Duration = .milliseconds(50)
    /// How long a lane in which nothing is found is still asked by name.
    private static let laneMemory: Duration = .seconds(60)

    /// What to send now, if anything; it is taken out of what is pending.
    mutating func nextExchangeToSend(at now: Duration) -> Exchange? {
        var next = Exchange(succeeded: [], failed: [], round: nil, kindsOfSucceeded: [], kindsOfFailed: [])
        if pending.settlements <= Self.mostSettlements {
            swap(&next, &pending)
        } else {
            let succeeded = min(pending.succeeded.count, Self.mostSettlements)
            let failed = min(pending.failed.count, Self.mostSettlements - succeeded)
            next.succeeded = Array(pending.succeeded.prefix(succeeded))
            next.kindsOfSucceeded = Array(pending.kindsOfSucceeded.prefix(succeeded))
            next.failed = Array(pending.failed.prefix(failed))
            next.kindsOfFailed = Array(pending.kindsOfFailed.prefix(failed))
            pending.succeeded.removeFirst(succeeded)
            pending.kindsOfSucceeded.removeFirst(succeeded)
            pending.failed.removeFirst(failed)
            pending.kindsOfFailed.removeFirst(failed)
        }
        if stopAt == nil { next.round = nextRound(at: now) }
        if let until = unheardUntil, next.round?.rescue == true {
            if until < now { unheardUntil = nil }
            let settling = [next, pending].flatMap { $0.succeeded.map(\.seq) + $0.failed.map(\.hold.seq) }
            next.round?.held = running.keys.sorted() + settling
        }
        return next.isEmpty ? nil : next
    }

    private mutating func nextRound(at now: Duration) -> Round? {
        let suspects = lanes.keys.filter(\.runsAlone).sorted { ($0.name, $0.slot) < ($1.name, $1.slot) }
        // a handler that ignores its cancellation may never return: its task is settled, and nobody waits for it
        let isIdle = running.values.allSatisfy(\.isAbandoned)
        if alone.advance(hasSuspects: !suspects.isEmpty, isIdle: isIdle, at: now) {
            let asks = suspects.map { Round.Ask(lane: $0, floor: 0, limit: 1, ceiling: .max) }
            return Round(asks: asks, total: 1, discover: false, promote: nil, rescue: false, isForSuspect: true)
        }
        let total = canClaim ? min(free, settings.batch) : 0
        let sweeps = now >= nextSweep
        let promotes = now >= nextPromotion
        let polls = total > 0 ? expectsMore || now >= nextPoll : promotes
        guard polls || sweeps else { return nil }
        return Round(
            asks: asks(total: total, sweeps: sweeps, at: now)
                + suspects.map {
                    Round.Ask(lane: $0, floor: 0, limit: 0, ceiling: .max)
                },
            total: total,
            discover: sweeps || now >= nextDiscovery,
            promote: promotes || sweeps ? (now >= nextFullPromotion ? .all : .recent) : nil,
            rescue: sweeps
        )
    }

    /// The lanes to ask, the most urgent priority first, and of each lane the oldest leaf first. Lanes of one priority
    /// take turns and share what is free, so that a full lane does not starve its neighbours; and every eighth claim
    /// begins anywhere, so that low priorities come forward in the end.
    ///
    /// While the oldest leaf of a lane has all that is asked for, the younger ones are not asked: a leaf's space is given
    /// back when it is drained, and with a little left in each none would be.
    private mutating func asks(total: Int, sweeps: Bool, at now: Duration) -> [Round.Ask] {
        turn += 1
        func age(_ slot: Int16) -> Int16 { currentSlot.map { ($0 - slot + 4) % 4 } ?? 0 }
        let keys = lanes.keys.filter { !$0.runsAlone }.sorted {
            ($0.priority, $0.name, age($1.slot)) < ($1.priority, $1.name, age($0.slot))
        }
        let names = Self.runs(of: keys) { $0.name }
        var ordered: [ArraySlice<LaneKey>] = []
        if turn % 8 == 0 {
            ordered = Self.rotated(names[...], by: turn / 8)
        } else {
            for equals in Self.runs(of: names, by: { $0.first?.priority }) {
                ordered += Self.rotated(equals, by: turn)
            }
        }
        let busy = names.count { $0.contains { now - (lanes[$0]?.lastYield ?? .zero) < .seconds(1) } }
        let share = total == 0 ? 0 : max(1, (total + max(busy, 1) - 1) / max(busy, 1))
        var asks: [Round.Ask] = []
        for leaves in ordered where asks.count < Self.mostLanes {
            var limit = share
            for key in leaves {
                guard var lane = lanes[key] else { continue }
                if limit == 0 {
                    lane.passedOver(at: now)
                    lanes[key] = lane
                }
                asks.append(Round.Ask(lane: key, floor: sweeps ? 0 : lane.floor, limit: limit, ceiling: lane.ceiling))
                if lane.isDeep { limit = 0 }
            }
        }
        return asks
    }

    /// What is next to each other and has the same key, together.
    private static func runs<T, Key: Equatable>(of all: [T], by key: (T) -> Key) -> [ArraySlice<T>] {
        var runs: [ArraySlice<T>] = []
        var first = 0
        while first < all.count {
            let end = all[first...].firstIndex { key($0) != key(all[first]) } ?? all.count
            runs.append(all[first..<end])
            first = end
        }
        return runs
    }

    private static func rotated<T>(_ some: ArraySlice<T>, by turn: Int) -> [T] {
        guard !some.isEmpty else { return [] }
        let start = some.startIndex + turn % some.count
        return Array(some[start...] + some[..<start])
    }

    mutating func noteAnswer(_ answer: Answer, at now: Duration, _ commands: inout [Command]) {
        guard let (sent, sentAt) = exchange else { return }
        exchange = nil
        exchangeFailures = 0
        noteSettled(answer.settled, of: sent, &commands)
        let finished = sent.succeeded.count + sent.failed.count { $0.target != .ready }
        ahead.note(settled: finished, took: now - sentAt, atMost: settings.batch, at: now)
        guard let round = sent.round else { return }
        if let news = answer.news { noteNews(news, of: round, at: now, &commands) }
        noteClaimed(answer, of: round, sentAt: sentAt, at: now)
        for claimed in answer.claimed { begin(claimed, leasedAt: sentAt, at: now, &commands) }
    }

    private mutating func noteNews(_ news: Answer.News, of round: Round, at now: Duration, _ commands: inout [Command])
    {
        if let slot = currentSlot, slot != news.currentSlot {
            // what is enqueued from now on is in the next leaf: ask it without waiting for a discovery
            for key in lanes.keys where key.slot == slot && !key.runsAlone {
                let next = LaneKey(slot: news.currentSlot, name: key.name)
                if lanes[next] == nil { lanes[next] = Lane(now: now) }
            }
        }
        currentSlot = news.currentSlot
        for key in news.found where lanes[key] == nil { lanes[key] = Lane(now: now) }
        // upkeep takes at most a hundredth of the time, a promotion, which moves tasks that are due, a twentieth
        let shortest = settings.poll.upperBound * 0.8
        if round.discover {
            lastDiscovery = now
            nextDiscovery = now + discoveryPace.pause(after: news.took.discovery * 100, atLeast: shortest)
        }
        if round.rescue {
            nextSweep = now + jittered(rescuePace.pause(after: news.took.rescue * 100, atLeast: settings.sweepInterval))
        }
        if let promote = round.promote {
            let movedAll = news.promoted < Engine.mostPromotions
            if promote == .all, movedAll { nextFullPromotion = now + .seconds(60) }
            let pause = promotionPace.pause(after: news.took.promotion * 20, atLeast: shortest)
            nextPromotion = movedAll ? now + pause : now
            if news.promoted > 0 { nextDiscovery = now }
        }
        if news.rescued > 0 {
            commands.append(.report(.rescued(news.rescued)))
            nextDiscovery = now
            nextPoll = now
        }
        if news.alertDue { commands.append(.deliverAlerts) }
    }

    /// How many tasks one promotion moves.
    package static let mostPromotions = 1000

    private mutating func noteClaimed(_ answer: Answer, of round: Round, sentAt: Duration, at now: Duration) {
        var found: [LaneKey: (lowest: Int64, highest: Int64, count: Int)] = [:]
        for task in answer.claimed {
            let seq = task.hold.seq
            let seen = found[task.hold.lane] ?? (seq, seq, 0)
            found[task.hold.lane] = (min(seen.lowest, seq), max(seen.highest, seq), seen.count + 1)
        }
        if round.isForSuspect {
            if answer.claimed.isEmpty { lanes = lanes.filter { !$0.key.runsAlone } } else { alone.found() }
            return
        }
        let isFull = answer.claimed.count >= round.total || answer.stoppedAtBytes
        var isMoreLikely = isFull
        // a claim takes the lanes in their order: what comes before one that gave something was read as far as asked
        let lastRead = round.asks.lastIndex { found[$0.lane] != nil } ?? 0
        for (index, ask) in round.asks.enumerated() {
            // a lane's younger leaf, passed over for an older one
            guard ask.limit > 0 else {
                if round.total > 0, !ask.lane.runsAlone { isMoreLikely = true }
                continue
            }
            let isDeep = found[ask.lane]?.count ?? 0 >= ask.limit
            if isDeep { isMoreLikely = true }
            // what the total or the bytes left no room for may be deep still
            if isDeep || !isFull || index < lastRead { lanes[ask.lane]?.wasAsked(isDeep: isDeep) }
            if !isDeep, !isFull { lanes[ask.lane]?.drained() }
        }
        for (key, here) in found {
            var lane = lanes[key] ?? Lane(now: now)
            if here.lowest < lane.floor { lane.lower(to: here.lowest) }
            lane.claimed(lowest: here.lowest, highest: here.highest, at: now)
            lanes[key] = lane
        }
        lanes = lanes.filter { $0.key.runsAlone || now - $0.value.lastYield < Self.laneMemory }
        guard round.total > 0 else { return }
        expectsMore = isMoreLikely
        if !answer.claimed.isEmpty { lastFound = now }
        // A quarter of the time for which nothing has come: a task waits for a small part of the usual time between two, and
        // the polls from one to the next are few however far apart they are.
        let quiet = max(settings.poll.lowerBound, min((now - lastFound) / 4, settings.poll.upperBound))
        // A claim that finds nothing is quick, unless it walks what others are to run: then a fifth of the time is enough.
        let wish = answer.claimed.isEmpty ? min((now - sentAt) * 4, Self.longestPoll) : .zero
        let pause = pollPace.pause(after: wish, atLeast: jittered(quiet))
        if nextPoll <= now || !answer.claimed.isEmpty { nextPoll = now + pause }
        if let nudgedAt { heed(nudgedAt, round, foundNothing: answer.claimed.isEmpty, sentAt: sentAt, at: now) }
    }

    /// A nudge that came after the claim was sent is for the next one. One before it for which nothing was found is of a
    /// lane that nobody has asked for yet, or another relay was faster: then the lanes are looked for, though not at
    /// every nudge of a relay that is always too late.
    private mutating func heed(
        _ nudge: Duration, _ round: Round, foundNothing: Bool, sentAt: Duration, at now: Duration
    ) {
        if nudge > sentAt {
            nextPoll = now
            return
        }
        nudgedAt = nil
        if foundNothing, !round.discover {
            nextDiscovery = min(nextDiscovery, max(now, lastDiscovery + Self.shortestDiscovery))
            nextPoll = min(nextPoll, nextDiscovery)
        }
    }

    mutating func noteExchangeFailure(unknown: Bool, at now: Duration) {
        guard let (sent, _) = exchange else { return }
        exchange = nil
        // What was to be settled is sent again: a settlement is idempotent, its attempt being the fence. What was claimed
        // without our knowing is looked for by the next sweeps, until its lease must have ended.
        if unknown {
            if sent.round?.total ?? 0 > 0 {
                unheardUntil = now + settings.lease
                nextSweep = now
            }
            for hold in sent.succeeded { uncertain.insert(hold.seq) }
            for move in sent.failed { uncertain.insert(move.hold.seq) }
        }
        pending.succeeded = sent.succeeded + pending.succeeded
        pending.kindsOfSucceeded = sent.kindsOfSucceeded + pending.kindsOfSucceeded
        pending.failed = sent.failed + pending.failed
        pending.kindsOfFailed = sent.kindsOfFailed + pending.kindsOfFailed
        exchangeFailures += 1
        let most = min(5, 0.1 * Double(1 << min(exchangeFailures, 6)))
        nextExchange = now + .seconds(Double.random(in: 0.05...most, using: &random))
    }

    private mutating func jittered(_ duration: Duration) -> Duration {
        .seconds(duration.inSeconds * Double.random(in: 0.8...1, using: &random))
    }
}
