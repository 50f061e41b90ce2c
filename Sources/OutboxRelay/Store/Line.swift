// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import PostgresClient

/// A connection that is opened when it is needed, and anew after it was lost.
actor Line {
    private let configuration: DatabaseConfiguration
    private let timeout: Duration
    private let poller: Poller
    private var connection: Connection?
    private var opening: Task<Connection, any Error>?

    /// - Parameter poller: What its connections wait with, and what they are opened on.
    init(_ configuration: DatabaseConfiguration, timeout: Duration, poller: Poller) {
        self.configuration = configuration
        self.timeout = timeout
        self.poller = poller
    }

    /// Runs a batch in one round trip and one transaction.
    func run(_ batch: [Statement]) async throws -> [QueryResult] {
        let connection = try await open()
        do {
            return try await connection.run(batch, timeout: timeout, heedingCancellation: false)
        } catch {
            let isOnWrongServer = await connection.isOnWrongServer
            let isShareable = await connection.isShareable
            if isOnWrongServer || !isShareable {
                if self.connection === connection { self.connection = nil }
                await connection.close()
            }
            throw error
        }
    }

    func close() async {
        let connection = self.connection
        self.connection = nil
        await connection?.close()
    }

    private func open() async throws -> Connection {
        if let connection {
            if await connection.isShareable { return connection }
            if self.connection === connection { self.connection = nil }
        }
        // two callers that come together open one connection
        let opening =
            self.opening
            ?? Task(executorPreference: poller) { [configuration, poller] in
                try await Connection.connect(configuration, poller: poller)
            }
        self.opening = opening
        defer { if self.opening == opening { self.opening = nil } }
        let opened = try await opening.value
        if connection == nil { connection = opened }
        return connection ?? opened
    }
}
