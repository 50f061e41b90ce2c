// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import Outbox
import Stage
import Synchronization

/// The database of the demonstration: on a throw-away cluster, or on the server that `OUTBOX_DATABASE_URL` names, where
/// it is created and dropped and nothing else is touched.
final class Postgres: Sendable {
    private let programs: Programs
    private let script: URL
    private let name = "outbox_demo_\(ProcessInfo.processInfo.processIdentifier)"
    /// The server where the database has to be dropped.
    private let lent = Mutex<Database?>(nil)

    init(programs: Programs, repository: URL) {
        self.programs = programs
        script = repository.appending(path: "Sources/OutboxTesting/throwaway-postgres.sh")
    }

    /// Creates the database and returns its URL, and in words where it is.
    func create() async throws -> (url: String, place: String) {
        if let url = ProcessInfo.processInfo.environment["OUTBOX_DATABASE_URL"], !url.isEmpty {
            let server = Database(try DatabaseConfiguration(url: url))
            try await create(on: server)
            lent.withLock { $0 = server }
            return (self.url(on: url), "The database \(name) on the server of OUTBOX_DATABASE_URL, dropped afterwards.")
        }
        let keeper = try programs.start(
            URL(filePath: "/bin/sh"), [script.path, programs.directory.appending(path: "postgres").path],
            log: "postgres",
            environment: ["OUTBOX_DURABLE": "1"])
        let url = await keeper.output().trimmingCharacters(in: .newlines)
        guard url.hasPrefix("postgresql://") else {
            let log = try? String(contentsOf: programs.directory.appending(path: "postgres.log"), encoding: .utf8)
            throw StageError("Postgres did not start.\n\(log ?? "")")
        }
        let server = Database(try DatabaseConfiguration(url: url))
        try await create(on: server)
        let version = try await server.query("SELECT split_part(current_setting('server_version'), ' ', 1)")[0].decode(
            String.self, at: 0)
        await server.close()
        return (self.url(on: url), "Postgres \(version): a cluster of its own, with fsync on, thrown away afterwards.")
    }

    /// Drops the database if the server is not ours; a cluster of ours goes as a whole.
    func drop() async {
        guard let server = lent.withLock({ $0 }) else { return }
        do {
            try await server.execute("DROP DATABASE IF EXISTS \(identifier: name) WITH (FORCE)")
        } catch {
            say("The database \(name) could not be dropped: \(error)")
        }
        await server.close()
    }

    private func create(on server: Database) async throws {
        try await server.execute("CREATE DATABASE \(identifier: name)")
    }

    /// The last word on a parameter counts, in a URL and in a keyword string.
    private func url(on server: String) -> String {
        guard server.hasPrefix("postgres://") || server.hasPrefix("postgresql://") else {
            return "\(server) dbname=\(name)"
        }
        return "\(server)\(server.contains("?") ? "&" : "?")dbname=\(name)"
    }
}
