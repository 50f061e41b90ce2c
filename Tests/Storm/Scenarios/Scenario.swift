// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation

/// One storm: what is done to the processes and to Postgres while business goes on, and what must hold afterwards.
struct Scenario: Sendable {
    let name: String
    /// What happens in it, in a line.
    let summary: String
    /// It runs only when it is named.
    var isLong = false
    /// Why it cannot run here; `nil` if it can.
    var obstacle: @Sendable () -> String? = { nil }
    let play: @Sendable (Stage) async throws -> Outcome
}

/// What a scenario came to.
struct Outcome: Sendable {
    /// Something that must hold, and what was seen.
    struct Check: Sendable {
        let what: String
        let holds: Bool
        let saw: String
    }
    var tasks = 0
    var faults = 0
    /// How many times each verdict was passed, and the first few as they were put.
    var verdicts: [String: Int] = [:]
    var samples: [String] = []
    var duplicates = 0
    var mostDuplicates: Int?
    /// The seconds from the last fault until all that had been committed by then was done.
    var recovery: Double?
    /// Tasks in a second, and the same of the undisturbed run.
    var rate: Double?
    var calm: Double?
    var checks: [Check] = []
    var notes: [String] = []

    mutating func check(_ what: String, _ holds: Bool, _ saw: some CustomStringConvertible) {
        checks.append(Check(what: what, holds: holds, saw: "\(saw)"))
    }

    var failures: [String] {
        verdicts.sorted { $0.key < $1.key }.map { "\($0.value) × \($0.key)" }
            + checks.filter { !$0.holds }.map { "\($0.what): \($0.saw)" }
    }
    var hasPassed: Bool { failures.isEmpty }
}

extension Scenario {
    /// All of them, in the order in which they run. The first is the measure of the others.
    static let all: [Scenario] = [
        undisturbed, kill, stop, terminate, postgres, backends, connections, lostCommits, lostClaims, lostSettlements,
        halfOpen, handlers, late, snapshot, dump, backlog, standby, failover,
        failoverAsynchronous, pgbouncer, clocks, disk, restored, snapshotLong, backlogLong,
    ]

    /// Those that run wherever there is Linux and a Postgres server: there, skipping one is a failure.
    static let required: Set<String> = [
        "undisturbed", "kill", "stop", "term", "postgres", "backends", "connections", "lost-commits", "lost-claims",
        "lost-settlements", "half-open", "handlers", "late", "snapshot", "dump", "backlog",
        "standby", "failover", "failover-async", "restored",
    ]
}
