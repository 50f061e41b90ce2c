// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import CLibPQ

/// One row of a result. It keeps the whole result alive.
public struct Row: Sendable {
    package let result: QueryResult
    /// The position of the row in its result.
    public let index: Int

    /// The number of columns.
    public var count: Int { result.columnCount }

    /// Reads the value of the column at a position, counted from 0.
    ///
    /// - Throws: ``PostgresError/Code/decoding`` with the column's name if the value is NULL and `type` is not
    ///   optional, or if the column's type is not one that `type` is read from.
    public func decode<Value: PostgresDecodable>(
        _ type: Value.Type = Value.self, at column: Int
    ) throws(PostgresError) -> Value {
        guard column >= 0, column < result.columnCount else {
            throw PostgresError(
                .decoding, "There is no column \(column) in the result; it has \(result.columnCount)."
            )
        }
        let value = PostgresValue(
            type: PQftype(result.pointer, Int32(column)), storage: result.bytes(row: index, column: column)
        )
        do {
            return try Value(from: value)
        } catch {
            throw PostgresError(
                .decoding, "Column \(result.name(ofColumn: column)) \(error.message)", hint: error.hint
            )
        }
    }

    /// Reads the value of the first column with this name.
    ///
    /// - Throws: ``PostgresError/Code/decoding``, also if there is no such column.
    public func decode<Value: PostgresDecodable>(
        _ type: Value.Type = Value.self, _ column: String
    ) throws(PostgresError) -> Value {
        try decode(type, at: result.column(named: column))
    }
}
