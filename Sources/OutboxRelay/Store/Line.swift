// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import PostgresClient
internal import Synchronization

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
    ///
    /// - Parameter meanwhile: Called when the batch is on its way, or before a connection is opened for it.
    func run(_ batch: [Statement], meanwhile: Errand? = nil) async throws -> [QueryResult] {
        if connection == nil { meanwhile?.run() }
        let connection = try await open()
        do {
            return try await connection.run(
                batch, timeout: timeout, heedingCancellation: false, meanwhile: meanwhile.map { $0.run })
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

/// Something that is done once, by the first who comes to it.
final class Errand: Sendable {
    private let body: Mutex<(@Sendable () -> Void)?>

    init(_ body: @escaping @Sendable () -> Void) { self.body = Mutex(body) }

    func run() {
        let body = body.withLock { body in
            defer { body = nil }
            return body
        }
        body?()
    }
}
