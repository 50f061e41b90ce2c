// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// A Postgres database: a pool of connections and what can be done with them.
///
/// It connects when it is first used. A connection that failed is dropped and the next call opens another; an error
/// is reported to the call that met it and is never retried here. Close it when the process has no more use for it.
public final class Database: StatementRunner {
    /// What the database was opened with.
    public let configuration: DatabaseConfiguration
    private let pool: ConnectionPool

    /// Opens nothing yet.
    public init(_ configuration: DatabaseConfiguration) {
        self.configuration = configuration
        pool = ConnectionPool(configuration)
    }

    /// The number of tasks that wait for a connection to become free.
    package var waitingTasks: Int { pool.waiting }

    /// Runs a statement in a transaction of its own and returns its rows.
    ///
    /// - Throws: ``PostgresError``; ``PostgresError/Code/connectionLost`` leaves open whether it took effect.
    public func query(_ statement: Statement) async throws -> QueryResult {
        let results = try await run([statement])
        return results[0]
    }

    /// Runs statements in one round trip and one transaction and returns their results, one for each.
    @discardableResult
    public func run(_ batch: [Statement]) async throws -> [QueryResult] {
        for statement in batch { try statement.validate() }
        return try await withConnection { connection in
            try await connection.run(batch, timeout: self.configuration.callTimeout)
        }
    }

    /// Lends a connection of the pool. One that comes back broken or inside a transaction is closed.
    package func withConnection<R>(
        isolation: isolated (any Actor)? = #isolation,
        _ body: (Connection) async throws -> sending R
    ) async throws -> sending R {
        let lease = try await pool.acquire()
        do {
            let result = try await body(lease.connection)
            await pool.release(lease)
            return result
        } catch {
            await pool.release(lease)
            throw error
        }
    }

    /// Opens a connection that is not the pool's; whoever asked for it closes it.
    package func connect() async throws(PostgresError) -> Connection {
        try await Connection.connect(configuration)
    }

    /// Turns away new calls, waits for those under way, and closes all connections.
    public func close() async {
        await pool.close()
    }
}
