// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// Judges ledgers: whether every committed task was done or is still there, and whether what ran was allowed to run.
///
/// It knows the promises and nothing of the relay that has to keep them, so that no mistake of the relay can excuse
/// itself: no counter of the relay's is asked.
package struct Auditor: Sendable {
    /// What the caller knows of the run that is judged.
    package struct Terms: Sendable {
        /// How long a run may go on after a later attempt of its task began, in microseconds: a lease and the time that
        /// a handler takes to heed its cancellation.
        package var grace: Int64
        /// Whether everything had time to be done: then nothing may wait or run.
        package var isQuiet: Bool
        /// The most second effects that the faults of the run explain; `nil`: any number.
        package var mostDuplicates: Int?
        /// Whether a lease could end although its holder was right to believe in it, as when the database's clock is set
        /// forward: then a run may begin after that of a later attempt, within the grace.
        package var mayBeOvertaken: Bool

        package init(
            grace: Int64, isQuiet: Bool = true, mostDuplicates: Int? = nil, mayBeOvertaken: Bool = false
        ) {
            self.grace = grace
            self.isQuiet = isQuiet
            self.mostDuplicates = mostDuplicates
            self.mayBeOvertaken = mayBeOvertaken
        }
    }

    package struct Judgement: Sendable {
        package internal(set) var verdicts: [Verdict] = []
        /// Effects that followed an effect of the same task which is not known to have failed. Each is allowed, since the
        /// promise is at least once; how many there may be is the caller's to say.
        package internal(set) var duplicates = 0

        package var isClean: Bool { verdicts.isEmpty }
    }

    package let terms: Terms

    package init(_ terms: Terms) { self.terms = terms }

    package func judge(_ ledgers: Ledgers) -> Judgement {
        var judgement = Judgement()
        let runs = Dictionary(grouping: ledgers.effects, by: \.task)
            .mapValues { $0.sorted { ($0.start, $0.attempt) < ($1.start, $1.attempt) } }
        let left = Dictionary(grouping: ledgers.remainders, by: \.task)
        let commits = Dictionary(ledgers.commits.map { ($0.task, $0) }) { first, _ in first }
        for commit in ledgers.commits {
            judgeEnd(of: commit, runs[commit.task] ?? [], left[commit.task] ?? [], &judgement)
        }
        for (task, runs) in runs {
            judgeRuns(of: task, runs, commits[task], ledgers.pauses, &judgement)
        }
        for (task, states) in left {
            judgeRemainders(
                of: task, states.map(\.state), runs[task] ?? [], ledgers.pauses, isCommitted: commits[task] != nil,
                &judgement)
        }
        judgeOrder(ledgers.commits, runs, left, &judgement)
        if let most = terms.mostDuplicates, judgement.duplicates > most {
            judgement.verdicts.append(
                Verdict(
                    .tooManyDuplicates, "", "\(judgement.duplicates) second effects, where \(most) can be explained"))
        }
        // dictionaries have no order, and a judgement should be the same each time
        judgement.verdicts.sort {
            ($0.task, $0.fault.rawValue, $0.evidence) < ($1.task, $1.fault.rawValue, $1.evidence)
        }
        return judgement
    }

    private func judgeEnd(
        of commit: Ledgers.Commit, _ runs: [Ledgers.Effect], _ left: [Ledgers.Remainder], _ judgement: inout Judgement
    ) {
        guard left.isEmpty, !runs.contains(where: \.mayBeDone) else { return }
        let seen = runs.isEmpty ? "it never ran" : "it ran as \(runs.map(\.summary).joined(separator: ", "))"
        judgement.verdicts.append(
            Verdict(.lost, commit.task, "committed at \(commit.at), in no table at the end, and \(seen)"))
    }

    private func judgeRemainders(
        of task: String, _ states: [Ledgers.Remainder.State], _ runs: [Ledgers.Effect], _ pauses: [Ledgers.Pause],
        isCommitted: Bool, _ judgement: inout Judgement
    ) {
        func add(_ fault: Verdict.Fault, _ evidence: String) {
            judgement.verdicts.append(Verdict(fault, task, evidence))
        }
        if !isCommitted { add(.phantom, "nobody committed it, and it is in the tables: \(states)") }
        if states.count > 1 { add(.doubled, "it is in the tables \(states.count) times: \(states)") }
        for state in states {
            switch state {
            case .waiting: if terms.isQuiet { add(.stranded, "it waits although all is quiet") }
            case .running: if terms.isQuiet { add(.stranded, "it is held by a lease although all is quiet") }
            case .dead(let reason, let attempt, let at):
                guard reason == "rejected" || reason == "exhausted" else { continue }
                for run in runs where run.attempt == attempt && run.outcome == .succeeded {
                    // A run may be given up and succeed all the same: of a deaf handler, and of one whose process stood
                    // still when it was to heed its cancellation.
                    guard let end = run.end, !run.isDeaf else { continue }
                    let stoodStill = pauses.contains { $0.by == run.by && $0.until >= run.start && $0.from <= end }
                    if let at, end > at, stoodStill { continue }
                    add(
                        .contradiction,
                        "dead as \(reason) at attempt \(attempt), and that had succeeded: \(run.summary)")
                }
            }
        }
    }
}

extension Ledgers.Effect {
    /// For people: `attempt 2 by r1, 100 to 200, succeeded`.
    var summary: String {
        "attempt \(attempt) by \(by), \(start) to \(end.map { "\($0)" } ?? "no end")\(outcome.map { ", \($0.rawValue)" } ?? "")"
    }
}
