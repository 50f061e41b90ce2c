// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import PostgresClient
internal import Synchronization

/// A connection that is opened when it is needed, and anew after it was lost.
///
/// It may lead to another database than before: after a failover, behind a pooler, or because a dump was restored in its
/// place. So a question goes ahead of what is to be run, in the same transaction: first on each connection, after
/// each error, and when the last answer is older than `interval`. If it fails, nothing else takes effect.
actor Line {
    private let configuration: DatabaseConfiguration
    private let timeout: Duration
    private let poller: Poller
    private let question: Statement
    private let interval: Duration
    private var connection: Connection?
    private var opening: Task<Connection, any Error>?
    /// When the present connection gave the last answer that was none of its errors.
    private var answeredAt: ContinuousClock.Instant?

    /// - Parameter poller: What its connections wait with, and what they are opened on.
    init(
        _ configuration: DatabaseConfiguration, timeout: Duration, poller: Poller, asking question: Statement,
        every interval: Duration
    ) {
        self.configuration = configuration
        self.timeout = timeout
        self.poller = poller
        self.question = question
        self.interval = interval
    }

    /// Runs a batch in one round trip and one transaction.
    ///
    /// - Parameters:
    ///   - asking: false for what has to be known before the question can be asked.
    ///   - meanwhile: Called when the batch is on its way, or before a connection is opened for it.
    func run(_ batch: [Statement], asking: Bool = true, meanwhile: Errand? = nil) async throws -> [QueryResult] {
        if connection == nil { meanwhile?.run() }
        let connection = try await open()
        let asks = asking && answeredAt.map { .now - $0 >= interval } ?? true
        do {
            let results = try await connection.run(
                asks ? [question] + batch : batch, timeout: timeout, heedingCancellation: false,
                meanwhile: meanwhile.map { $0.run })
            guard asks else { return results }
            if self.connection === connection { answeredAt = .now }
            return Array(results.dropFirst())
        } catch {
            let isOnWrongServer = await connection.isOnWrongServer || error.sqlState == .tasksOfAnotherDatabase
            let isShareable = await connection.isShareable
            if self.connection === connection { answeredAt = nil }
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
        if connection == nil { (connection, answeredAt) = (opened, nil) }
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

extension SQLState {
    /// `home_v1` says that the tasks belong to another database than the one that is asked.
    static let tasksOfAnotherDatabase = SQLState(rawValue: "OB002")
}
