// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import OutboxCore

/// Watches the table from outside: what must hold after each change, whatever relays do. It keeps books of its own, so
/// that a table that counts wrong is noticed.
struct Monitor: Sendable {
    /// What must not happen.
    enum Breach: String, Sendable {
        /// A claim took a task that somebody holds.
        case twoHolders = "two-holders"
        /// A claim's attempt is not the last one's successor.
        case attemptNotNext = "attempt-not-next"
        /// A settlement of an attempt that is not the current one took effect.
        case staleSettlement = "stale-settlement"
        /// A renewal of an attempt that is not the current one took effect.
        case staleRenewal = "stale-renewal"
        /// A lease was ended before its time, of a relay that knew of it.
        case rescuedTooSoon = "rescued-too-soon"
        /// Charged and crashed more often than claimed.
        case countedTooOften = "counted-too-often"
        /// A relay was given a kind that it cannot run.
        case kindNotAsked = "kind-not-asked"
        /// A task that was acknowledged before its run ran again.
        case ranTwice = "ran-twice"
        /// It was run although its budget was used up.
        case overBudget = "over-budget"
        /// A suspect beside others.
        case notAlone = "not-alone"
        /// A relay's process was brought down by one task more than once with others at work in it.
        case tookOthers = "took-others"
        /// A task that makes relays vanish did not end as a dead letter that says so.
        case poisonSurvived = "poison-survived"
        /// A relay that was told to stop did not.
        case stopDidNotEnd = "stop-did-not-end"
    }

    private struct Book: Sendable {
        var attempt: Int32 = 0
        /// Who holds it.
        var holder: Int?
        var leaseUntil: Int64 = 0
        var starts = 0
        /// Runs that have to have used up budget: they failed for good reason, or vanished.
        var spent = 0
        /// Times that it brought its relay down while others were at work there.
        var company = 0
        /// Times that a late request took it back from a relay that may have run it: such an attempt counts for nothing.
        var taken = 0
    }
    private var books: [Book]
    private(set) var findings: [Finding] = []

    init(tasks: Int) { books = Array(repeating: Book(), count: tasks) }

    mutating func add(_ breach: Breach, _ task: Int, _ evidence: String) {
        guard findings.count < 100 else { return }
        findings.append(Finding(name: breach.rawValue, task: "t\(task)", evidence: evidence))
    }

    mutating func note(_ change: FakeTable.Change, clock: Int64, isLate: Bool) {
        switch change {
        case .claimed(let row, let isForCaller):
            let task = Int(row.id.low)
            if let holder = books[task].holder {
                add(.twoHolders, task, "claimed by \(row.relay ?? -1) while \(holder) holds it")
            }
            if row.attempt != books[task].attempt + 1 {
                add(.attemptNotNext, task, "attempt \(row.attempt) after \(books[task].attempt)")
            }
            if !isForCaller { add(.kindNotAsked, task, "\(row.kind) was claimed by a relay that cannot run it") }
            books[task].attempt = max(books[task].attempt, row.attempt)
            books[task].holder = row.relay
            books[task].leaseUntil = row.leaseUntil
            check(row)
        case .rescued(let row, let relay, let unheard):
            let task = Int(row.id.low)
            let until = books[task].leaseUntil
            let isOver = until < clock || until > clock + longestBelievedLease
            if !isOver, !(unheard && books[task].holder == relay) {
                add(.rescuedTooSoon, task, "\(until - clock) µs before its end, by \(relay)")
            }
            if unheard, isLate { books[task].taken += 1 }
            books[task].holder = nil
            check(row)
        case .renewed(let row, let asked, _):
            let task = Int(row.id.low)
            if asked != books[task].attempt || books[task].holder == nil {
                add(.staleRenewal, task, "of attempt \(asked), while \(books[task].attempt) is the current one")
            }
            books[task].leaseUntil = row.leaseUntil
        case .settled(let row, let asked): settle(row, asked)
        case .failed(let row, let asked, _): settle(row, asked)
        }
    }

    private mutating func settle(_ row: FakeTable.Row, _ asked: Int32) {
        let task = Int(row.id.low)
        if asked != books[task].attempt || books[task].holder == nil {
            add(.staleSettlement, task, "of attempt \(asked), while \(books[task].attempt) is the current one")
        }
        books[task].holder = nil
        check(row)
    }

    private mutating func check(_ row: FakeTable.Row) {
        guard row.charged + row.crashed > row.attempt else { return }
        add(
            .countedTooOften, Int(row.id.low), "charged \(row.charged), crashed \(row.crashed), attempt \(row.attempt)")
    }

    // MARK: - Runs

    mutating func noteStart(of plan: Scenario.TaskPlan, attempt: Int32, budget: Int) {
        let task = plan.number
        books[task].starts += 1
        if plan.kind == .early, books[task].starts > 1 {
            add(.ranTwice, task, "acknowledged before its run, and attempt \(attempt) ran as well")
        }
        if books[task].spent >= budget + books[task].taken {
            add(
                .overBudget, task, "attempt \(attempt) runs after \(books[task].spent) that count, of at most \(budget)"
            )
        }
    }

    mutating func noteSpent(_ task: Int) { books[task].spent += 1 }

    mutating func noteCompany(_ task: Int, _ others: Int) {
        books[task].company += 1
        if books[task].company > 1 + books[task].taken {
            add(.tookOthers, task, "\(others) others ran beside it, not for the first time")
        }
    }
}

/// What a run of the simulation found, from the auditor or from the monitor.
package struct Finding: Sendable, Hashable, CustomStringConvertible {
    package let name: String
    package let task: String
    package let evidence: String
    package var description: String { "\(name)\(task.isEmpty ? "" : " \(task)"): \(evidence)" }
}
