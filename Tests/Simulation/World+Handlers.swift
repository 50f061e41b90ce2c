// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import OutboxAudit
internal import OutboxCore

/// One attempt in a relay, from its claim until its handler returned.
struct Run: Sendable {
    let claim: Claimed
    let task: Int
    let place: Int
    let life: Int
    let plan: Plan
    var isStarted = false
    var isOver = false
    var startedAt: Int64 = 0
    /// Its entry in the ledger.
    var effect = 0
    var cancellation: Cancellation?
    var cancelledAt: Int64 = 0
    var hasCompleted = false
    /// Its own transaction is open, and has completed the task.
    var isCompleting = false
    var isCancelled: Bool { cancellation != nil }
    /// Without its lease, or at a stop, it may have been given up already: then its attempt counts for nothing.
    var mayBeFree: Bool { cancellation == .leaseLost || cancellation == .stopping }

    /// What the handler is going to do.
    struct Plan: Sendable {
        enum End: Sendable { case succeed, retry(charged: Bool), reject, vanish }
        var end = End.succeed
        /// How long it takes; `nil`: until it is cancelled.
        var takes: Int64?
        /// How long until it heeds its cancellation; `nil`: it does not.
        var heeds: Int64?
        /// What it returns when it is cancelled.
        var endWhenCancelled: End?
        /// When it completes the task in a transaction of its own.
        var completesAfter: Int64?
        /// How long that transaction goes on, and whether it is rolled back in the end.
        var commitsAfter: Int64 = 0
        var rollsBack = false
    }
}

extension World {
    private static let failure = Failure(type: "t", message: "")

    func makeRun(_ claim: Claimed, _ place: Int) -> Run {
        let task = Int(claim.hold.id.low)
        return Run(
            claim: claim, task: task, place: place, life: relays[place].life,
            plan: handlerPlan(task, attempt: Int(claim.hold.attempt)))
    }

    /// Follows from the task and the attempt alone.
    private func handlerPlan(_ task: Int, attempt: Int) -> Run.Plan {
        var random = dice.generator(.handler, task, attempt)
        var plan = Run.Plan()
        plan.heeds = random.within(100...milliseconds(50))
        // it may throw an error of its own, or come to its end all the same
        let late = random.next() % 10
        plan.endWhenCancelled = late == 0 ? .succeed : late == 1 ? .retry(charged: true) : nil
        let quick = random.within(100...milliseconds(300))
        plan.takes = quick
        guard let nature = plans[task]?.nature, let kind = plans[task]?.kind else { return plan }
        let some = 1 + task % 3
        switch nature {
        case .good: break
        case .long:
            plan.takes = random.within(milliseconds(100)...(kind == .loose ? scenario.lease * 3 : milliseconds(1900)))
        case .flaky: if attempt <= some { plan.end = .retry(charged: true) }
        case .throttled: if attempt <= some { plan.end = .retry(charged: false) }
        case .rejecting: plan.end = attempt >= some ? .reject : .retry(charged: true)
        case .failing: plan.end = .retry(charged: true)
        case .slow: if attempt <= some { plan.takes = seconds(30) }
        case .hanging: plan.takes = nil
        case .deaf:
            plan.heeds = nil
            plan.takes = random.within(seconds(1)...seconds(30))
            if random.chance(30) { plan.end = .retry(charged: true) }
        case .transactional:
            plan.completesAfter = quick
            // some linger after their commit, for longer than a lease
            plan.takes = quick + (random.chance(30) ? random.within(0...scenario.lease * 2) : 0)
            plan.rollsBack = random.chance(30)
            // mostly at once; some transactions stand open
            plan.commitsAfter = random.chance(70) ? 0 : random.within(0...scenario.lease)
            plan.takes = (plan.takes ?? 0) + plan.commitsAfter
            if random.chance(30) { plan.end = .retry(charged: true) }
        case .poison:
            plan.end = .vanish
            plan.endWhenCancelled = nil
        }
        return plan
    }

    mutating func begin(_ index: Int, _ place: Int) {
        let run = runs[index]
        let (task, hold) = (run.task, run.claim.hold)
        tell("\(name(place, run.life)) runs t\(task), attempt \(hold.attempt)")
        if let plan = plans[task] {
            let policy = scenario.policy(plan.kind)
            let attempts = max(plan.maxAttempts ?? 0, policy.retry.maxAttempts)
            let budget = attempts + policy.retry.maxCrashes - 1
            monitor.noteStart(of: plan, attempt: hold.attempt, budget: budget)
        }
        checkSolitude(of: index)
        runs[index].isStarted = true
        runs[index].startedAt = now
        runs[index].effect = ledgers.effects.count
        activeRuns += 1
        ledgers.effects.append(
            Ledgers.Effect(
                task: "t\(task)", payload: "p\(task)", attempt: Int(hold.attempt), by: name(place, run.life),
                start: now,
                isDeaf: run.plan.heeds == nil))
        if mutant == .settledBeforeRun { post(.finished(seq: hold.seq, .succeeded), to: place) }
        if let after = run.plan.completesAfter { agenda.plan(.completes(run: index), at: now + after) }
        if let takes = run.plan.takes { agenda.plan(.ends(run: index), at: now + takes) }
    }

    /// A suspect runs beside nothing but what was given up.
    private mutating func checkSolitude(of index: Int) {
        let run = runs[index]
        for (_, other) in relays[run.place].tasks where other != index {
            guard runs[other].isStarted, !runs[other].isOver else { continue }
            guard run.claim.hold.lane.runsAlone || runs[other].claim.hold.lane.runsAlone else { continue }
            // given up: it did not heed its cancellation in time
            guard !runs[other].isCancelled || now < runs[other].cancelledAt + scenario.grace else { continue }
            monitor.add(.notAlone, run.task, "beside t\(runs[other].task) in \(name(run.place, run.life))")
        }
    }

    mutating func cancel(_ index: Int, _ reason: Cancellation) {
        guard runs[index].isStarted, !runs[index].isOver, runs[index].cancellation == nil else { return }
        tell("\(name(runs[index].place, runs[index].life)) cancels t\(runs[index].task): \(reason)")
        runs[index].cancellation = reason
        runs[index].cancelledAt = now
        if let heeds = runs[index].plan.heeds { agenda.plan(.ends(run: index), at: now + heeds) }
    }

    /// The handler completes the task in a transaction of its own, which commits now or later, or rolls back.
    mutating func complete(_ index: Int) {
        let run = runs[index]
        guard !run.isCancelled, isAwake(index, .completes(run: index)) else { return }
        guard !isDatabaseDown, table.lock(run.claim.hold) else { return finish(index, .retry(charged: true)) }
        runs[index].hasCompleted = true
        runs[index].isCompleting = true
        guard run.plan.commitsAfter > 0 else { return commitCompletion(index) }
        tell("the handler of t\(run.task) has completed it in a transaction that stands open")
        agenda.plan(.commitsCompletion(run: index), at: now + run.plan.commitsAfter)
    }

    mutating func commitCompletion(_ index: Int) {
        let run = runs[index]
        guard run.isCompleting, isAwake(index, .commitsCompletion(run: index)) else { return }
        guard !run.plan.rollsBack, !isDatabaseDown else { return rollBackCompletion(index) }
        runs[index].isCompleting = false
        guard table.settle(run.claim.hold) else { return }
        ledgers.effects[run.effect].end = now
        ledgers.effects[run.effect].outcome = .succeeded
        noteChanges(by: chronicle == nil ? "" : "the handler of t\(run.task)")
    }

    mutating func rollBackCompletion(_ index: Int) {
        guard runs[index].isCompleting else { return }
        runs[index].isCompleting = false
        table.unlock(runs[index].claim.hold.id)
    }

    mutating func end(_ index: Int) {
        guard isAwake(index, .ends(run: index)) else { return }
        let plan = runs[index].plan
        guard runs[index].isCancelled, plan.heeds != nil, plan.takes.map({ now < runs[index].startedAt + $0 }) ?? true
        else {
            return finish(index, plan.end)
        }
        finish(index, plan.completesAfter == nil ? plan.endWhenCancelled : nil)
    }

    /// Whether the run still goes on and its process is awake; what a process that stands still does comes later.
    private mutating func isAwake(_ index: Int, _ happening: Agenda.Happening) -> Bool {
        guard runs[index].isStarted, !runs[index].isOver else { return false }
        let until = relays[runs[index].place].pausedUntil
        guard until > now else { return true }
        // soon after it is awake again, before the relay's own turn or after it
        agenda.plan(happening, at: until + Int64(index % 7) * 300)
        return false
    }

    /// - Parameter end: `nil`: it gave up because it was cancelled.
    private mutating func finish(_ index: Int, _ end: Run.Plan.End?) {
        // a handler that ends in the middle of its transaction rolls it back
        rollBackCompletion(index)
        let run = runs[index]
        runs[index].isOver = true
        activeRuns -= 1
        var outcome: Outcome
        switch end {
        case .succeed?:
            outcome = run.plan.completesAfter == nil ? .succeeded : .retry(Self.failure)
        case .retry(let charged)?:
            outcome = .retry(Self.failure, charged: charged)
            if charged, !run.hasCompleted, !run.mayBeFree { monitor.noteSpent(run.task) }
        case .reject?:
            outcome = .rejected(Self.failure)
            if !run.mayBeFree { monitor.noteSpent(run.task) }
        case .vanish?:
            tell("t\(run.task) makes \(name(run.place, run.life)) vanish")
            runs[index].isOver = false
            activeRuns += 1
            return vanish(run.place, becauseOf: run.task)
        case nil: outcome = .released
        }
        if ledgers.effects[run.effect].end == nil {
            ledgers.effects[run.effect].end = now
            ledgers.effects[run.effect].outcome = outcome == .succeeded ? .succeeded : .failed
        }
        // a deaf one may have been given up, and done again
        if run.plan.heeds == nil { explainedDuplicates += 1 }
        if run.hasCompleted { outcome = .completed(orElse: outcome) }
        tell("t\(run.task), attempt \(run.claim.hold.attempt), comes to \(outcome.summary)")
        post(.finished(seq: run.claim.hold.seq, outcome), to: run.place)
    }
}
