// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import OutboxAudit
import OutboxTesting
import PostgresClient
import Synchronization

extension Scenario {
    /// A relay is pointed at a standby, which takes no writes.
    static let standby = Scenario(
        name: "standby", summary: "relays of a standby wait, and drain once it is promoted",
        obstacle: { SecondServer.obstacle }
    ) { stage in
        let second = try await SecondServer(stage, "standby", isStandby: true)
        try await second.start()
        let receiver = try await stage.receiver()
        let fleet = try Fleet(stage, sidecars: 1, handlers: 1, receiver: receiver, url: second.url)
        let business = try stage.producer { $0.operations = 300 }
        _ = try await business.finished()
        _ = try await stage.eventually(within: 10) { try await second.count("SELECT count(*) FROM business") == 300 }
        let (before, wait) = (second.relaySessions(), stage.seconds(10, short: 4))
        try await stage.pause(wait)
        let tries = Double(second.relaySessions() - before) / wait / 2
        let early = fleet.ended
        let waiting = try await second.count("SELECT count(*) FROM outbox.ready")
        try await stage.cluster.stopImmediately()
        try await second.promote()
        stage.fault()
        let promoted = Instant.now
        _ = try await second.isDrained(within: 30)
        let books = try await Books(stage, database: second.database)
        var outcome = books.outcome(stage, grace: 8, mostDuplicates: 0)
        books.check([business], in: &outcome)
        outcome.check("a relay tries at most once a second", tries <= 1, tries)
        outcome.check("all waited until then", waiting == 300, waiting)
        outcome.check("relays that ended", early.isEmpty && fleet.ended.isEmpty, early + fleet.ended)
        let first = books.ledgers.effects.map(\.start).min().map { Double($0 - promoted) / 1e6 } ?? -1
        outcome.check("it drains within 2 s of the promotion", (-0.5...2).contains(first), first)
        try await second.stop()
        return outcome
    }

    static let failover = failover("failover", isSynchronous: true)
    static let failoverAsynchronous = failover("failover-async", isSynchronous: false)

    /// The primary is lost and a standby takes over, while producers write.
    private static func failover(_ name: String, isSynchronous: Bool) -> Scenario {
        Scenario(
            name: name,
            summary: isSynchronous
                ? "the primary is lost; its synchronous standby is promoted while producers write"
                : "the primary is lost with what its standby had not received; that is promoted",
            obstacle: { SecondServer.obstacle }
        ) { stage in
            let second = try await SecondServer(stage, "standby", isStandby: true)
            try await second.start()
            if isSynchronous {
                try await stage.database.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
                _ = try await stage.database.query("SELECT pg_reload_conf()")
            }
            let hosts =
                "host=\(stage.clusterDirectory),\(second.directory) port=5432,5432 user=postgres dbname=\(stage.databaseName) target_session_attrs=read-write connect_timeout=2"
            let receiver = try await stage.receiver()
            let fleet = try Fleet(stage, sidecars: 2, handlers: 2, receiver: receiver, url: hosts)
            try await fleet.ready()
            let business = try stage.producer(url: hosts) {
                $0.looksForRows = !isSynchronous
                $0.longest = 200
            }
            try await stage.pause(3)
            if !isSynchronous {
                // what is committed from now on goes down with the primary
                try await second.database.execute("ALTER SYSTEM SET primary_conninfo = ''")
                _ = try await second.database.query("SELECT pg_reload_conf()")
                try await stage.pause(1.5)
            }
            let held = try await stage.held()
            let last = try await stage.database.query("SELECT task::text FROM business")
                .map { try $0.decode(String.self, at: 0) }
            try await stage.cluster.stopImmediately()
            let lost = Instant.now
            try await second.promote()
            stage.fault()
            let promoted = Instant.now
            try await stage.pause(stage.seconds(10, short: 4))
            let report = try await business.finished()
            _ = try await second.isDrained(within: 60)
            var books = try await Books(stage, database: second.database)
            // Sent, and then the transaction was lost with its primary: that stays sent, which is the limit of
            // guarantee 2. The auditor is to judge what happened after.
            let undone = books.forgetEffects(before: lost)
            let missing = Set(last).subtracting(books.ledgers.commits.map(\.task)).count
            // A claim that went down with the primary is forgotten, and its attempt's number is given again.
            let reissued = isSynchronous ? 0 : books.forgetReissued(before: lost)
            var outcome = books.outcome(
                stage, grace: 8, mostDuplicates: isSynchronous ? held * 2 : nil)
            if isSynchronous {
                books.check([business], in: &outcome)
                outcome.check("effects of transactions that are gone", undone == 0, undone)
            } else {
                outcome.check("transactions went down with the primary", missing > 0, missing)
                outcome.notes.append("\(undone) effects had been sent for transactions that are gone")
                outcome.notes.append("\(reissued) tasks ran again under a number that the old primary had given out")
            }
            let payloads = Dictionary(grouping: books.ledgers.effects, by: \.key)
                .values.count { Set($0.map(\.payload)).count > 1 }
            outcome.check("keys with two payloads", payloads == 0, payloads)
            let first = books.ledgers.effects.map(\.start).filter { $0 > promoted }.min()
            let after = first.map { Double($0 - promoted) / 1e6 } ?? -1
            outcome.check("the first task runs within 5 s of the promotion", (0...5).contains(after), after)
            outcome.check("relays that ended", fleet.ended.isEmpty, fleet.ended)
            outcome.notes.append(
                "\(report.unanswered) COMMITs were not answered, \(report.repeated) operations repeated")
            try await second.stop()
            return outcome
        }
    }
}
