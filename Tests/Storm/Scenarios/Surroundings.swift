// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import PostgresClient

extension Scenario {
    /// Relays and producers reach Postgres through PgBouncer in transaction mode, with two connections for all of them.
    static let pgbouncer = Scenario(
        name: "pgbouncer",
        summary: "through PgBouncer in transaction mode with a pool of two; relays are killed meanwhile",
        obstacle: { ServerTools.path("pgbouncer") == nil ? "PgBouncer is not installed" : nil }
    ) { stage in
        let url = try await startBouncer(stage)
        var random = stage.random("pgbouncer")
        var settings = Fleet.Settings()
        if stage.isShort { (settings.lease, settings.sweep) = (1.5, 0.5) }
        var (outcome, _, _, _) = try await under(stage, settings: settings, url: url, load: { $0.longest = 200 }) {
            fleet, _ in
            var held = 0
            for _ in 0..<(stage.isShort ? 2 : 8) {
                try await stage.pause(1.5)
                let victim = Int.random(in: 0..<fleet.count, using: &random)
                held += try await fleet.kill(victim)
                try await stage.pause(1)
                try fleet.start(victim)
            }
            return held
        }
        let files = try FileManager.default.contentsOfDirectory(atPath: stage.directory).filter { $0.hasSuffix(".log") }
        let complaints = files.flatMap { file in
            ((try? String(contentsOfFile: "\(stage.directory)/\(file)", encoding: .utf8)) ?? "").split(separator: "\n")
                .filter { $0.contains("prepared statement") || $0.contains("26000") }.map(String.init)
        }
        outcome.check("errors about prepared statements", complaints.isEmpty, complaints.count)
        outcome.checkRate(atLeast: 0.9, stage)
        return outcome
    }

    private static func startBouncer(_ stage: Stage) async throws -> String {
        let directory = "\(stage.directory)/bouncer"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        if getuid() == 0, let user = getpwnam("postgres") { chown(directory, user.pointee.pw_uid, user.pointee.pw_gid) }
        let file = "\(directory)/pgbouncer.ini"
        try """
        [databases]
        * = host=\(stage.clusterDirectory) port=5432 user=postgres
        [pgbouncer]
        unix_socket_dir = \(directory)
        listen_port = 6432
        auth_type = any
        pool_mode = transaction
        default_pool_size = 2
        max_client_conn = 500
        """.write(toFile: file, atomically: true, encoding: .utf8)
        _ = try stage.children.start(
            "pgbouncer", ServerTools.asServer + [ServerTools.path("pgbouncer") ?? "pgbouncer", file])
        let url = "host=\(directory) port=6432 user=postgres dbname=\(stage.databaseName)"
        let database = Database(try DatabaseConfiguration(url: url))
        let isThere = try await stage.eventually(within: 10) { try await !database.query("SELECT 1").isEmpty }
        await database.close()
        guard isThere else { throw StormError("PgBouncer did not start") }
        return url
    }

    /// Where Debian and Ubuntu put libfaketime.
    private static var faketime: String? {
        let root = "/usr/lib"
        return ((try? FileManager.default.contentsOfDirectory(atPath: root)) ?? [])
            .map { "\(root)/\($0)/faketime/libfaketime.so.1" }
            .first { FileManager.default.fileExists(atPath: $0) }
    }

    /// The database's clock jumps, forth and back.
    ///
    /// Not the relays': libfaketime shifts also the descriptors by which Swift's runtime sleeps, so that what is seen is a
    /// relay whose sleeps never end.
    static let clocks = Scenario(
        name: "clocks",
        summary: "the database's clock jumps two hours, forth and back",
        obstacle: { faketime == nil ? "libfaketime is not installed" : SecondServer.obstacle }
    ) { stage in
        let library = faketime ?? ""
        // a server of its own, whose clock a file sets
        let second = try await SecondServer(stage, "copy", isStandby: false)
        let clock = "\(stage.directory)/clock"
        func set(_ offset: String) throws { try "\(offset)\n".write(toFile: clock, atomically: false, encoding: .utf8) }
        try set("+0")
        try await second.start(
            environment: [
                "LD_PRELOAD": library, "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_TIMESTAMP_FILE": clock,
                "FAKETIME_NO_CACHE": "1",
            ])
        let receiver = try await stage.receiver()
        let fleet = try Fleet(stage, sidecars: 2, handlers: 2, receiver: receiver, url: second.url)
        let business = try stage.producer(url: second.url) { $0.longest = 300 }
        try await stage.pause(2)
        var most = 0
        for offset in ["+2h", "+0"] {
            most += try await second.count("SELECT count(*) FROM outbox.ready WHERE relay IS NOT NULL")
            try set(offset)
            stage.fault()
            try await stage.pause(0.3)
            most += try await second.count("SELECT count(*) FROM outbox.ready WHERE relay IS NOT NULL")
            try await stage.pause(stage.seconds(8, short: 3))
        }
        _ = try await business.finished()
        let stopped = Instant.now
        let isDrained = try await second.isDrained(within: 90)
        let books = try await Books(stage, database: second.database)
        var outcome = books.outcome(stage, grace: 8, mostDuplicates: most, mayBeOvertaken: true)
        books.check([business], in: &outcome)
        outcome.check(
            "no task waited for more than a minute", isDrained && Instant.now - stopped < 60_000_000,
            "\((Double(Instant.now - stopped) / 1e6).tenths) s")
        outcome.check("relays that ended", fleet.ended.isEmpty, fleet.ended)
        try await second.stop()
        return outcome
    }
}
