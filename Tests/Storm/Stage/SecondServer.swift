// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import OutboxTesting
import PostgresClient

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// A second Postgres server, made from a base backup of the stage's own: its standby, or a copy that goes its own way.
final class SecondServer: Sendable {
    let directory: String
    private let stage: Stage
    private let child = Locked<Child?>(nil)
    let url: String
    /// For looking at it.
    let database: Database

    /// Takes the backup.
    init(_ stage: Stage, _ name: String, isStandby: Bool) async throws {
        self.stage = stage
        directory = "\(stage.directory)/\(name)"
        url = "host=\(directory) port=5432 user=postgres dbname=\(stage.databaseName)"
        var configuration = try DatabaseConfiguration(url: url)
        configuration.maxConnections = 3
        configuration.applicationName = "storm"
        database = Database(configuration)
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        if getuid() == 0, let user = getpwnam("postgres") { chown(directory, user.pointee.pw_uid, user.pointee.pw_gid) }
        let backup = try stage.children.start(
            "pg_basebackup",
            ServerTools.asServer + [
                ServerTools.path("pg_basebackup") ?? "pg_basebackup", "-D", "\(directory)/data", "-h",
                stage.clusterDirectory, "-U", "postgres", "-X", "stream", "-c", "fast",
            ] + (isStandby ? ["-R"] : []))
        guard try await backup.ended(within: 60) == 0 else { throw StormError("pg_basebackup failed") }
    }

    static var obstacle: String? {
        for program in ["pg_basebackup", "postgres"] where ServerTools.path(program) == nil {
            return "there is no \(program)"
        }
        return nil
    }

    func start(environment: [String: String] = [:]) async throws {
        child.set(
            try stage.children.start(
                "second-server",
                // for the server alone: what libfaketime makes for a shell of root's, the server's user may not open
                ServerTools.asServer + ["env"] + environment.map { "\($0.key)=\($0.value)" } + [
                    ServerTools.path("postgres") ?? "postgres", "-D", "\(directory)/data", "-k", directory, "-c",
                    "listen_addresses=", "-c", "port=5432", "-c", "max_connections=200", "-c", "log_connections=on",
                    "-c", "synchronous_standby_names=",
                ], farewell: SIGQUIT))
        guard try await stage.eventually(within: 30, { try await self.count("SELECT 1") == 1 }) else {
            throw StormError("the second server did not start")
        }
    }

    func promote() async throws {
        _ = try await database.query("SELECT pg_promote()")
    }

    /// Stops it in good order, so that it leaves nothing in the system.
    func stop() async throws {
        await database.close()
        child.value?.send(SIGINT)
        try await child.value?.ended()
    }

    func count(_ statement: Statement) async throws -> Int {
        try await database.query(statement)[0].decode(Int.self, at: 0)
    }

    func isDrained(within limit: Double) async throws -> Bool {
        try await stage.eventually(within: limit) {
            try await self.count("SELECT (SELECT count(*) FROM outbox.ready) + (SELECT count(*) FROM outbox.later)")
                == 0
        }
    }

    /// How many sessions relays have begun, from its log.
    func relaySessions() -> Int {
        let log = (try? String(contentsOfFile: "\(stage.directory)/second-server.log", encoding: .utf8)) ?? ""
        return log.split(separator: "\n").count { $0.contains("connection authorized") && $0.contains("outbox relay") }
    }
}
