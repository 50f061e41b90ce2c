// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import OutboxTesting
import PostgresClient

extension Scenario {
    /// The server goes down as in a crash, again and again, and comes back.
    static let postgres = Scenario(
        name: "postgres", summary: "Postgres is stopped as a crash would, and started again, several times"
    ) { stage in
        var random = stage.random("postgres")
        let measured = stage.seconds(5, short: 1)
        var (outcome, _, report, fleet) = try await under(
            stage, measured: measured, load: { $0.longest = 200 }
        ) { fleet, _ in
            var held = 0
            for _ in 0..<(stage.isShort ? 1 : 4) {
                try await stage.pause(Double.random(in: 1.5...2.5, using: &random))
                held += try await stage.held()
                try await stage.cluster.stopImmediately()
                try await stage.pause(Double.random(in: 0.2...1.5, using: &random))
                try await stage.cluster.startAgain()
                stage.fault()
                _ = try await stage.eventually(within: 10) {
                    // what was claimed between the look before and the stop counts too
                    held += try await stage.held()
                    return true
                }
            }
            try await stage.pause(stage.seconds(5, short: 3) + measured)
            return held
        }
        outcome.check("relays that ended", fleet.ended.isEmpty, fleet.ended)
        outcome.checkRate(atLeast: 0.98, stage)
        outcome.notes.append(
            "\(report.unanswered) COMMITs were not answered, \(report.committedAllTheSame) had taken effect")
        return outcome
    }

    /// Sessions of relays and producers are ended by the server, without end.
    static let backends = Scenario(
        name: "backends", summary: "pg_terminate_backend on sessions of relays and producers, five times a second"
    ) { stage in
        var settings = Fleet.Settings()
        settings.concurrency = 16
        let ended = Locked(0)
        var random = stage.random("backends")
        var (outcome, _, _, fleet) = try await under(stage, settings: settings, load: { $0.longest = 200 }) { _, _ in
            try await stage.pause(1)
            for _ in 0..<(stage.isShort ? 15 : 100) {
                let draw = Double.random(in: 0..<1, using: &random)
                let count = try await stage.count(
                    """
                    WITH ours AS (SELECT pid FROM pg_stat_activity WHERE datname = current_database()
                        AND application_name <> 'storm' AND pid <> pg_backend_pid() ORDER BY pid),
                    one AS (SELECT pid FROM ours OFFSET floor(\(draw) * (SELECT count(*) FROM ours))::int LIMIT 1)
                    SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM one
                    """)
                ended.set(ended.value + count)
                stage.fault(count)
                try await stage.pause(0.2)
            }
            try await stage.pause(1)
            return ended.value * settings.concurrency
        }
        outcome.check("sessions were ended", ended.value > 0, ended.value)
        outcome.check("relays that ended", fleet.ended.isEmpty, fleet.ended)
        outcome.checkRate(atLeast: 0.98, stage)
        return outcome
    }

    /// Somebody takes all connections that there are, while relays have lost theirs.
    static let connections = Scenario(
        name: "connections", summary: "idle connections up to max_connections, while relays have to connect again"
    ) { stage in
        try await stage.letIn("app", "crowd")
        let url = "\(stage.url) user=app"
        let receiver = try await stage.receiver()
        let fleet = try Fleet(stage, sidecars: 2, handlers: 2, receiver: receiver, url: url)
        try await fleet.ready()
        let before = try stage.producer(url: url)
        try await stage.pause(2)
        _ = try await before.finished()
        let crowd = try await Crowd(url: "\(stage.url) user=crowd")
        stage.fault()
        let full = stage.seconds(15, short: 3)
        // the crowd is faster than those who were turned out
        _ = try await stage.count(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'app'")
        try await crowd.fill()
        try await stage.pause(0.5)
        let refusals = stage.refusals()
        try await stage.pause(full)
        let connects = Double(stage.refusals() - refusals) / full / Double(fleet.count)
        await crowd.leave()
        stage.fault()
        let after = try stage.producer(url: url)
        let began = Instant.now
        try await stage.pause(stage.seconds(10, short: 3))
        let until = Instant.now
        _ = try await after.finished()
        _ = try await stage.drained()
        let books = try await Books(stage)
        var outcome = books.outcome(stage, grace: fleet.settings.lease + 4, mostDuplicates: nil)
        books.check([before, after], in: &outcome)
        outcome.rate = books.rate(from: began + 5_000_000, until: until)
        outcome.check("a relay tries at most twice a second to connect", connects <= 2, connects)
        outcome.check("they did have to try", connects > 0, connects)
        outcome.check("relays that ended", fleet.ended.isEmpty, fleet.ended)
        outcome.checkRate(atLeast: 0.98, stage)
        return outcome
    }
}

extension Outcome {
    /// Nothing can be said of a run of a few seconds.
    mutating func checkRate(atLeast share: Double, _ stage: Stage) {
        guard let rate, let calm, !stage.isShort else { return }
        check(
            "rate at least \(Int(share * 100)) % of the undisturbed", rate >= share * calm, (100 * rate / calm).tenths)
    }
}

/// Idle connections, as many as the server has room for.
final class Crowd: Sendable {
    private let configuration: DatabaseConfiguration
    private let connections = Locked<[Connection]>([])

    init(url: String) async throws {
        configuration = try DatabaseConfiguration(url: url)
        try await fill()
    }

    /// Takes what is free.
    func fill() async throws {
        while connections.value.count < 1000 {
            do {
                connections.append(try await Connection.connect(configuration))
            } catch {
                guard error.sqlState?.classCode == "53" else { throw error }
                return
            }
        }
    }

    func leave() async {
        for connection in connections.value { await connection.close() }
        connections.set([])
    }
}
