// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import OutboxAudit
import PostgresClient

extension Scenario {
    /// What all scenarios of the usual load have in common: relays of both sorts, business at a rate, and in the middle
    /// whatever `faults` does; then everything has to drain.
    ///
    /// - Parameter measured: Which part of the business's time the rate is taken of, from its end, in seconds.
    static func under(
        _ stage: Stage, sidecars: Int = 2, handlers: Int = 2, settings: Fleet.Settings = Fleet.Settings(),
        measured: Double? = nil, drainWithin: Double = 60, url: String? = nil, producerURL: String? = nil,
        load: (inout Producer.Order) -> Void = { _ in },
        faults: (Fleet, Business) async throws -> Int?
    ) async throws -> (outcome: Outcome, books: Books, report: Producer.Report, fleet: Fleet) {
        let receiver = try await stage.receiver()
        let fleet = try Fleet(
            stage, sidecars: sidecars, handlers: handlers, receiver: receiver, url: url, settings: settings)
        try await fleet.ready()
        let business = try stage.producer(url: producerURL ?? url ?? stage.url) {
            if stage.isShort { $0.rate = 100 }
            load(&$0)
        }
        let mostDuplicates = try await faults(fleet, business)
        let ended = Instant.now
        let report = try await business.finished()
        _ = try await stage.drained(within: drainWithin)
        let books = try await Books(stage)
        var outcome = books.outcome(
            stage, grace: settings.lease + 4, mostDuplicates: mostDuplicates)
        books.check([business], in: &outcome)
        let from = measured.map { ended - Instant.seconds($0) } ?? business.began + 1_000_000
        outcome.rate = books.rate(from: from, until: ended)
        return (outcome, books, report, fleet)
    }

    /// The measure of all others: nothing happens.
    static let undisturbed = Scenario(
        name: "undisturbed", summary: "nothing happens; the others are measured by it"
    ) { stage in
        var (outcome, _, _, fleet) = try await under(stage) { _, _ in
            try await stage.pause(stage.seconds(12, short: 3))
            return 0
        }
        outcome.check("relays that ended", fleet.ended.isEmpty, fleet.ended)
        return outcome
    }

    /// A relay vanishes every second, and comes back a second later.
    static let kill = Scenario(
        name: "kill", summary: "SIGKILL to one of 6 relays every second, started again a second later"
    ) { stage in
        var random = stage.random("kill")
        var settings = Fleet.Settings()
        if stage.isShort { (settings.lease, settings.sweep) = (1.5, 0.5) }
        let each = stage.isShort ? 2 : 3
        var (outcome, _, _, _) = try await under(
            stage, sidecars: each, handlers: each, settings: settings, load: { $0.longest = 300 }
        ) { fleet, _ in
            var held = 0
            var gone: [Int] = []
            let kills = stage.isShort ? 3 : 30
            try await stage.pause(0.5)
            for _ in 0..<kills {
                let victim = (0..<fleet.count).filter { !gone.contains($0) }.randomElement(using: &random) ?? 0
                held += try await fleet.kill(victim)
                for index in gone { try fleet.start(index) }
                gone = [victim]
                try await stage.pause(1)
            }
            for index in gone { try fleet.start(index) }
            return held
        }
        let bound = settings.lease + settings.sweep + 5
        outcome.check(
            "all is done within lease + sweep + 5 s", outcome.recovery ?? .infinity <= bound, outcome.recovery ?? -1)
        if let rate = outcome.rate, let calm = outcome.calm, !stage.isShort {
            outcome.check("rate at least 90 % of the undisturbed", rate >= 0.9 * calm, rate / calm)
        }
        return outcome
    }

    /// A relay stands still for longer than its lease, and then goes on as if nothing had been.
    static let stop = Scenario(
        name: "stop", summary: "SIGSTOP to a sidecar and to a handler relay for three leases, then SIGCONT"
    ) { stage in
        var settings = Fleet.Settings()
        settings.lease = stage.seconds(3, short: 1)
        settings.sweep = 0.5
        let standstills = Locked<[Fleet.Ledger]>([])
        var (outcome, books, _, fleet) = try await under(
            stage, settings: settings,
            load: {
                ($0.shortest, $0.longest) = (200, 800)
                $0.rate = stage.isShort ? 80 : 200
            }
        ) { fleet, _ in
            try await stage.pause(1.5)
            for sort in [Fleet.Sort.sidecar, .handlers] {
                let index = try await fleet.busiest(sort)
                standstills.append(try await fleet.standStill(index, for: 3 * settings.lease))
                // so that what it does when it wakes is seen under load
                try await stage.pause(stage.seconds(5, short: 2))
            }
            return standstills.value.reduce(0) { $0 + $1.held }
        }
        for still in standstills.value {
            let next = books.ledgers.effects.filter { $0.by == still.name && $0.start > still.until }.map(\.start).min()
            let after = next.map { Double($0 - still.until) / 1e6 }
            outcome.check("\(still.name) works again within 5 s", after ?? .infinity <= 5, after ?? -1)
            outcome.check("\(still.name) held tasks when it stopped", still.held > 0, still.held)
        }
        let dead = try await stage.count("SELECT count(*) FROM outbox.dead")
        outcome.check("dead letters", dead == 0, dead)
        let crashed = try await stage.count("SELECT count(*) FROM outbox.attempts")
        outcome.check("attempts on record of tasks that are done", crashed == 0, crashed)
        outcome.check("relays that ended", fleet.ended.isEmpty, fleet.ended)
        let fenced = try await stage.count(
            "SELECT coalesce(sum(count), 0)::bigint FROM outbox.statistics WHERE outcome = 'fenced'")
        outcome.notes.append("\(fenced) late reports were refused (heartbeats may still owe some)")
        return outcome
    }
}
