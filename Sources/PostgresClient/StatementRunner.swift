// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// Something that statements can be run on: a ``Database`` or a ``Transaction``.
public protocol StatementRunner: Sendable {
    /// Runs a statement and returns its rows.
    func query(_ statement: Statement) async throws -> QueryResult
}

extension StatementRunner {
    /// Runs a statement and returns the number of rows that it affected.
    @discardableResult
    public func execute(_ statement: Statement) async throws -> Int {
        try await query(statement).affectedRows
    }
}
