// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// Running suspects alone: tasks whose last relay vanished may be what made it vanish, so nothing else runs beside them.
///
///     normal ──a lane of suspects has work, and its turn has come──▶ draining (no other claims)
///        ▲                                                              │ nothing runs
///        │ settled, or nothing found                                    ▼
///        └──────────────────────────────────────────────────────────── alone (one task)
///
/// After each turn, ordinary tasks have as much time as the turn took, so that suspects take at most half of it; and a
/// second at least if the turn found nothing, as when another relay is running the suspect. A turn for which the ordinary
/// tasks do not return in time is given up, and the next waits twice as long: as attempts have timeouts, the suspects
/// have their turn in the end.
struct Solitude: Sendable {
    enum Phase: Sendable, Equatable {
        case normal
        case draining(since: Duration)
        case alone(since: Duration)
    }
    private(set) var phase = Phase.normal
    private var notBefore: Duration = .zero
    private var foundOne = false
    /// How long ordinary tasks may take to return before the turn is given up.
    private var patience = Self.firstPatience
    private static let firstPatience: Duration = .seconds(30)
    /// Twice the default timeout of a task: a bound on the time without claims that one suspect may cost.
    private static let mostPatience: Duration = .seconds(600)

    var isNormal: Bool { phase == .normal }

    /// Moves on, given whether a lane of suspects has work and whether anything runs; true: claim one suspect now.
    mutating func advance(hasSuspects: Bool, isIdle: Bool, at now: Duration) -> Bool {
        switch phase {
        case .normal:
            guard hasSuspects, now >= notBefore else { return false }
            phase = .draining(since: now)
            return advance(hasSuspects: hasSuspects, isIdle: isIdle, at: now)
        case .draining(let since):
            if !hasSuspects {
                end(since: since, at: now)
                return false
            }
            if isIdle {
                phase = .alone(since: since)
                patience = Self.firstPatience
                return true
            }
            if now - since > patience {
                patience = min(patience * 2, Self.mostPatience)
                end(since: since, at: now)
            }
            return false
        case .alone(let since):
            if isIdle { end(since: since, at: now) }
            return false
        }
    }

    /// The turn's claim came back with a task.
    mutating func found() { foundOne = true }

    private mutating func end(since: Duration, at now: Duration) {
        phase = .normal
        notBefore = now + max(now - since, foundOne ? .zero : .seconds(1))
        foundOne = false
    }
}
