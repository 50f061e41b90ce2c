// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import OutboxAudit
internal import OutboxCore

/// A relay's process: a real engine, and in miniature the shell around it.
struct SimulatedRelay: Sendable {
    let settings: Engine.Settings
    let scope: FakeTable.Scope
    var engine: Engine
    /// Which of all runs of all processes this is, and the identity that claims carry; 0: it is not running.
    var life = 0
    var began: Int64 = 0
    var inbox: [Event] = []
    var hasTurn = false
    var wakeAt: Int64?
    var pausedUntil: Int64 = 0
    /// Tasks that are claimed and neither succeeded nor settled.
    var tasks: [(seq: Int64, run: Int)] = []
    /// Faults that wait for the next call, and for the next renewal.
    var armed: [Call.Fate] = []
    var armedRenewals: [Call.Fate] = []
    var stopsBy: Int64?

    init(settings: Engine.Settings) {
        self.settings = settings
        scope = FakeTable.Scope(settings)
        engine = Engine(settings: settings, seed: 0)
    }
}

extension World {
    func name(_ place: Int, _ life: Int) -> String { "r\(place).\(life)" }

    mutating func start(_ place: Int) {
        guard relays[place].life == 0 else { return }
        lives += 1
        tell("\(name(place, lives)) starts")
        relays[place].life = lives
        relays[place].began = now
        var random = dice.generator(.relay, lives)
        relays[place].engine = Engine(settings: relays[place].settings, seed: random.next())
        planTurn(place)
    }

    /// Its process is gone, with all that it knew. Calls that are under way are executed all the same.
    mutating func vanish(_ place: Int, becauseOf culprit: Int? = nil) {
        let life = relays[place].life
        guard life != 0 else { return }
        var company = 0
        for index in runs.indices.reversed() where runs[index].life == life {
            guard runs[index].isStarted, !runs[index].isOver else { continue }
            rollBackCompletion(index)
            runs[index].isOver = true
            activeRuns -= 1
            explainedDuplicates += 1
            if !runs[index].mayBeFree { monitor.noteSpent(runs[index].task) }
            if runs[index].task != culprit, !runs[index].isCancelled { company += 1 }
        }
        if let culprit, company > 0 { monitor.noteCompany(culprit, company) }
        reset(place)
        var random = dice.generator(.relay, life, 1)
        agenda.plan(.starts(relay: place), at: now + random.within(milliseconds(100)...seconds(3)))
    }

    private mutating func reset(_ place: Int) {
        relays[place].life = 0
        relays[place].inbox = []
        relays[place].hasTurn = false
        relays[place].wakeAt = nil
        relays[place].pausedUntil = 0
        relays[place].tasks = []
        relays[place].armed = []
        relays[place].armedRenewals = []
        relays[place].stopsBy = nil
    }

    // MARK: - Turns

    /// A message for a relay, which takes all that has come at its next turn.
    mutating func post(_ event: Event, to place: Int) {
        guard relays[place].life != 0 else { return }
        relays[place].inbox.append(event)
        planTurn(place)
    }

    private mutating func planTurn(_ place: Int) {
        guard !relays[place].hasTurn else { return }
        relays[place].hasTurn = true
        var random = dice.generator(.turn, relays[place].life, Int(truncatingIfNeeded: now))
        let delay = random.chance(70) ? random.within(10...100) : random.within(100...2000)
        agenda.plan(.turn(relay: place, life: relays[place].life), at: max(now, relays[place].pausedUntil) + delay)
    }

    mutating func wake(_ place: Int, _ life: Int) {
        guard relays[place].life == life else { return }
        post(.woke, to: place)
    }

    mutating func takeTurn(_ place: Int, _ life: Int) {
        guard relays[place].life == life else { return }
        if relays[place].pausedUntil > now {
            return agenda.plan(.turn(relay: place, life: life), at: relays[place].pausedUntil)
        }
        relays[place].hasTurn = false
        let events = relays[place].inbox
        relays[place].inbox.removeAll(keepingCapacity: true)
        for event in events {
            switch event {
            case .woke: relays[place].wakeAt = nil
            case .finished(let seq, .succeeded): relays[place].tasks.removeAll { $0.seq == seq }
            case .answered(let answer): for claim in answer.claimed { take(claim, place) }
            default: break
            }
        }
        let elapsed = now - relays[place].began
        let commands = relays[place].engine.handle(events, at: .microseconds(elapsed))
        for command in commands { perform(command, place) }
        guard relays[place].life == life, let next = relays[place].engine.nextWake else { return }
        let wake = relays[place].began + next.inMicrosecondsRoundedUp
        guard relays[place].wakeAt.map({ wake < $0 }) ?? true else { return }
        relays[place].wakeAt = wake
        agenda.plan(.wakes(relay: place, life: life), at: max(wake, now))
    }

    private mutating func take(_ claim: Claimed, _ place: Int) {
        guard !relays[place].tasks.contains(where: { $0.seq == claim.hold.seq }) else { return }
        relays[place].tasks.append((claim.hold.seq, runs.count))
        runs.append(makeRun(claim, place))
    }

    private mutating func perform(_ command: Command, _ place: Int) {
        switch command {
        case .exchange(let exchange): send(exchange, place)
        case .renew(let holds): send(holds, place)
        case .start(let seq):
            if let task = relays[place].tasks.first(where: { $0.seq == seq }) {
                begin(task.run, place)
            } else {
                post(.finished(seq: seq, .released), to: place)
            }
        case .cancel(let seq, let reason):
            guard let task = relays[place].tasks.first(where: { $0.seq == seq }) else { return }
            if mutant != .cancellationUnheard { cancel(task.run, reason) }
        case .forget(let seq): relays[place].tasks.removeAll { $0.seq == seq }
        case .stopped(let unsettled): stopped(place, unsettled: unsettled)
        case .report(let report): tell("\(name(place, relays[place].life)) reports \(report)")
        case .buried, .deliverAlerts: break
        }
    }

    /// A graceful stop has come to its end: the process exits, and with it what ignored its cancellation.
    private mutating func stopped(_ place: Int, unsettled: Int) {
        let life = relays[place].life
        tell("\(name(place, life)) has stopped, \(unsettled) unsettled")
        for index in runs.indices.reversed() where runs[index].life == life {
            guard runs[index].isStarted, !runs[index].isOver else { continue }
            rollBackCompletion(index)
            runs[index].isOver = true
            activeRuns -= 1
            explainedDuplicates += 1
        }
        explainedDuplicates += unsettled
        reset(place)
        var random = dice.generator(.relay, life, 2)
        agenda.plan(.starts(relay: place), at: now + random.within(milliseconds(100)...seconds(3)))
    }
}

extension Duration {
    /// A timer never goes off early.
    var inMicrosecondsRoundedUp: Int64 {
        let (seconds, attoseconds) = components
        return seconds * 1_000_000 + (attoseconds + 999_999_999_999) / 1_000_000_000_000
    }
}
