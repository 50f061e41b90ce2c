// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import OutboxAudit
import PostgresClient

extension Scenario {
    /// Handlers that one would rather not have, beside healthy ones.
    static let handlers = Scenario(
        name: "handlers",
        summary: "handlers that trap, that hang and are deaf, that eat all memory, beside healthy ones"
    ) { stage in
        var settings = Fleet.Settings()
        settings.kinds = ["storm.swift", "storm.trap", "storm.hang", "storm.eat"]
        settings.lease = stage.seconds(2, short: 1)
        settings.sweep = 0.5
        settings.timeout = 1
        settings.maxAttempts = 3
        settings.maxCrashes = 3
        // a virtual size: the runtime alone reserves some of it
        settings.memory = 1_500_000
        let each = ["storm.trap": 2, "storm.hang": 3, "storm.eat": 1]
        let fleet = try Fleet(stage, handlers: 3, settings: settings)
        try await fleet.ready()
        let business = try stage.producer { $0.kinds = ["storm.swift"] }
        try await stage.pause(1)
        for (kind, count) in each {
            let poison = try stage.producer {
                $0.kinds = [kind]
                $0.operations = count
                ($0.shortest, $0.longest) = (8000, 8000)
            }
            _ = try await poison.finished()
        }
        // somebody starts again what has died, as a platform does
        var held = 0
        let end = Instant.now + Instant.seconds(stage.seconds(28, short: 8))
        while Instant.now < end {
            for index in 0..<fleet.count where fleet[index].child?.hasEnded != nil {
                held += try await fleet.held(by: fleet[index].name)
                stage.fault()
                try fleet.start(index)
            }
            try await stage.pause(0.05)
        }
        let ended = Instant.now
        _ = try await business.finished()
        _ = try await stage.drained()
        let books = try await Books(stage)
        // a deaf handler that was given up comes to its end all the same, and has an effect each time
        let deaf = (each["storm.hang"] ?? 0) * (settings.maxAttempts - 1)
        var outcome = books.outcome(stage, grace: settings.lease + 4, mostDuplicates: held + deaf)
        books.check([business], in: &outcome)
        outcome.recovery = nil
        outcome.rate = books.rate(from: business.began + 1_000_000, until: ended)
        for (kind, count) in each.sorted(by: { $0.key < $1.key }) {
            let reason = kind == "storm.hang" ? "exhausted" : "crashed"
            let dead = try await stage.database.query(
                "SELECT id::text FROM outbox.dead WHERE kind = \(kind) AND reason = \(reason)"
            ).map { try $0.decode(String.self, at: 0) }
            outcome.check("\(kind): dead as \(reason)", dead.count == count, dead.count)
            let runs = dead.map { id in books.ledgers.effects.filter { $0.task == id } }
            let (starts, ends) = (runs.map(\.count), runs.map { $0.count { $0.end != nil } })
            // Two budgets of 3: for runs that failed, and for relays that vanished meanwhile. Of the latter there may be
            // fewer starts, where a relay died with a task before that began: it is counted too, since nobody can tell.
            let most = kind == "storm.hang" ? 6 : 3
            outcome.check(
                "\(kind): starts, at most \(most), of these to their end, at most 3",
                starts.allSatisfy { (1...most).contains($0) } && ends.allSatisfy { $0 <= 3 }, "\(starts), \(ends)")
        }
        let others = try await stage.count("SELECT count(*) FROM outbox.dead WHERE kind = 'storm.swift'")
        outcome.check("healthy tasks that died", others == 0, others)
        outcome.checkRate(atLeast: 0.8, stage)
        return outcome
    }

    /// Writers commit late, and not in the order in which they wrote; some do not commit at all.
    static let late = Scenario(
        name: "late", summary: "writers hold their rows for up to 10 s before they commit, and some roll back"
    ) { stage in
        let settings = Fleet.Settings()
        let longest = stage.seconds(10, short: 2)
        let business = Locked<Business?>(nil)
        var (outcome, books, report, _) = try await under(
            stage, settings: settings,
            load: {
                $0.clients = 80
                $0.holdsOneIn = 20
                $0.longestHold = longest
                $0.rollsBackOneIn = 10
            }
        ) { _, running in
            business.set(running)
            try await stage.pause(stage.seconds(25, short: 4))
            return 0
        }
        outcome.rate = nil
        outcome.check("some rolled back", report.rolledBack > 0, report.rolledBack)
        if let business = business.value {
            let delays = books.delays(business)
            let most = delays.isEmpty ? .infinity : delays[min(delays.count - 1, delays.count * 99 / 100)]
            outcome.check("99 % began within sweep + 1 s of the commit", most <= settings.sweep + 1, most)
        }
        return outcome
    }

    /// Somebody holds a snapshot, so that nothing that was deleted is ever cleaned away.
    static let snapshot = pinned("snapshot", isLong: false, seconds: 20)
    static let snapshotLong = pinned("snapshot-long", isLong: true, seconds: 600)

    private static func pinned(_ name: String, isLong: Bool, seconds: Double) -> Scenario {
        Scenario(
            name: name, summary: "a REPEATABLE READ snapshot stays open for \(Int(seconds)) s of load", isLong: isLong
        ) { stage in
            let holder = try await stage.database.connect()
            try await holder.run(["BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT count(*) FROM business"])
            let business = Locked<Business?>(nil)
            var (outcome, books, _, _) = try await under(stage) { _, running in
                business.set(running)
                try await stage.pause(stage.isShort ? 4 : seconds)
                return 0
            }
            await holder.close()
            outcome.faults = 1
            outcome.checkRate(atLeast: 0.98, stage)
            if let business = business.value, !stage.isShort {
                let delays = books.delays(business, inOrder: true)
                let third = delays.count / 3
                func median(_ part: ArraySlice<Double>) -> Double { part.sorted()[part.count / 2] }
                if third > 10 {
                    let (first, last) = (median(delays[..<third]), median(delays[(2 * third)...]))
                    // below a few milliseconds it is the machine that is measured
                    outcome.check(
                        "the last third waits at most 1.5 times as long as the first", last <= max(1.5 * first, 0.02),
                        "\((first * 1000).tenths) ms, \((last * 1000).tenths) ms")
                }
            }
            return outcome
        }
    }

    /// Dumps are taken and drained leaves are given back, without end.
    static let dump = Scenario(
        name: "dump", summary: "pg_dump without end, and trims, beside the load",
        obstacle: { ServerTools.path("pg_dump") == nil ? "there is no pg_dump" : nil }
    ) { stage in
        let failures = Locked<[String]>([])
        let slowest = Locked(0.0)
        let dumps = Locked(0)
        var (outcome, _, _, _) = try await under(stage) { _, _ in
            let end = Instant.now + Instant.seconds(stage.seconds(20, short: 4))
            let program = ServerTools.path("pg_dump") ?? "pg_dump"
            async let trims: Void = {
                while Instant.now < end {
                    let began = Instant.now
                    _ = try await stage.count("SELECT outbox.trim_v1(0)")
                    let took = Double(Instant.now - began) / 1e6
                    slowest.withLock { $0 = max($0, took) }
                    try await stage.pause(0.1)
                }
            }()
            while Instant.now < end {
                let child = try stage.children.start(
                    "pg_dump", [program, "-d", stage.url, "-f", "\(stage.directory)/dump.sql"])
                let status = try await child.ended()
                stage.fault()
                dumps.withLock { $0 += 1 }
                if status != 0 { failures.append("\(status ?? -1)") }
            }
            try await trims
            return 0
        }
        outcome.check("dumps that failed", failures.value.isEmpty, failures.value)
        outcome.check("dumps were taken", dumps.value > 0, dumps.value)
        outcome.check("no trim waited for more than 100 ms", slowest.value <= 0.1, slowest.value)
        outcome.checkRate(atLeast: 0.98, stage)
        return outcome
    }

    static let backlog = backlog("backlog", isLong: false, tasks: 20_000)
    static let backlogLong = backlog("backlog-long", isLong: true, tasks: 1_000_000)

    /// Many tasks have gathered before any relay runs.
    private static func backlog(_ name: String, isLong: Bool, tasks: Int) -> Scenario {
        Scenario(name: name, summary: "\(tasks) tasks wait before any relay runs", isLong: isLong) { stage in
            let began = Instant.now
            for first in stride(from: 0, to: tasks, by: 5000) {
                let operations = first..<min(tasks, first + 5000)
                let payloads = operations.map { Work(op: $0, milliseconds: 0).payload }
                try await stage.database.execute(
                    """
                    WITH made AS (SELECT gen_random_uuid() AS id, o.op, o.payload, o.hash
                        FROM unnest(\(Array(operations)), \(payloads), \(payloads.map { Work.hash($0) })) o (op, payload, hash)),
                    written AS (INSERT INTO business SELECT op, id, id::text, hash, \(Instant.now) FROM made RETURNING 1)
                    SELECT count(*) FROM outbox.enqueue_many(
                        (SELECT array_agg('storm.swift'::text ORDER BY op) FROM made),
                        (SELECT array_agg(payload ORDER BY op) FROM made),
                        ids => (SELECT array_agg(id ORDER BY op) FROM made))
                    WHERE (SELECT count(*) FROM written) >= 0
                    """)
            }
            let start = Instant.now
            let fleet = try Fleet(stage, handlers: 2)
            let isDrained = try await stage.drained(within: 600)
            let took = Double(Instant.now - start) / 1e6
            let books = try await Books(stage)
            var outcome = books.outcome(stage, grace: 8, mostDuplicates: 0)
            outcome.check("it drained", isDrained, "\(took.tenths) s, \((Double(tasks) / took).tenths)/s")
            let memory = (0..<fleet.count).compactMap { fleet[$0].child.flatMap { ServerTools.peakMemory($0.process) } }
            outcome.check("no relay took more than 100 MB", memory.allSatisfy { $0 <= 100_000 }, "\(memory) kB")
            outcome.notes.append(
                "written in \((Double(start - began) / 1e6).tenths) s; effects are written to a ledger twice")
            return outcome
        }
    }
}
