// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Testing

@testable import PostgresClient

@Suite("Connecting")
struct ConnectTests {
    /// The configuration with other hosts tried before the real one.
    func preceded(by hosts: [(String, Int)], _ configuration: DatabaseConfiguration) -> DatabaseConfiguration {
        var configuration = configuration
        let real = (configuration.parameters["host"] ?? "", configuration.parameters["port"] ?? "5432")
        configuration.parameters["host"] = (hosts.map(\.0) + [real.0]).joined(separator: ",")
        configuration.parameters["port"] = (hosts.map { "\($0.1)" } + [real.1]).joined(separator: ",")
        return configuration
    }

    /// A port on which nobody listens.
    func freePort() throws -> Int { try SilentListener().port }

    @Test func aHostThatRefusesIsPassedOver() async throws {
        try await withDatabase { database in
            let configuration = preceded(by: [("127.0.0.1", try freePort())], database.configuration)
            let connection = try await Connection.connect(configuration)
            #expect(try await connection.run(["SELECT 1"])[0].count == 1)
            await connection.close()
        }
    }

    @Test func aHostThatNeverAnswersIsPassedOver() async throws {
        try await withDatabase { database in
            let silent = try SilentListener()
            var configuration = preceded(by: [("127.0.0.1", silent.port)], database.configuration)
            configuration.connectTimeout = .milliseconds(300)
            let connection = try await Connection.connect(configuration)
            #expect(try await connection.run(["SELECT 1"])[0].count == 1)
            await connection.close()
        }
    }

    @Test func aNameIsResolvedAndEachAddressIsTried() async throws {
        var configuration = try DatabaseConfiguration(url: "postgresql://localhost:\(try freePort())/x")
        configuration.connectTimeout = .seconds(5)
        let error = try await failure { try await Connection.connect(configuration) }
        #expect(error.code == .connectionFailed && error.isTransient)
        #expect(error.message.contains("localhost"))
    }

    @Test func aNameThatDoesNotExistIsNamed() async throws {
        let configuration = try DatabaseConfiguration(url: "postgresql://no-such-host.invalid/x")
        let error = try await failure { try await Connection.connect(configuration) }
        #expect(error.code == .connectionFailed && error.message.contains("no-such-host.invalid"))
    }

    @Test func connectingCanBeCancelled() async throws {
        let silent = try SilentListener()
        var configuration = try DatabaseConfiguration(url: "host=127.0.0.1 port=\(silent.port)")
        configuration.connectTimeout = .seconds(600)
        let task = Task { [configuration] in try await Connection.connect(configuration) }
        await Task.yield()
        task.cancel()
        #expect(try await failure { try await task.value }.code == .cancelled)
    }

    @Test func theServersRefusalHasItsSQLState() async throws {
        try await withDatabase { database in
            let configuration = database.configuration.with(database: "nowhere")
            let error = try await failure { try await Connection.connect(configuration) }
            #expect(error.code == .connectionFailed && error.sqlState == .invalidCatalogName)
            #expect(!error.isTransient && error.hint != nil)
            #expect(!error.message.contains("LOCATION") && !error.message.contains("3D000"))
        }
    }

    @Test func aStandbyIsWantedAndThereIsNone() async throws {
        try await withDatabase { database in
            var configuration = database.configuration
            configuration.parameters["target_session_attrs"] = "standby"
            #expect(try await failure { try await Connection.connect(configuration) }.code == .connectionFailed)
            configuration.parameters["target_session_attrs"] = "prefer-standby"
            let connection = try await Connection.connect(configuration)
            await connection.close()
        }
    }

    @Test func aReadOnlyServerIsPassedOverWhenWritesAreWanted() async throws {
        try await withDatabase { database in
            let name = try #require(database.configuration.parameters["dbname"])
            try await database.execute("ALTER DATABASE \(identifier: name) SET default_transaction_read_only = on")
            var configuration = database.configuration
            configuration.parameters["target_session_attrs"] = "read-write"
            let error = try await failure { try await Connection.connect(configuration) }
            #expect(error.code == .connectionFailed && error.hint != nil)
        }
    }
}
