// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

// What may run, how often, and for how long.

extension Auditor {
    /// - Parameter runs: In the order in which they began.
    func judgeRuns(
        of task: String, _ runs: [Ledgers.Effect], _ commit: Ledgers.Commit?, _ pauses: [Ledgers.Pause],
        _ judgement: inout Judgement
    ) {
        func add(_ fault: Verdict.Fault, _ evidence: String) {
            judgement.verdicts.append(Verdict(fault, task, evidence))
        }
        if commit == nil { add(.phantom, "nobody committed it, and it ran: \(runs[0].summary)") }
        let key = commit?.key ?? runs[0].key
        let payload = commit?.payload ?? runs[0].payload
        var mayHaveHadEffect = false
        for (number, run) in runs.enumerated() {
            if run.payload != payload { add(.payloadMismatch, "\(run.payload) instead of \(payload): \(run.summary)") }
            if run.key != key { add(.keyMismatch, "\(run.key) instead of \(key): \(run.summary)") }
            if mayHaveHadEffect { judgement.duplicates += 1 }
            mayHaveHadEffect = mayHaveHadEffect || run.outcome != .failed
            for earlier in runs[..<number] {
                if earlier.attempt == run.attempt {
                    add(.overlap, "two runs of one attempt: \(earlier.summary); \(run.summary)")
                } else if earlier.attempt > run.attempt {
                    if terms.mayBeOvertaken, run.start <= earlier.start + terms.grace { continue }
                    add(.attemptNotGreater, "\(run.summary), after \(earlier.summary)")
                }
            }
            if let later = runs[(number + 1)...].first(where: { $0.attempt > run.attempt }) {
                judgeOverrun(run, later, pauses, &judgement)
            }
        }
    }

    /// A run has to end soon after a later attempt began. While its relay stands still it cannot: then it has as much
    /// time after the relay is awake again.
    private func judgeOverrun(
        _ run: Ledgers.Effect, _ later: Ledgers.Effect, _ pauses: [Ledgers.Pause], _ judgement: inout Judgement
    ) {
        guard !run.isDeaf, let end = run.end else { return }
        var since = later.start
        guard end > since + terms.grace else { return }
        for pause in pauses.sorted(by: { $0.from < $1.from }) where pause.by == run.by {
            if pause.from <= since + terms.grace, pause.until > since { since = pause.until }
        }
        guard end > since + terms.grace else { return }
        let excess = end - since - terms.grace
        judgement.verdicts.append(
            Verdict(
                .overrun, run.task,
                "\(run.summary), which is \(excess) too long after \(later.summary)"))
    }

    /// Tasks of one ordering key run one after the other, in the order of their commits. That a run which lost its lease
    /// goes on for a while is judged as an overrun; here it is the beginnings that count.
    func judgeOrder(
        _ commits: [Ledgers.Commit], _ runs: [String: [Ledgers.Effect]], _ left: [String: [Ledgers.Remainder]],
        _ judgement: inout Judgement
    ) {
        let ordered = Dictionary(grouping: commits.filter { $0.orderingKey != nil }, by: { $0.orderingKey ?? "" })
        for (key, commits) in ordered {
            let commits = commits.sorted { $0.at < $1.at }
            for (before, after) in zip(commits, commits.dropFirst()) where before.at < after.at {
                guard let first = runs[after.task]?.first else { continue }
                let earlier = runs[before.task] ?? []
                if let again = earlier.last, again.start > first.start {
                    judgement.verdicts.append(
                        Verdict(
                            .outOfOrder, before.task,
                            "of key \(key), \(again.summary), after \(after.task) had begun: \(first.summary)"))
                }
                let isDone = earlier.contains { $0.mayBeDone && ($0.end ?? .max) <= first.start }
                let isDead = (left[before.task] ?? []).contains {
                    if case .dead(_, _, let at) = $0.state { at ?? .min <= first.start } else { false }
                }
                guard !isDone, !isDead else { continue }
                judgement.verdicts.append(
                    Verdict(
                        .outOfOrder, after.task, "of key \(key), \(first.summary), before \(before.task) was done"))
            }
        }
    }
}
