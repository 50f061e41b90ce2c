// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

extension Database {
    /// Runs `body` in a transaction and commits it.
    ///
    /// If `body` throws, or the task is cancelled before COMMIT is sent, the transaction is rolled back. COMMIT itself
    /// is not given up when the task is cancelled.
    ///
    /// - Throws: What `body` throws. ``PostgresError/Code/server`` with SQLSTATE 25P02 if a statement had failed and
    ///   `body` went on as if it had not: Postgres answers such a COMMIT with a rollback.
    ///   ``PostgresError/Code/commitOutcomeUnknown`` if the connection broke before COMMIT was answered.
    @discardableResult
    public func transaction<R>(
        isolation: isolated (any Actor)? = #isolation,
        _ body: (Transaction) async throws -> sending R
    ) async throws -> sending R {
        let callTimeout = configuration.callTimeout
        return try await withConnection(isolation: isolation) { connection in
            let transaction = Transaction(on: connection, callTimeout: callTimeout)
            try await connection.run(["BEGIN"], timeout: callTimeout)
            let result: R
            do {
                result = try await body(transaction)
                if Task.isCancelled {
                    throw PostgresError(.cancelled, "The task was cancelled before COMMIT; rolled back.")
                }
            } catch {
                transaction.finish()
                await Self.rollBack(connection)
                throw error
            }
            transaction.finish()
            try await Self.commit(connection, transaction.identifier, callTimeout)
            return result
        }
    }

    /// How long a rollback may take before the connection is closed, which rolls back as well.
    private static let rollbackTimeout: Duration = .seconds(5)

    private static func rollBack(_ connection: Connection) async {
        do {
            try await connection.run(["ROLLBACK"], timeout: rollbackTimeout, heedingCancellation: false)
        } catch {
            await connection.close()
        }
    }

    private static func commit(
        _ connection: Connection, _ identifier: TransactionIdentifier?, _ timeout: Duration
    ) async throws(PostgresError) {
        let results: [QueryResult]
        do {
            results = try await connection.run(["COMMIT"], timeout: timeout, heedingCancellation: false)
        } catch {
            guard await isOutcomeUnknown(after: error, on: connection) else { throw error }
            throw PostgresError(
                .commitOutcomeUnknown,
                "The connection was lost before COMMIT was answered: the transaction may be committed or not.",
                hint: identifier == nil
                    ? "Read again what the transaction wrote before doing it once more."
                    : "Ask pg_xact_status for the transaction before doing it once more.",
                sqlState: error.sqlState, transactionIdentifier: identifier, underlying: error
            )
        }
        // https://www.postgresql.org/docs/current/sql-commit.html: COMMIT of an aborted transaction "succeeds".
        guard results[0].commandTag != "ROLLBACK" else {
            throw PostgresError(
                .server, "The transaction was rolled back, because one of its statements had failed.",
                hint: "Let the statement's error leave the closure, or use a savepoint.",
                sqlState: .inFailedSQLTransaction
            )
        }
    }

    private static func isOutcomeUnknown(after error: PostgresError, on connection: Connection) async -> Bool {
        if error.nothingWasSent { return false }
        if error.sqlState == .statementCompletionUnknown { return true }
        // An orderly error of the server leaves the session standing and nothing committed. A timeout of ours whose
        // cancellation was not confirmed has closed the connection.
        return await connection.isClosed
    }

    /// Asks the server what became of a transaction.
    ///
    /// The answer is ``TransactionStatus/unknown`` if the server has crashed since, or is another one after a failover:
    /// its transactions' numbers may be others' now. Then look for the rows themselves.
    public func status(ofTransaction identifier: TransactionIdentifier) async throws -> TransactionStatus {
        let result: QueryResult
        do {
            result = try await withConnection { connection in
                let life = TransactionIdentifier.life(serverVersion: connection.serverVersion)
                return try await connection.run(
                    [
                        Statement(
                            "SELECT pg_xact_status($1::xid8), \(life)", binds: [String(identifier.number).bind])
                    ], timeout: self.configuration.callTimeout)[0]
            }
        } catch let error as PostgresError where error.sqlState?.classCode == "22" {
            return .unknown  // "transaction ID … is in the future": not this server's.
        }
        guard try result[0].decode(String.self, at: 1) == identifier.life else { return .unknown }
        switch try result[0].decode(String?.self, at: 0) {
        case "committed": return .committed
        case "aborted": return .aborted
        case "in progress": return .inProgress
        default: return .unknown
        }
    }
}
