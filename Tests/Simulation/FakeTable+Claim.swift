// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

package import OutboxCore

// promote_v1, rescue_v1, lanes_v1 and claim_v1.

extension FakeTable {
    /// How many leases one rescue ends.
    private static let mostRescues = 500

    /// What a claim comes to.
    package struct Claims: Sendable {
        package var claimed: [Claimed] = []
        package var news: Answer.News
    }

    package mutating func claim(_ round: Round, relay: Int, lease: Int64, scope: Scope) -> Claims {
        let promoted = round.promote.map { promote(within: $0 == .recent ? seconds(120) : nil) } ?? 0
        let rescued = round.rescue ? rescue(round, relay: relay, scope: scope) : 0
        let found = round.discover ? discover(known: round.asks.map(\.lane), scope: scope) : []
        var claims = Claims(
            news: Answer.News(currentSlot: currentSlot, promoted: promoted, rescued: rescued, found: found))
        guard round.total > 0 else { return claims }
        for ask in round.asks where ask.limit > 0 {
            take(ask.lane, from: ask.floor, most: ask.limit, round.total, relay, lease, scope, &claims.claimed)
        }
        for lane in found where !lane.runsAlone {
            take(lane, from: 0, most: max(round.total, 1), round.total, relay, lease, scope, &claims.claimed)
        }
        return claims
    }

    private mutating func take(
        _ lane: LaneKey, from floor: Int64, most: Int, _ total: Int, _ relay: Int, _ lease: Int64, _ scope: Scope,
        _ claimed: inout [Claimed]
    ) {
        var floor = floor
        if mutant == .floorWithoutSweep {
            floor = max(floor, highestFloors[lane] ?? 0)
            highestFloors[lane] = floor
        }
        var left = min(most, total - claimed.count)
        for index in ready.indices {
            guard left > 0 else { return }
            guard ready[index].relay == nil, ready[index].seq >= floor, ready[index].slot == lane.slot,
                ready[index].lane == lane.name
            else { continue }
            let isForCaller = scope.canRun(ready[index])
            guard isForCaller || mutant == .claimIgnoresKinds else { continue }
            left -= 1
            let wasAcknowledged = ready[index].acknowledged
            ready[index].attempt += 1
            ready[index].relay = relay
            ready[index].leaseUntil = clock + lease
            if ready[index].endpoint == nil, scope.early.contains(ready[index].kind) {
                ready[index].acknowledged = true
            }
            let row = ready[index]
            changes.append(.claimed(row, isForCaller: isForCaller))
            if mutant == .countAfterRun { ready[index].attempt -= 1 }
            claimed.append(
                Claimed(
                    hold: Hold(lane: lane, seq: row.seq, attempt: row.attempt, id: row.id), kind: row.kind,
                    endpoint: row.endpoint, charged: Int(row.charged), crashed: Int(row.crashed),
                    acknowledged: wasAcknowledged, maxAttempts: row.maxAttempts,
                    age: .microseconds(clock - (row.dueAt ?? row.enqueuedAt)),
                    expiresIn: row.expiresAt.map { .microseconds($0 - clock) }))
        }
    }

    private mutating func promote(within: Int64?) -> Int {
        let earliest = within.map { clock - $0 } ?? .min
        // the common case
        guard later.contains(where: { $0.runAt <= clock && $0.runAt >= earliest }) else { return 0 }
        var due = later.filter { $0.runAt <= clock && $0.runAt >= earliest }
        due.sort { ($0.runAt, $0.seq) < ($1.runAt, $1.seq) }
        due = Array(due.prefix(Engine.mostPromotions))
        for row in due {
            later.removeAll { $0.seq == row.seq }
            var row = row
            row.acknowledged = false
            insertAnew(row)
        }
        return due.count
    }

    private mutating func rescue(_ round: Round, relay: Int, scope: Scope) -> Int {
        var gone: [(row: Row, unheard: Bool)] = []
        for ask in round.asks {
            for row in ready where gone.count < Self.mostRescues {
                guard let holder = row.relay, !row.isLocked, row.seq <= ask.ceiling, row.slot == ask.lane.slot,
                    row.lane == ask.lane.name,
                    scope.canRun(row)
                else { continue }
                let unheard = holder == relay && round.held?.contains(row.seq) == false
                guard row.leaseUntil < clock || row.leaseUntil > clock + longestBelievedLease || unheard else {
                    continue
                }
                gone.append((row, unheard))
            }
        }
        guard !gone.isEmpty else { return 0 }
        gone.sort { ($0.row.lane, $0.row.seq) < ($1.row.lane, $1.row.seq) }
        for (row, unheard) in gone {
            ready.removeAll { $0.seq == row.seq }
            changes.append(.rescued(row, by: relay, unheard: unheard))
            var row = row
            if !unheard {
                if mutant != .rescueWithoutCrash { row.crashed += 1 }
                let isIsolated = row.endpoint == nil && scope.isolated.contains(row.kind)
                if isIsolated, !row.lane.hasSuffix(":!"), mutant != .suspectsAmongOthers { row.lane += ":!" }
            }
            if mutant == .acknowledgementForgotten { row.acknowledged = false }
            insertAnew(row)
        }
        return gone.count
    }

    /// The lanes that hold rows and are not known, in the order in which the scan comes to them: the first of each gap
    /// between known ones, then the second ones, and so on.
    private func discover(known: [LaneKey], scope: Scope) -> [LaneKey] {
        var unknown: [LaneKey] = []
        for row in ready {
            let key = LaneKey(slot: row.slot, name: row.lane)
            if !known.contains(key), !unknown.contains(key) { unknown.append(key) }
        }
        guard !unknown.isEmpty else { return [] }
        unknown.sort { ($0.slot, $0.name) < ($1.slot, $1.name) }
        func depth(_ place: Int) -> Int {
            var depth = 0
            var place = place
            while place > 0, unknown[place - 1].slot == unknown[place].slot,
                !known.contains(where: {
                    $0.slot == unknown[place].slot && $0.name > unknown[place - 1].name && $0.name < unknown[place].name
                })
            {
                depth += 1
                place -= 1
            }
            return depth
        }
        let ordered = unknown.indices.map { (depth: depth($0), place: $0) }
            .sorted { ($0.depth, $0.place) < ($1.depth, $1.place) }
        return ordered.map { unknown[$0.place] }.filter { lane in
            // a lane of tasks that run alone, only if there is something for the caller to claim or to rescue
            !lane.runsAlone
                || ready.contains {
                    $0.slot == lane.slot && $0.lane == lane.name && scope.canRun($0)
                        && ($0.relay == nil || $0.leaseUntil < clock || $0.leaseUntil > clock + longestBelievedLease)
                }
        }
    }
}
