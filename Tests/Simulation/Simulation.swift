// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import OutboxAudit
internal import OutboxCore

/// Runs scenarios and judges them. The same scenario gives the same report, to the last step.
package enum Simulation {
    package struct Report: Sendable {
        package let findings: [Finding]
        package let steps: Int
        package let tasks: Int
        package let runs: Int
        package let duplicates: Int
        package let dead: Int
        /// What happened, if it was to be told.
        package let history: [String]

        package var isClean: Bool { findings.isEmpty }
    }

    package static func run(_ scenario: Scenario, mutant: Mutant? = nil, recordsHistory: Bool = false) -> Report {
        var world = World(scenario, mutant: mutant, recordsHistory: recordsHistory)
        world.run()
        world.closeLedgers()
        let terms = Auditor.Terms(
            grace: world.overrunGrace, isQuiet: true, mostDuplicates: world.explainedDuplicates,
            mayBeOvertaken: scenario.faults.contains { $0.kind == .clockForward || $0.kind == .lateRequest })
        let judgement = Auditor(terms).judge(world.ledgers)
        var findings = world.monitor.findings
        findings += judgement.verdicts.map { Finding(name: $0.fault.rawValue, task: $0.task, evidence: $0.evidence) }
        return Report(
            findings: findings, steps: world.step, tasks: world.ledgers.commits.count,
            runs: world.ledgers.effects.count,
            duplicates: judgement.duplicates, dead: world.table.dead.count, history: world.chronicle?.lines ?? [])
    }
}

extension World {
    /// A relay is sure of a lease until a sixth of it before its end, counted from when it asked; then the handler is
    /// cancelled, and takes a moment to heed it.
    var overrunGrace: Int64 { scenario.lease - scenario.lease / 6 + milliseconds(50) + milliseconds(20) }

    /// Takes down what is left, and checks what can be said at the end alone.
    mutating func closeLedgers() {
        for row in table.ready {
            ledgers.remainders.append(.init(task: "t\(row.id.low)", row.relay == nil ? .waiting : .running))
        }
        for row in table.later { ledgers.remainders.append(.init(task: "t\(row.id.low)", .waiting)) }
        for letter in table.dead {
            let state = Ledgers.Remainder.State.dead(
                reason: letter.reason.rawValue, attempt: Int(letter.row.attempt), at: letter.diedAt)
            ledgers.remainders.append(.init(task: "t\(letter.row.id.low)", state))
        }
        for plan in scenario.tasks where plan.nature == .poison && !plan.rollsBack {
            let isBuried = table.dead.contains {
                $0.row.id == plan.id && ($0.reason == .crashed || $0.reason == .expired || $0.reason == .exhausted)
            }
            if !isBuried { monitor.add(.poisonSurvived, plan.number, "it is no dead letter") }
        }
        for place in relays.indices {
            if relays[place].life != 0, let by = relays[place].stopsBy, by < now {
                monitor.add(
                    .stopDidNotEnd, 0, "\(name(place, relays[place].life)) was to stop by \(by), and it is \(now)")
            }
        }
    }
}
