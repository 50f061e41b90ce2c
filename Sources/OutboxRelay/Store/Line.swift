// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import PostgresClient

/// A connection that is opened when it is needed, and anew after it was lost.
///
/// It may lead to another database than before: after a failover, behind a pooler, or because a dump was restored in its
/// place. So a question goes ahead of what is to be run, in the same transaction: first on each connection, after
/// each error, and when the last answer is older than `interval`. If it fails, nothing else takes effect.
actor Line {
    private let configuration: DatabaseConfiguration
    private let timeout: Duration
    private let question: Statement
    private let interval: Duration
    private var connection: Connection?
    private var opening: Task<Connection, any Error>?
    /// When the present connection gave the last answer that was none of its errors.
    private var answeredAt: ContinuousClock.Instant?

    init(
        _ configuration: DatabaseConfiguration, timeout: Duration, asking question: Statement, every interval: Duration
    ) {
        self.configuration = configuration
        self.timeout = timeout
        self.question = question
        self.interval = interval
    }

    /// Runs a batch in one round trip and one transaction.
    ///
    /// - Parameter asking: false for what has to be known before the question can be asked.
    func run(_ batch: [Statement], asking: Bool = true) async throws -> [QueryResult] {
        let connection = try await open()
        let asks = asking && answeredAt.map { .now - $0 >= interval } ?? true
        do {
            let results = try await connection.run(
                asks ? [question] + batch : batch, timeout: timeout, heedingCancellation: false)
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
        let opening = self.opening ?? Task { [configuration] in try await Connection.connect(configuration) }
        self.opening = opening
        defer { if self.opening == opening { self.opening = nil } }
        let opened = try await opening.value
        if connection == nil { (connection, answeredAt) = (opened, nil) }
        return connection ?? opened
    }
}

extension SQLState {
    /// `home_v1` says that the tasks belong to another database than the one that is asked.
    static let tasksOfAnotherDatabase = SQLState(rawValue: "OB002")
}
