// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import OutboxAudit
import PostgresClient

extension Scenario {
    /// A relay is told to end with hundreds of tasks in flight and more of them claimed.
    static let terminate = Scenario(
        name: "term", summary: "SIGTERM with hundreds in flight: an orderly end, and what did not begin costs nothing"
    ) { stage in
        let receiver = try await stage.receiver()
        var settings = Fleet.Settings()
        settings.concurrency = 200
        settings.stopGrace = 10
        settings.lease = 15
        let fleet = try Fleet(stage, sidecars: 1, handlers: 1, receiver: receiver, settings: settings)
        try await fleet.ready()
        let business = try stage.producer {
            $0.operations = stage.isShort ? 600 : 1000
            $0.rate = 5000
            ($0.shortest, $0.longest) = (100, stage.isShort ? 2000 : 5000)
        }
        _ = try await business.finished()
        // full: as many run as may
        _ = try await stage.eventually(within: 5) {
            try await stage.count("SELECT count(*) FROM outbox.ready WHERE lease_until > clock_timestamp()") >= 400
        }
        let inFlight = try await stage.count("SELECT count(*) FROM outbox.ready WHERE lease_until > clock_timestamp()")
        let told = Instant.now
        for index in 0..<2 { fleet[index].child?.send(SIGTERM) }
        stage.fault(2)
        var endings: [(String, CInt?, Double)] = []
        for index in 0..<2 {
            let status = try await fleet[index].child?.ended(within: 20)
            endings.append((fleet[index].name, status ?? nil, Double(Instant.now - told) / 1e6))
        }
        let held = try await stage.count("SELECT count(*) FROM outbox.ready WHERE relay IS NOT NULL")
        let spent = try await stage.count(
            "SELECT count(*) FROM (SELECT charged, crashed FROM outbox.ready UNION ALL SELECT charged, crashed FROM outbox.later) t WHERE charged + crashed > 0"
        )
        let left = try await stage.count("SELECT count(*) FROM outbox.ready")
        let again = Instant.now
        for index in 0..<2 { try fleet.start(index) }
        let next = fleet[1].name
        _ = try await stage.drained(within: 60)
        let books = try await Books(stage)
        // what finished in time was settled in time: nothing has a second effect
        var outcome = books.outcome(stage, grace: settings.lease + 4, mostDuplicates: 0)
        books.check([business], in: &outcome)
        outcome.check("hundreds were in flight", inFlight >= 200, inFlight)
        for (name, status, after) in endings {
            outcome.check(
                "\(name) ended with 0 within 11 s", status == 0 && after <= 11, "\(status ?? -1) after \(after) s")
        }
        outcome.check("tasks still held when both had ended", held == 0, held)
        outcome.check("tasks that were not done and charged all the same", spent == 0, spent)
        outcome.check("some were given back", left > 0, left)
        let first = books.ledgers.effects.filter { $0.by == next }.map(\.start).min()
        let after = first.map { Double($0 - again) / 1e6 } ?? -1
        outcome.check("the next relay runs what was given back within 1 s of its start", (0...1).contains(after), after)
        return outcome
    }
}
