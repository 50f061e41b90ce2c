// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import OutboxAudit
import PostgresClient

extension Scenario {
    /// Producers do not hear that they have committed.
    static let lostCommits = Scenario(
        name: "lost-commits", summary: "replies of COMMIT are lost: producers ask what became of their transactions"
    ) { stage in
        let door = try await Door(stage)
        let share = 50
        var (outcome, _, report, _) = try await under(stage, producerURL: door.url) { _, _ in
            try await stage.pause(1)
            door.drop(.commit, inThousand: stage.isShort ? 200 : share)
            try await stage.pause(stage.seconds(24, short: 3))
            door.drop(.commit, inThousand: 0)
            return 0
        }
        let counts = try await door.counts()
        let dropped = counts.dropped["commit"] ?? 0
        outcome.faults = dropped
        outcome.check("replies were lost", dropped > 0, dropped)
        outcome.check("each of them was asked about", report.unanswered >= dropped, report.unanswered)
        outcome.check(
            "each had been committed, and was known to be", report.committedAllTheSame == dropped,
            report.committedAllTheSame)
        return outcome
    }

    /// Relays do not hear what they have claimed.
    static let lostClaims = Scenario(
        name: "lost-claims",
        summary: "replies of claims are lost: what nobody heard of waits for its lease and runs once"
    ) { stage in
        var settings = Fleet.Settings()
        settings.concurrency = 16
        settings.lease = stage.seconds(3, short: 1)
        let door = try await Door(stage)
        var (outcome, _, _, fleet) = try await under(stage, settings: settings, url: door.url, producerURL: stage.url) {
            _, _ in
            try await stage.pause(1)
            door.drop(.claim, inThousand: 50)
            try await stage.pause(stage.seconds(20, short: 3))
            door.drop(.claim, inThousand: 0)
            stage.fault()
            try await stage.pause(1)
            // a claim that nobody heard of began nothing
            return 0
        }
        let dropped = try await door.counts().dropped["claim"] ?? 0
        outcome.faults = dropped
        outcome.check("replies were lost", dropped > 0, dropped)
        let dead = try await stage.count("SELECT count(*) FROM outbox.dead")
        outcome.check("dead letters", dead == 0, dead)
        outcome.check("relays that ended", fleet.ended.isEmpty, fleet.ended)
        return outcome
    }

    /// Relays do not hear that what they settled is settled.
    static let lostSettlements = Scenario(
        name: "lost-settlements", summary: "replies of settlements are lost, of successes, retries and dead letters"
    ) { stage in
        var settings = Fleet.Settings()
        settings.maxAttempts = 2
        let door = try await Door(stage)
        var (outcome, books, _, fleet) = try await under(
            stage, settings: settings, url: door.url, producerURL: stage.url,
            load: {
                $0.failsOneIn = 5
                $0.mostFailures = 2
            }
        ) { _, _ in
            try await stage.pause(1)
            door.drop(.settle, inThousand: stage.isShort ? 200 : 50)
            try await stage.pause(stage.seconds(20, short: 3))
            door.drop(.settle, inThousand: 0)
            stage.fault()
            try await stage.pause(1)
            // a settlement that took effect is final, whether or not it was heard of
            return 0
        }
        let dropped = try await door.counts().dropped["settle"] ?? 0
        outcome.faults = dropped
        outcome.check("replies were lost", dropped > 0, dropped)
        let dead = try await stage.count("SELECT count(*) FROM outbox.dead")
        // that each died once, and rightly, is the auditor's to say
        outcome.check("some tasks died, as they should", dead > 0, dead)
        let failed = Dictionary(grouping: books.ledgers.effects, by: \.task).values
            .count { $0.count { $0.outcome == .failed } >= 2 }
        outcome.check("dead letters, and tasks that failed as often as they may", dead == failed, "\(dead), \(failed)")
        outcome.check("relays that ended", fleet.ended.isEmpty, fleet.ended)
        return outcome
    }

    /// Connections stay established, and nothing passes any more.
    static let halfOpen = Scenario(
        name: "half-open", summary: "all connections of relays stay established and nothing passes; new ones work"
    ) { stage in
        let door = try await Door(stage)
        var (outcome, books, _, fleet) = try await under(
            stage, url: door.url, producerURL: stage.url, load: { $0.longest = 200 }
        ) { _, _ in
            var held = 0
            for _ in 0..<(stage.isShort ? 1 : 2) {
                try await stage.pause(2)
                held += try await stage.held()
                door.freeze()
                stage.fault()
                try await stage.pause(14)
                held += try await stage.held()
            }
            return held
        }
        outcome.rate = nil
        outcome.check("connections were half open", try await door.counts().frozen > 0, try await door.counts().frozen)
        let begins = books.ledgers.effects.map(\.start).sorted()
        let silence = zip(begins, begins.dropFirst()).map { Double($1 - $0) / 1e6 }.max() ?? 0
        outcome.check("the longest silence is at most 12 s", silence <= 12, silence)
        outcome.check("relays that ended", fleet.ended.isEmpty, fleet.ended)
        return outcome
    }
}
