// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import OutboxCore

/// One request of a relay to the database, and what becomes of it.
///
///     sent ──▶ arrives: executed ──▶ returns: answered
///       │         │                    ├─ the reply is slow, and answered perhaps after the relay stood still
///       │         │                    └─ the reply is lost: failed, unknown
///       │         └─ after it was given up: executed late
///       ├─ refused: failed, not executed
///       └─ lost: failed at the deadline, unknown
struct Call: Sendable {
    enum Fate: Sendable {
        case normal, refused, requestLost, replyLost, slowReply, lateRequest
    }
    enum Request: Sendable {
        case exchange(Exchange)
        case renewal([Hold])
    }
    let place: Int
    let life: Int
    var request: Request
    var fate: Fate
    let sentAt: Int64
    let deadline: Int64
    /// What it returns.
    var event: Event?
    /// Arrivals and returns that are still to come.
    var toCome = 0
    var random: SeededGenerator
}

extension World {
    mutating func send(_ exchange: Exchange, _ place: Int) {
        let fate = relays[place].armed.popLast() ?? .normal
        send(.exchange(exchange), fate, place)
    }

    mutating func send(_ holds: [Hold], _ place: Int) {
        let fate = relays[place].armedRenewals.popLast() ?? .normal
        send(.renewal(holds), fate, place)
    }

    private mutating func send(_ request: Call.Request, _ fate: Call.Fate, _ place: Int) {
        callsSent += 1
        var random = dice.generator(.call, relays[place].life, callsSent)
        let timeout = max(seconds(2), min(seconds(15), scenario.lease / 2))
        let way = random.chance(90) ? random.within(100...3000) : random.within(3000...50000)
        var call = Call(
            place: place, life: relays[place].life, request: request, fate: fate, sentAt: now, deadline: now + timeout,
            random: random)
        if chronicle != nil { tellOfSending(call) }
        let number = freeCalls.popLast() ?? calls.count
        switch fate {
        case .normal, .slowReply, .replyLost:
            call.toCome = 1
            agenda.plan(.arrives(call: number), at: now + way)
        case .refused:
            call.toCome = 1
            call.event = failure(of: call, unknown: false)
            agenda.plan(.returns(call: number), at: now + way)
        case .requestLost:
            call.toCome = 1
            call.event = failure(of: call, unknown: true)
            agenda.plan(.returns(call: number), at: call.random.within(now + way...call.deadline))
        case .lateRequest:
            call.toCome = 2
            call.event = failure(of: call, unknown: true)
            agenda.plan(.returns(call: number), at: call.deadline)
            agenda.plan(.arrives(call: number), at: call.deadline + call.random.within(1...scenario.lease * 2))
        }
        if number == calls.count { calls.append(call) } else { calls[number] = call }
    }

    private func failure(of call: Call, unknown: Bool) -> Event {
        switch call.request {
        case .exchange: .exchangeFailed(unknown: unknown)
        case .renewal: .renewalFailed
        }
    }

    /// A request is at the database.
    mutating func arrive(_ number: Int) {
        let isLate = calls[number].fate == .lateRequest
        if isDatabaseDown {
            // refused, or under way when the database went down
            if !isLate {
                let unknown = calls[number].random.chance(50)
                calls[number].event = failure(of: calls[number], unknown: unknown)
                return agenda.plan(.returns(call: number), at: now + calls[number].random.within(100...20000))
            }
            return release(number)
        }
        if mustWait(number) { return }
        let event = execute(number, isLate: isLate)
        let call = calls[number]
        switch call.fate {
        case .lateRequest: return release(number)
        case .normal:
            calls[number].event = event
            agenda.plan(.returns(call: number), at: now + calls[number].random.within(100...3000))
        case .slowReply:
            calls[number].event = event
            agenda.plan(.returns(call: number), at: calls[number].random.within(now...max(now, call.deadline)))
        case .replyLost, .refused, .requestLost:
            calls[number].event = failure(of: call, unknown: true)
            agenda.plan(.returns(call: number), at: calls[number].random.within(now...max(now, call.deadline)))
        }
    }

    /// A settlement waits for a handler's transaction that has completed its task. After the lock timeout the relay sends
    /// its settlements one by one, leaves this one to its lease, and claims nothing.
    private mutating func mustWait(_ number: Int) -> Bool {
        guard case .exchange(let exchange) = calls[number].request else { return false }
        let holds = exchange.succeeded + exchange.failed.map(\.hold)
        guard holds.contains(where: { table.mustWait($0) }) else { return false }
        let call = calls[number]
        if now < call.sentAt + (call.deadline - call.sentAt) / 2 {
            agenda.plan(.arrives(call: number), at: now + milliseconds(20))
            return true
        }
        var rest = exchange
        rest.succeeded.removeAll { table.mustWait($0) }
        rest.failed.removeAll { table.mustWait($0.hold) }
        rest.round = nil
        tell("\(name(call.place, call.life)) leaves a settlement to its lease")
        calls[number].request = .exchange(rest)
        return false
    }

    private mutating func execute(_ number: Int, isLate: Bool) -> Event {
        let call = calls[number]
        let event: Event
        switch call.request {
        case .exchange(let exchange):
            let answer = table.perform(
                exchange, relay: call.life, lease: scenario.lease, scope: relays[call.place].scope)
            event = .answered(answer)
        case .renewal(let holds):
            event = .renewed(table.renew(holds, lease: scenario.lease))
        }
        noteChanges(
            by: chronicle == nil ? "" : "\(name(call.place, call.life))\(isLate ? ", late" : "")", isLate: isLate)
        return event
    }

    /// The monitor looks at what the table has just done.
    mutating func noteChanges(by who: String, isLate: Bool = false) {
        for change in table.changes {
            monitor.note(change, clock: table.clock, isLate: isLate)
            if chronicle != nil { tell("  \(who) \(change.summary)") }
        }
        table.changes.removeAll(keepingCapacity: true)
    }

    /// A relay hears of its call, if it is still there.
    mutating func returned(_ number: Int) {
        let call = calls[number]
        defer { release(number) }
        guard relays[call.place].life == call.life, let event = call.event else { return }
        if case .exchangeFailed(let unknown) = event {
            tell("\(name(call.place, call.life)) hears that its exchange failed\(unknown ? ", perhaps" : "")")
        }
        post(event, to: call.place)
    }

    private mutating func release(_ number: Int) {
        calls[number].toCome -= 1
        guard calls[number].toCome <= 0 else { return }
        calls[number].event = nil
        freeCalls.append(number)
    }
}
