// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import Outbox
import OutboxAudit
import Synchronization

/// The books of a scenario: what was committed, what was seen, what is left; and what the auditor says of them.
struct Books: Sendable {
    private(set) var ledgers = Ledgers()
    /// When each task was done for the first time.
    private(set) var done: [String: Int64] = [:]

    /// Reads the business table, the ledgers of all processes, and the outbox's tables.
    init(_ stage: Stage, database: Database? = nil) async throws {
        let database = database ?? stage.database
        for row in try await database.query("SELECT task::text, key, payload, at FROM business ORDER BY op") {
            ledgers.commits.append(
                Ledgers.Commit(
                    task: try row.decode(String.self, at: 0), key: try row.decode(String.self, at: 1),
                    payload: try row.decode(String.self, at: 2), at: try row.decode(Int64.self, at: 3)))
        }
        for row in try await database.query(
            """
            SELECT id::text, CASE WHEN relay IS NULL OR lease_until < clock_timestamp() THEN 'waiting' ELSE 'running' END, 0
            FROM outbox.ready
            UNION ALL SELECT id::text, 'waiting', 0 FROM outbox.later
            UNION ALL SELECT id::text, reason, attempt FROM outbox.dead WHERE resolution IS NULL
            """)
        {
            let state: Ledgers.Remainder.State =
                switch try row.decode(String.self, at: 1) {
                case "waiting": .waiting
                case "running": .running
                case let reason: .dead(reason: reason, attempt: try row.decode(Int.self, at: 2))
                }
            ledgers.remainders.append(Ledgers.Remainder(task: try row.decode(String.self, at: 0), state))
        }
        let files = try FileManager.default.contentsOfDirectory(atPath: stage.directory)
        for file in files.sorted() where file.hasSuffix(".ledger") {
            try ledgers.read(try String(contentsOfFile: "\(stage.directory)/\(file)", encoding: .utf8))
        }
        for pause in stage.ledgers.withLock({ $0.pauses }) {
            ledgers.pauses.append(Ledgers.Pause(by: pause.by, from: pause.from, until: pause.until))
        }
        for effect in ledgers.effects {
            guard effect.outcome == .succeeded, let end = effect.end else { continue }
            done[effect.task] = min(done[effect.task] ?? .max, end)
        }
    }

    /// Tasks that were done for the first time between two times, in a second.
    func rate(from: Int64, until: Int64) -> Double {
        guard until > from else { return 0 }
        return Double(done.values.count { $0 >= from && $0 < until }) / (Double(until - from) / 1e6)
    }

    /// Judges, and sums up.
    func outcome(
        _ stage: Stage, grace: Double, mostDuplicates: Int?, isQuiet: Bool = true, mayBeOvertaken: Bool = false
    ) -> Outcome {
        let auditor = Auditor(
            Auditor.Terms(
                grace: Instant.seconds(grace), isQuiet: isQuiet, mostDuplicates: mostDuplicates,
                mayBeOvertaken: mayBeOvertaken))
        let judgement = auditor.judge(ledgers)
        var outcome = Outcome()
        outcome.tasks = ledgers.commits.count
        outcome.duplicates = judgement.duplicates
        outcome.mostDuplicates = mostDuplicates
        for verdict in judgement.verdicts { outcome.verdicts[verdict.fault.rawValue, default: 0] += 1 }
        outcome.samples = judgement.verdicts.prefix(5).map(\.description)
        let faults = stage.ledgers.withLock { $0.faults }
        outcome.faults = faults.count
        if let last = faults.last {
            let dones = ledgers.commits.filter { $0.at <= last }.compactMap { done[$0.task] }
            outcome.recovery = max(0, Double((dones.max() ?? last) - last) / 1e6)
        }
        outcome.calm = stage.calm
        return outcome
    }

    /// Strikes out effects that began before a time and whose transaction is no longer there, and says how many tasks
    /// these are.
    mutating func forgetEffects(before time: Int64) -> Int {
        let committed = Set(ledgers.commits.map(\.task))
        let gone = ledgers.effects.filter { $0.start < time && !committed.contains($0.task) }
        ledgers.effects.removeAll { $0.start < time && !committed.contains($0.task) }
        return Set(gone.map(\.task)).count
    }

    /// Strikes out effects that began before a time, where a later one has the same attempt's number or a lower one, and
    /// says of how many tasks these are.
    mutating func forgetReissued(before time: Int64) -> Int {
        var lowest: [String: Int] = [:]
        for effect in ledgers.effects where effect.start >= time {
            lowest[effect.task] = min(lowest[effect.task] ?? .max, effect.attempt)
        }
        let forgotten = ledgers.effects.filter { $0.start < time && $0.attempt >= lowest[$0.task] ?? .max }
        ledgers.effects.removeAll { $0.start < time && $0.attempt >= lowest[$0.task] ?? .max }
        return Set(forgotten.map(\.task)).count
    }

    /// The seconds from each acknowledged commit to the start of its first run, sorted, or in the order of the commits.
    func delays(_ business: Business, inOrder: Bool = false) -> [Double] {
        var starts: [String: Int64] = [:]
        for effect in ledgers.effects { starts[effect.key] = min(starts[effect.key] ?? .max, effect.start) }
        let delays = business.acknowledgements().compactMap { op, at in
            starts[Work.key(op)].map { Double($0 - at) / 1e6 }
        }
        return inOrder ? delays : delays.sorted()
    }

    /// Whether each operation that a producer knows of is there, and is there once.
    func check(_ businesses: [Business], in outcome: inout Outcome) {
        let operations = Dictionary(grouping: ledgers.commits, by: \.key)
        let acknowledged = businesses.flatMap { $0.operations() }
        let missing = acknowledged.filter { operations[Work.key($0)] == nil }
        outcome.check("acknowledged operations that are not there", missing.isEmpty, missing.count)
        let doubled = operations.filter { $0.value.count > 1 }
        outcome.check("operations that were done twice", doubled.isEmpty, doubled.count)
        outcome.check("something was acknowledged", !acknowledged.isEmpty, acknowledged.count)
    }
}
