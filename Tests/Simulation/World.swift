// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import OutboxAudit
internal import OutboxCore

/// Everything that there is in one run: the table, the relays with their engines, the writers, time and chance.
///
///     agenda ──▶ a relay's turn ──▶ engine ──commands──▶ calls to the table, runs of handlers ──▶ agenda
///                a call arrives, or returns; a run ends; a transaction commits; a relay starts
///
/// One happening taken from the agenda is one step. The storm has a number of steps, with faults at some of them; then the
/// world is quiet, and time goes on until nothing is left.
struct World {
    let scenario: Scenario
    let mutant: Mutant?
    let dice: Dice
    let plans: [Scenario.TaskPlan?]
    var now: Int64 = 0
    var step = 0
    var agenda = Agenda()
    var table: FakeTable
    var monitor: Monitor
    var ledgers = Ledgers()
    var relays: [SimulatedRelay] = []
    var runs: [Run] = []
    var calls: [Call] = []
    var freeCalls: [Int] = []
    var isDatabaseDown = false
    var isQuiet = false
    /// Rows of transactions that have not ended, by task.
    var uncommitted: [Int: (row: FakeTable.Row, isLater: Bool)] = [:]
    /// How many second effects the faults so far explain at most.
    var explainedDuplicates = 0
    /// Runs that have not ended.
    var activeRuns = 0
    var lives = 0
    var callsSent = 0
    var nextFault = 0
    var nextTask = 0
    /// What happened, for people; `nil`: nobody reads it.
    let chronicle: Chronicle?
    private let byStep: [Scenario.TaskPlan]

    init(_ scenario: Scenario, mutant: Mutant?, recordsHistory: Bool) {
        self.scenario = scenario
        self.mutant = mutant
        dice = Dice(seed: scenario.seed)
        let count = (scenario.tasks.map(\.number).max() ?? -1) + 1
        var plans: [Scenario.TaskPlan?] = Array(repeating: nil, count: count)
        for plan in scenario.tasks { plans[plan.number] = plan }
        self.plans = plans
        byStep = scenario.tasks.sorted { ($0.step, $0.number) < ($1.step, $1.number) }
        // somewhere within the leaves' period
        let start = 1_800_000_000 + Int64(scenario.seed % 480)
        table = FakeTable(clock: seconds(start), mutant: mutant)
        monitor = Monitor(tasks: count)
        chronicle = recordsHistory ? Chronicle() : nil
        for place in 0..<scenario.relays {
            relays.append(SimulatedRelay(settings: scenario.settings(relay: place)))
            agenda.plan(.starts(relay: place), at: Int64(place) * 1000)
        }
    }

    /// Says what happens; costs nothing unless somebody reads it.
    func tell(_ text: @autoclosure () -> String) {
        guard let chronicle else { return }
        let micros = "\(now % 1_000_000)"
        let fraction = String(repeating: "0", count: 6 - micros.count) + micros
        chronicle.lines.append("\(now / 1_000_000).\(fraction)  \(text())")
    }

    /// Runs the storm and the quiet after it.
    mutating func run() {
        while step < scenario.steps, advance() {
            while nextFault < scenario.faults.count, scenario.faults[nextFault].step <= step {
                strike(scenario.faults[nextFault])
                nextFault += 1
            }
            while nextTask < byStep.count, byStep[nextTask].step <= step {
                insert(byStep[nextTask])
                nextTask += 1
            }
        }
        for plan in byStep[nextTask...] { insert(plan) }
        becomeQuiet()
        while step < scenario.mostSteps, !isDone, advance() {
            if activeRuns == 0, step % 16 == 0 { sleepIfIdle() }
        }
        tell("the end; the database's clock is at \(table.clock)")
        for row in table.ready {
            tell(
                "  left: \(row.place), attempt \(row.attempt), \(row.relay.map { "held by \($0) until \(row.leaseUntil)" } ?? "waiting")"
            )
        }
        for row in table.later { tell("  left: t\(row.id.low), attempt \(row.attempt), until \(row.runAt)") }
    }

    private var isDone: Bool { table.isEmpty && uncommitted.isEmpty && activeRuns == 0 }

    /// The next thing happens.
    private mutating func advance() -> Bool {
        guard let (time, happening) = agenda.take() else { return false }
        step += 1
        moveTime(to: max(now, time))
        switch happening {
        case .starts(let relay): start(relay)
        case .turn(let relay, let life): takeTurn(relay, life)
        case .wakes(let relay, let life): wake(relay, life)
        case .arrives(let call): arrive(call)
        case .returns(let call): returned(call)
        case .completes(let run): complete(run)
        case .commitsCompletion(let run): commitCompletion(run)
        case .ends(let run): end(run)
        case .commits(let task): commit(task)
        case .databaseReturns:
            isDatabaseDown = false
            tell("the database is back")
        }
        return true
    }

    private mutating func moveTime(to time: Int64) {
        table.clock += time - now
        table.time = time
        now = time
    }

    /// When everybody waits for a time that is far away, such as the end of a lease that was written before the clock was
    /// set back, the whole world sleeps until shortly before: nothing that happens meanwhile could differ.
    private mutating func sleepIfIdle() {
        guard isQuiet, uncommitted.isEmpty, !table.ready.contains(where: { $0.relay == nil }),
            relays.allSatisfy({ $0.stopsBy == nil })
        else { return }
        var next = Int64.max
        for row in table.ready { next = min(next, row.leaseUntil) }
        for row in table.later { next = min(next, row.runAt) }
        // by and by, since whoever began something before he fell asleep takes it to have taken that long
        let pause = min(next - table.clock - seconds(10), seconds(300))
        guard next != .max, pause > seconds(10) else { return }
        tell("everybody sleeps for \(pause / 1_000_000) seconds")
        moveTime(to: now + pause)
    }

    // MARK: - Writers

    private mutating func insert(_ plan: Scenario.TaskPlan) {
        let clock = table.clock
        var row = FakeTable.Row(
            id: plan.id, lane: plan.lane, kind: plan.kind == .hook ? "any" : plan.kind.rawValue,
            endpoint: plan.kind == .hook ? "ep" : nil, maxAttempts: plan.maxAttempts, enqueuedAt: clock,
            dueAt: plan.delay > 0 ? clock + plan.delay : nil, expiresAt: plan.expiresAfter.map { clock + $0 })
        row.seq = table.nextSeq()
        row.slot = table.currentSlot
        row.runAt = clock + plan.delay
        uncommitted[plan.number] = (row, plan.delay > 0)
        tell("t\(plan.number) is inserted: \(plan.kind), \(plan.nature)")
        agenda.plan(.commits(task: plan.number), at: now + plan.commitDelay)
    }

    private mutating func commit(_ task: Int) {
        guard let (row, isLater) = uncommitted.removeValue(forKey: task), let plan = plans[task] else { return }
        guard !plan.rollsBack else { return tell("t\(task) is rolled back") }
        tell("t\(task) is committed")
        table.commit(row, isLater: isLater)
        ledgers.commits.append(Ledgers.Commit(task: "t\(task)", payload: "p\(task)", at: now))
        var random = dice.generator(.nudge, task)
        let relay = Int(random.next() % 3)
        if random.chance(50), relay < relays.count { post(.nudged, to: relay) }
    }
}
