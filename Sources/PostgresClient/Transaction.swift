// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Synchronization

/// A transaction under way. It exists inside the closure of ``Database/transaction(isolation:_:)`` and is of no use
/// after it: a statement would then run outside of the transaction, so it throws
/// ``PostgresError/Code/transactionFinished`` instead.
public final class Transaction: StatementRunner {
    private struct State {
        var isFinished = false
        var identifier: TransactionIdentifier?
    }

    private let connection: Connection
    private let callTimeout: Duration
    private let state = Mutex(State())

    init(on connection: Connection, callTimeout: Duration) {
        self.connection = connection
        self.callTimeout = callTimeout
    }

    /// Runs a statement in the transaction and returns its rows.
    ///
    /// An error aborts the transaction on the server: later statements fail and it can only be rolled back.
    public func query(_ statement: Statement) async throws -> QueryResult {
        let results = try await run([statement])
        return results[0]
    }

    /// Runs statements in one round trip and returns their results, one for each.
    @discardableResult
    public func run(_ batch: [Statement]) async throws -> [QueryResult] {
        // The question is asked again when it is the batch's turn on the connection: COMMIT may have come between.
        try await connection.run(batch, timeout: callTimeout) { [self] () throws(PostgresError) in
            guard state.withLock({ $0.isFinished }) else { return }
            var error = PostgresError(
                .transactionFinished, "The transaction has ended; its closure has returned.",
                hint: "Use the transaction inside the closure only, and await everything that uses it there."
            )
            error.nothingWasSent = true
            throw error
        }
    }

    /// The server's identifier of the transaction, once it was read.
    ///
    /// With it ``Database/status(ofTransaction:)`` can tell, when COMMIT was not answered, what became of it.
    package var identifier: TransactionIdentifier? { state.withLock { $0.identifier } }

    /// Reads the identifier; this assigns one, so the transaction counts as one that writes.
    @discardableResult
    package func readIdentifier() async throws -> TransactionIdentifier {
        let text = try await query(Statement("SELECT \(identifierExpression)", binds: []))[0].decode(String.self, at: 0)
        guard let identifier = TransactionIdentifier(text) else {
            throw PostgresError(.decoding, "The server's transaction identifier is not a number.")
        }
        record(identifier: identifier)
        return identifier
    }

    /// What another statement may return along with its own answer, to be recorded.
    package var identifierExpression: String {
        TransactionIdentifier.expression(serverVersion: connection.serverVersion)
    }

    /// Keeps an identifier that another statement of the transaction has returned along with its own answer.
    package func record(identifier: TransactionIdentifier) {
        state.withLock { $0.identifier = identifier }
    }

    func finish() {
        state.withLock { $0.isFinished = true }
    }
}

/// What became of a transaction.
public enum TransactionStatus: Sendable, Hashable {
    case committed
    case aborted
    /// It still runs: ask again.
    case inProgress
    /// The server does not remember, or cannot: it is another one, has crashed since, or it is long ago.
    case unknown
}
