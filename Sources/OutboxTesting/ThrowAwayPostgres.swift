// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

public import PostgresClient
import Synchronization

/// A Postgres cluster for tests that disappears with the process, even if the process is killed.
///
/// `shared()` starts one when it is first asked for and then gives every test a database of its own by
/// `makeDatabase`, which takes about 20 ms. With `OUTBOX_DATABASE_URL` set, that server is used instead and the
/// databases are dropped when the process exits in good order; their names begin with `outbox_test_`.
public final class ThrowAwayPostgres: Sendable {
    private struct State {
        var lastNumber = 0
        var templates: Set<String> = []
    }

    /// How to reach the database `postgres` of the cluster.
    private let configuration: DatabaseConfiguration
    /// The script that keeps the cluster; `nil` for a server that is not ours.
    private let keeper: ClusterKeeper?
    /// Creates databases.
    private let administration: Database
    private let state = Mutex(State())
    private let templateTurnstile = Turnstile(capacity: 1)

    private init(url: String, keeper: ClusterKeeper?) throws {
        var configuration = try DatabaseConfiguration(url: url)
        self.configuration = configuration
        self.keeper = keeper
        configuration.maxConnections = 2
        configuration.callTimeout = .seconds(120)
        configuration.acquireTimeout = .seconds(120)
        configuration.applicationName = "outbox-testing"
        administration = Database(configuration)
    }

    private static let sharedTurnstile = Turnstile(capacity: 1)
    private static let sharedCluster = Mutex<ThrowAwayPostgres?>(nil)

    /// The cluster of this process, or the server that `OUTBOX_DATABASE_URL` names.
    ///
    /// - Throws: `PostgresError` that says what to install if there is no Postgres on this machine.
    public static func shared() async throws -> ThrowAwayPostgres {
        try await sharedTurnstile.enter()
        defer { sharedTurnstile.leave() }
        if let running = sharedCluster.withLock({ $0 }) { return running }
        let cluster: ThrowAwayPostgres
        if let url = environmentVariable("OUTBOX_DATABASE_URL"), !url.isEmpty {
            cluster = try ThrowAwayPostgres(url: url, keeper: nil)
        } else {
            cluster = try await start()
        }
        sharedCluster.withLock { $0 = cluster }
        return cluster
    }

    /// Starts a cluster of one's own, for a test that stops and starts it. It ends when the object is released.
    public static func start() async throws -> ThrowAwayPostgres {
        let (keeper, url) = try await ClusterKeeper.start()
        return try ThrowAwayPostgres(url: url, keeper: keeper)
    }

    /// Creates a database.
    ///
    /// - Parameter template: The database to copy, to which nobody may be connected; see ``template(_:prepare:)``.
    public func makeDatabase(template: String? = nil) async throws -> DatabaseConfiguration {
        let number = state.withLock { state in
            state.lastNumber += 1
            return state.lastNumber
        }
        let name = "outbox_test_\(processIdentifier())_\(number)_\(String(UInt32.random(in: 0 ... .max), radix: 36))"
        try await create(name, from: template ?? "template0")
        return configuration.with(database: name)
    }

    /// The name of a database to copy, made by `prepare` when it is first asked for.
    ///
    /// `prepare` must close all its connections. Others that ask for a template meanwhile wait.
    public func template(
        _ name: String, prepare: (DatabaseConfiguration) async throws -> Void
    ) async throws -> String {
        let database = "outbox_test_\(processIdentifier())_template_\(name)"
        try await templateTurnstile.enter()
        defer { templateTurnstile.leave() }
        if state.withLock({ $0.templates.contains(database) }) { return database }
        try await create(database, from: "template0")
        try await prepare(configuration.with(database: database))
        state.withLock { _ = $0.templates.insert(database) }
        return database
    }

    /// The URL of a database of the cluster, for another process.
    ///
    /// For a server of `OUTBOX_DATABASE_URL` it holds what that holds, the password too.
    public func url(database: String) -> String {
        // A keyword string: every parameter, quoted as libpq reads it.
        // https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-KEYWORD-VALUE
        configuration.with(database: database).parameters.sorted { $0.key < $1.key }.map { keyword, value in
            var text = ""
            for character in value {
                if character == "'" || character == "\\" { text += "\\" }
                text.append(character)
            }
            return "\(keyword)='\(text)'"
        }.joined(separator: " ")
    }

    /// Stops the cluster at once, as a crash would: no farewell is waited for and nothing is flushed.
    ///
    /// - Precondition: The cluster is this process's own, not one of `OUTBOX_DATABASE_URL`.
    public func stopImmediately() async throws {
        _ = try await owned().command("stop")
    }

    /// Starts the cluster again after ``stopImmediately()``; it recovers what was committed.
    public func startAgain() async throws {
        _ = try await owned().command("start")
    }

    private func owned() throws -> ClusterKeeper {
        guard let keeper else {
            throw PostgresError(
                .invalidConfiguration, "The server of OUTBOX_DATABASE_URL cannot be stopped by a test.",
                hint: "Unset OUTBOX_DATABASE_URL, or use ThrowAwayPostgres.start()."
            )
        }
        return keeper
    }

    private func create(_ name: String, from template: String) async throws {
        if keeper == nil { LeftoverDatabases.add(name, on: configuration) }
        // Copying the files is twice as fast as writing the copy to the log, but only since version 15.
        let strategy = try await administration.withConnection { await $0.serverVersion } >= 150_000
        let statement: Statement =
            strategy
            ? "CREATE DATABASE \(identifier: name) TEMPLATE \(identifier: template) STRATEGY file_copy"
            : "CREATE DATABASE \(identifier: name) TEMPLATE \(identifier: template)"
        try await administration.execute(statement)
    }
}

extension ThrowAwayPostgres {
    /// Whether clusters are started here, and not a server of `OUTBOX_DATABASE_URL` used.
    package static var isOwn: Bool { (environmentVariable("OUTBOX_DATABASE_URL") ?? "").isEmpty }
}
