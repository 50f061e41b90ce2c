// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import OutboxCore

/// What is to happen in one run: tasks, relays and faults, drawn from a seed, and small enough to be made smaller.
package struct Scenario: Sendable {
    package let seed: UInt64
    /// How many steps the storm has; then no more faults happen, and everything has to come to its end.
    package var steps: Int
    package var relays: Int
    package var tasks: [TaskPlan]
    package var faults: [PlannedFault]
    /// The lease and what goes with it.
    let lease: Int64
    let sweep: Int64
    let capacity: Int
    let grace: Int64
    /// Whether there are tasks that are acknowledged before they run; without, relays claim ahead of their places.
    let hasEarly: Bool

    /// A task that a writer inserts.
    package struct TaskPlan: Sendable {
        let number: Int
        /// The step at which it is inserted and draws its seq.
        let step: Int
        /// How long until its transaction ends.
        let commitDelay: Int64
        let rollsBack: Bool
        let kind: Kind
        let lane: String
        package var nature: Nature
        let delay: Int64
        let expiresAfter: Int64?
        let maxAttempts: Int?
    }

    package enum Kind: String, Sendable, CaseIterable {
        /// Retried, and alone after its relay vanished.
        case plain
        /// Not alone, and its runs may be longer than leases.
        case loose
        /// Acknowledged before it runs.
        case early
        /// Only the first relay can run it.
        case rare
        /// For an endpoint that its producer named.
        case hook
    }

    /// How a task's handler behaves.
    package enum Nature: String, Sendable, CaseIterable {
        case good, long, flaky, throttled, rejecting, failing, slow, hanging, deaf
        /// Completes in a transaction of its own, or fails to.
        case transactional
        /// Makes its relay vanish.
        case poison
    }

    package struct PlannedFault: Sendable {
        package enum Kind: String, Sendable, CaseIterable {
            case crash, pause, stop
            case callRefused = "call-refused"
            case requestLost = "request-lost"
            case replyLost = "reply-lost"
            case slowReply = "slow-reply"
            case lateRequest = "late-request"
            case renewalLost = "renewal-lost"
            case clockForward = "clock-forward"
            case clockBack = "clock-back"
            case outage
        }
        let step: Int
        package let kind: Kind
        let relay: Int
        /// Decides about whatever the kind leaves open.
        let roll: UInt64
    }

    /// The most steps that the end may take after the storm.
    var mostSteps: Int { steps + 100_000 }
}

extension Scenario {
    /// Draws a scenario. About a tenth of the steps have a fault.
    package init(seed: UInt64, steps: Int = 1000) {
        let dice = Dice(seed: seed)
        var random = dice.generator(.settings)
        self.seed = seed
        self.steps = steps
        relays = Int(random.within(1...3))
        lease = random.within(1500...6000) * 1000
        sweep = random.within(300...2000) * 1000
        capacity = Int(random.within(1...8))
        grace = random.within(100...1000) * 1000
        let hasEarly = random.chance(50)
        self.hasEarly = hasEarly
        // some runs are calmer, so that also the rare meeting of few things is seen
        let share = [2, 5, 10, 10, 20][Int(random.next() % 5)]
        tasks = (0..<Int(random.within(5...40))).map {
            TaskPlan(number: $0, steps: steps, hasEarly: hasEarly, dice)
        }
        var faults: [PlannedFault] = []
        for step in 0..<steps {
            var random = dice.generator(.fault, step)
            guard random.chance(UInt64(share)) else { continue }
            let kinds = PlannedFault.Kind.allCases
            faults.append(
                PlannedFault(
                    step: step, kind: kinds[Int(random.next() % UInt64(kinds.count))], relay: Int(random.next() % 3),
                    roll: random.next()))
        }
        self.faults = faults
    }

    /// The same for all of a seed's tasks and relays.
    func policy(_ kind: Kind) -> KindPolicy {
        let backoff = Backoff(base: .milliseconds(50), cap: .seconds(4))
        switch kind {
        case .plain, .rare:
            return KindPolicy(retry: RetryPolicy(maxAttempts: 4, backoff: backoff), timeout: .seconds(2))
        case .loose:
            return KindPolicy(
                retry: RetryPolicy(maxAttempts: 5, backoff: backoff), timeout: .seconds(20), runsAloneAfterCrash: false)
        case .early: return KindPolicy(timeout: .seconds(2), acknowledgesEarly: true)
        case .hook: return KindPolicy(retry: RetryPolicy(maxAttempts: 6, backoff: backoff), timeout: .seconds(3))
        }
    }

    func settings(relay: Int) -> Engine.Settings {
        var settings = Engine.Settings()
        settings.capacity = capacity
        settings.lease = .microseconds(lease)
        settings.sweepInterval = .microseconds(sweep)
        settings.cancellationGrace = .microseconds(grace)
        settings.poll = .milliseconds(20) ... .milliseconds(500)
        for kind in Kind.allCases where kind != .hook && (kind != .rare || relay == 0) && (kind != .early || hasEarly) {
            settings.kinds[kind.rawValue] = policy(kind)
        }
        settings.endpoints["ep"] = policy(.hook)
        return settings
    }
}

extension Scenario.TaskPlan {
    init(number: Int, steps: Int, hasEarly: Bool, _ dice: Dice) {
        var random = dice.generator(.task, number)
        let kinds: [Scenario.Kind] = [.plain, .plain, .plain, .loose, .loose, hasEarly ? .early : .plain, .rare, .hook]
        let natures: [Scenario.Nature] = [
            .good, .good, .good, .good, .good, .good, .long, .long, .flaky, .throttled, .rejecting, .failing, .slow,
            .hanging,
            .deaf, .transactional, .transactional, .transactional,
        ]
        self.number = number
        step = Int(random.next() % UInt64(max(1, steps * 3 / 4)))
        commitDelay = random.chance(25) ? random.within(0...seconds(10)) : random.within(0...milliseconds(5))
        rollsBack = random.chance(6)
        let kind = kinds[Int(random.next() % UInt64(kinds.count))]
        var nature = natures[Int(random.next() % UInt64(natures.count))]
        // what makes relays vanish runs alone only if its kind says so
        if kind == .plain, random.chance(8) { nature = .poison }
        self.kind = kind
        self.nature = nature
        let queues = ["0:now", "5:default", "5:mail"]
        lane = queues[Int(random.next() % 3)] + (kind == .hook ? ":e=ep" : "")
        delay = random.chance(15) ? random.within(0...seconds(10)) : 0
        expiresAfter = random.chance(6) ? delay + random.within(milliseconds(500)...seconds(20)) : nil
        maxAttempts = random.chance(10) ? Int(random.within(1...3)) : nil
    }

    var id: TaskID { TaskID(high: 0, low: UInt64(number)) }
}
