// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import ArgumentParser
internal import Foundation
internal import Outbox
internal import OutboxRelay
internal import PostgresClient

/// Where the outbox is: the options that every command shares.
struct DatabaseOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "A postgresql:// URL, or env:NAME or file:/path where it stands. Default: OUTBOX_DATABASE_URL, the "
                + "configuration file, DATABASE_URL.", valueName: "url"))
    var database: String?

    @Option(help: ArgumentHelp("The schema that holds the outbox. Default: outbox.", valueName: "name"))
    var schema: String?

    @Option(
        help: ArgumentHelp(
            "The configuration file. Default: OUTBOX_CONFIG, or outbox.yaml if it exists.", valueName: "file"))
    var config: String?

    static var environment: [String: String] { ProcessInfo.processInfo.environment }

    /// What the options say goes before what the file and the variables say.
    func settings(from read: DatabaseSettings) throws -> DatabaseSettings {
        var settings = read
        let environment = Self.environment
        do {
            if let database { settings.url = try SecretReference.resolve(database, environment: environment) }
        } catch {
            throw Problem(.misconfigured, "--database: \(error.message)")
        }
        if settings.url == nil, let url = environment["DATABASE_URL"], !url.isEmpty { settings.url = url }
        if let schema {
            do {
                settings.schema = try Schema(schema)
            } catch {
                throw Problem(.misconfigured, "--schema \(error.problem)", hint: error.hint)
            }
        }
        return settings
    }

    func settings() throws -> DatabaseSettings {
        let environment = Self.environment
        let file = try ConfigurationFile.find(option: config, environment: environment)
        do {
            return try settings(from: Configuration.readDatabase(file, environment: environment))
        } catch let error as ConfigurationProblems {
            throw error.problem
        }
    }

    /// Opens the database, checks that its outbox is of a version that this release knows, and closes it at the end.
    ///
    /// - Parameter checked: false for those who make that version.
    func withSession<R>(checked: Bool = true, _ body: (Session) async throws -> R) async throws -> R {
        let session = try Session(settings())
        do {
            if checked { try SchemaVersion.check(try await session.version(), schema: session.schema) }
            let result = try await body(session)
            await session.database.close()
            return result
        } catch {
            await session.database.close()
            throw error
        }
    }
}

extension DatabaseSettings {
    func configuration() throws -> DatabaseConfiguration {
        guard let url else {
            throw Problem(
                .misconfigured, "no database is named",
                hint: "give --database postgresql://user@host/database, or set DATABASE_URL")
        }
        var configuration = try DatabaseConfiguration(url: url)
        configuration.applicationName = "outbox"
        return configuration
    }
}

/// A database that is open, and the schema of its outbox.
struct Session {
    let database: Database
    let schema: Schema

    init(_ settings: DatabaseSettings) throws {
        var configuration = try settings.configuration()
        // one for the command's work, one to ask what became of it
        configuration.maxConnections = 2
        database = Database(configuration)
        schema = settings.schema
    }

    /// The version of the schema; `nil` if there is no outbox.
    func version() async throws -> Int? {
        do {
            return try await database.query(
                Statement("SELECT max(version) FROM \(schema.quoted).schema_version", binds: []))[0]
                .decode(Int?.self, at: 0)
        } catch let error as PostgresError where error.sqlState == .undefinedTable {
            return nil
        }
    }
}

/// The option of those that print something that a program may want to read.
struct OutputOptions: ParsableArguments {
    @Flag(help: "Print JSON for programs instead of text for people.")
    var json = false
}
