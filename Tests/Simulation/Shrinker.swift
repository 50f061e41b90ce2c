// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// Makes a failing scenario as small as it can be and still fail in the same way, so that a person can read it.
///
/// First whole kinds of faults and of handlers go, then tasks, relays and steps, and at last single faults (delta
/// debugging: halves, quarters, eighths …). It works because each part of a run has its own random numbers: what is left
/// out changes nothing else but by what it did.
package struct Shrinker: Sendable {
    package let mutant: Mutant?
    /// How many runs it may take.
    private let mostRuns = 600

    package init(mutant: Mutant? = nil) { self.mutant = mutant }

    package func shrink(_ scenario: Scenario, _ report: Simulation.Report) -> (
        scenario: Scenario, report: Simulation.Report
    ) {
        guard let name = report.findings.first?.name else { return (scenario, report) }
        var best = scenario
        var runs = 0
        func attempt(_ change: (inout Scenario) -> Void) -> Bool {
            guard runs < mostRuns else { return false }
            runs += 1
            var candidate = best
            change(&candidate)
            guard Simulation.run(candidate, mutant: mutant).findings.contains(where: { $0.name == name }) else {
                return false
            }
            best = candidate
            return true
        }
        for kind in Scenario.PlannedFault.Kind.allCases where best.faults.contains(where: { $0.kind == kind }) {
            _ = attempt { $0.faults.removeAll { $0.kind == kind } }
        }
        for nature in Scenario.Nature.allCases
        where nature != .good && best.tasks.contains(where: { $0.nature == nature }) {
            if !attempt({ $0.tasks.removeAll { $0.nature == nature } }) {
                _ = attempt {
                    for index in $0.tasks.indices where $0.tasks[index].nature == nature {
                        $0.tasks[index].nature = .good
                    }
                }
            }
        }
        minimize(\.tasks, attempt)
        while best.relays > 1, attempt({ $0.relays -= 1 }) {}
        while best.steps > 10, attempt({ $0.steps = $0.steps * 3 / 4 }) {}
        minimize(\.faults, attempt)
        minimize(\.tasks, attempt)
        while best.relays > 1, attempt({ $0.relays -= 1 }) {}
        while best.steps > 10, attempt({ $0.steps = $0.steps * 3 / 4 }) {}
        return (best, Simulation.run(best, mutant: mutant, recordsHistory: true))

        /// Leaves out parts of a list, large ones first.
        func minimize<Element>(
            _ list: WritableKeyPath<Scenario, [Element]>, _ attempt: ((inout Scenario) -> Void) -> Bool
        ) {
            var size = max(1, best[keyPath: list].count / 2)
            while true {
                var start = 0
                while start < best[keyPath: list].count {
                    let end = min(start + size, best[keyPath: list].count)
                    if !attempt({ $0[keyPath: list].removeSubrange(start..<end) }) { start = end }
                }
                if size == 1 { return }
                size = max(1, size / 2)
            }
        }
    }
}

extension Scenario {
    package var summary: String {
        "\(tasks.count) tasks, \(relays) relays, \(steps) steps, \(faults.count) faults; lease \(lease) µs, capacity \(capacity)"
    }
}

extension Simulation.Report {
    package var summary: String {
        "\(steps) steps, \(tasks) tasks, \(runs) runs, \(duplicates) duplicates, \(dead) dead letters, \(findings.count) findings"
    }
}
