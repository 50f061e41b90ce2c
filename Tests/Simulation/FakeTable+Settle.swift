// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

package import OutboxCore

// settle_v1, fail_v1, complete_v1 and renew_v1.

extension FakeTable {
    /// One exchange: settlements first, then a claim, in one transaction.
    package mutating func perform(_ exchange: Exchange, relay: Int, lease: Int64, scope: Scope) -> Answer {
        var answer = Answer()
        for hold in exchange.succeeded where settle(hold) { answer.settled.append(hold.seq) }
        if !exchange.failed.isEmpty { answer.settled += fail(exchange.failed) }
        if let round = exchange.round {
            let claims = claim(round, relay: relay, lease: lease, scope: scope)
            answer.claimed = claims.claimed
            answer.news = claims.news
        }
        return answer
    }

    /// The row that a hold names; `nil`: another attempt has it, or it is settled already.
    private func held(_ hold: Hold) -> Int? {
        let attempt = mutant == .countAfterRun ? hold.attempt - 1 : hold.attempt
        return ready.firstIndex {
            $0.seq == hold.seq && $0.attempt == attempt && $0.id == hold.id && $0.relay != nil
                && $0.slot == hold.lane.slot
                && $0.lane == hold.lane.name
        }
    }

    private func settled(_ hold: Hold) -> Int? {
        mutant == .noFence ? ready.firstIndex { $0.id == hold.id } : held(hold)
    }

    package mutating func settle(_ hold: Hold) -> Bool {
        guard let index = settled(hold) else { return false }
        ready[index].isLocked = false
        changes.append(.settled(ready.remove(at: index), asked: hold.attempt))
        return true
    }

    /// `complete_v1` in a transaction that goes on.
    package mutating func lock(_ hold: Hold) -> Bool {
        guard let index = settled(hold), !ready[index].isLocked else { return false }
        ready[index].isLocked = true
        return true
    }

    /// The transaction that completed a task is rolled back.
    package mutating func unlock(_ id: TaskID) {
        for index in ready.indices where ready[index].id == id { ready[index].isLocked = false }
    }

    /// Whether a settlement would wait for a transaction that completed its task.
    func mustWait(_ hold: Hold) -> Bool { settled(hold).map { ready[$0].isLocked } ?? false }

    package mutating func fail(_ moves: [Move]) -> [Int64] {
        var settledSeqs: [Int64] = []
        var released: [Row] = []
        for move in moves {
            guard let index = settled(move.hold) else { continue }
            var row = ready.remove(at: index)
            changes.append(.failed(row, asked: move.hold.attempt, move.target))
            settledSeqs.append(move.hold.seq)
            if mutant == .countAfterRun { row.attempt += 1 }
            if move.charged, move.target != .ready { row.charged += 1 }
            // a task that came to its end alone has not killed its relay: it may run among others again
            if move.target != .ready, row.lane.hasSuffix(":!") { row.lane.removeLast(2) }
            row.acknowledged = false
            switch move.target {
            case .ready:
                if mutant == .attemptGivenBack { row.attempt -= 1 }
                released.append(row)
            case .later(let delay):
                row.runAt = clock + delay.inMicroseconds
                row.relay = nil
                row.leaseUntil = .min
                row.seq = nextSeq()
                later.append(row)
            case .dead(let reason): dead.append(DeadRow(row: row, reason: reason, diedAt: time))
            }
        }
        released.sort { ($0.lane, $0.seq) < ($1.lane, $1.seq) }
        for row in released { insertAnew(row) }
        return settledSeqs
    }

    package mutating func renew(_ holds: [Hold], lease: Int64) -> [Int64] {
        var renewed: [Int64] = []
        for hold in holds {
            let index =
                mutant == .renewalIgnoresAttempt
                ? ready.firstIndex { $0.id == hold.id && $0.relay != nil } : held(hold)
            guard let index else { continue }
            if ready[index].isLocked {
                // it waits for nobody: a lease that has not ended is still held
                if ready[index].leaseUntil > clock { renewed.append(hold.seq) }
                continue
            }
            let before = ready[index].leaseUntil
            ready[index].leaseUntil = clock + lease
            changes.append(.renewed(ready[index], asked: hold.attempt, before: before))
            renewed.append(hold.seq)
        }
        return renewed
    }
}
