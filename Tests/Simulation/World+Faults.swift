// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import OutboxAudit
internal import OutboxCore

// What goes wrong, and how the world becomes quiet again.

extension World {
    mutating func strike(_ fault: Scenario.PlannedFault) {
        let place = fault.relay % relays.count
        var random = SeededGenerator(seed: fault.roll)
        // whoever loses a lease by it, or a reply, may have done its tasks, and they are done again
        explainedDuplicates += scenario.capacity * relays.count
        tell("FAULT \(fault.kind.rawValue), relay \(place)")
        switch fault.kind {
        case .crash: vanish(place)
        case .pause:
            guard relays[place].life != 0 else { return }
            let until = now + random.within(milliseconds(50)...scenario.lease * 3)
            guard until > relays[place].pausedUntil else { return }
            ledgers.pauses.append(Ledgers.Pause(by: name(place, relays[place].life), from: now, until: until))
            relays[place].pausedUntil = until
        case .stop:
            guard relays[place].life != 0 else { return }
            let grace = random.within(0...seconds(3))
            relays[place].stopsBy = relays[place].stopsBy ?? now + grace + scenario.grace + seconds(30)
            post(.stop(grace: .microseconds(grace)), to: place)
        case .callRefused: arm(place, .refused)
        case .requestLost: arm(place, .requestLost)
        case .replyLost: arm(place, .replyLost)
        case .slowReply: arm(place, .slowReply)
        case .lateRequest: arm(place, .lateRequest)
        case .renewalLost:
            let fates: [Call.Fate] = [.refused, .requestLost, .replyLost, .slowReply, .lateRequest]
            guard relays[place].life != 0 else { return }
            relays[place].armedRenewals.append(fates[Int(random.next() % 5)])
        case .clockForward: table.clock += clockStep(&random)
        case .clockBack: table.clock -= clockStep(&random)
        case .outage:
            guard !isDatabaseDown else { return }
            isDatabaseDown = true
            agenda.plan(.databaseReturns, at: now + random.within(milliseconds(10)...scenario.lease * 2))
        }
    }

    private mutating func arm(_ place: Int, _ fate: Call.Fate) {
        guard relays[place].life != 0 else { return }
        relays[place].armed.append(fate)
    }

    /// Often about a lease, sometimes hours.
    private func clockStep(_ random: inout SeededGenerator) -> Int64 {
        random.chance(70)
            ? random.within(milliseconds(100)...scenario.lease * 2) : random.within(seconds(60)...seconds(3 * 3600))
    }

    /// No more faults: the database stays up, calls arrive, and every relay that is down starts again by itself.
    mutating func becomeQuiet() {
        tell("all is quiet from here on")
        isQuiet = true
        isDatabaseDown = false
        for place in relays.indices {
            relays[place].armed = []
            relays[place].armedRenewals = []
        }
    }
}
