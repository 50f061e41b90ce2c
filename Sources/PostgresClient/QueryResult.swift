// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import CLibPQ

/// What the server answered to one statement: rows, or the number of rows that it changed.
///
/// `@unchecked Sendable`: a `PGresult` never changes after it was made, libpq's functions only read it
/// (https://www.postgresql.org/docs/current/libpq-threading.html), and it is freed when the last reference is gone.
/// All tasks that work on the rows of one answer can therefore share it without copies.
public final class QueryResult: @unchecked Sendable {
    let pointer: OpaquePointer
    /// The number of rows.
    public let count: Int
    /// The number of columns.
    public let columnCount: Int

    /// Takes over a result: it is cleared when this object goes.
    init(adopting pointer: OpaquePointer) {
        self.pointer = pointer
        count = Int(PQntuples(pointer))
        columnCount = Int(PQnfields(pointer))
    }

    deinit {
        PQclear(pointer)
    }

    /// The names of the columns, in order.
    public var columnNames: [String] { (0..<columnCount).map(name(ofColumn:)) }

    /// The number of rows that an INSERT, UPDATE, DELETE, MERGE or SELECT affected or returned; 0 for other commands.
    public var affectedRows: Int {
        guard let text = PQcmdTuples(pointer) else { return 0 }
        return Int(String(cString: text)) ?? 0
    }

    /// The command as the server names it: `INSERT 0 1`, `COMMIT`, `ROLLBACK`.
    package var commandTag: String { PQcmdStatus(pointer).map { String(cString: $0) } ?? "" }

    /// The position of the first column with this name, exactly as the server spells it.
    public func column(named name: String) throws(PostgresError) -> Int {
        let position: Int? = name.withCString { wanted in
            (0..<columnCount).first { column in
                var wanted = wanted
                guard var found = UnsafePointer(PQfname(pointer, Int32(column))) else { return false }
                while wanted.pointee == found.pointee {
                    if wanted.pointee == 0 { return true }
                    wanted += 1
                    found += 1
                }
                return false
            }
        }
        if let position { return position }
        throw PostgresError(
            .decoding, "There is no column \(name) in the result.",
            hint: "The columns are: \(columnNames.joined(separator: ", "))."
        )
    }

    func name(ofColumn column: Int) -> String {
        guard let name = PQfname(pointer, Int32(column)) else { return "?column?" }
        return String(cString: name)
    }
}

extension QueryResult: RandomAccessCollection {
    public var startIndex: Int { 0 }
    public var endIndex: Int { count }

    /// The row at a position; asking for one that does not exist is a caller's bug.
    public subscript(position: Int) -> Row {
        precondition(position >= 0 && position < count, "row out of range")
        return Row(result: self, index: position)
    }
}

/// Access for hot paths: no copies, no type dispatch, and no check of the type beyond the value's length.
extension QueryResult {
    /// Whether the value is NULL.
    package func isNull(row: Int, column: Int) -> Bool {
        PQgetisnull(pointer, Int32(truncatingIfNeeded: row), Int32(truncatingIfNeeded: column)) != 0
    }

    /// Lends the value's bytes in binary format, `nil` for NULL. They must not be kept.
    package func withBytes<R, E: Error>(
        row: Int, column: Int, _ body: (UnsafeRawBufferPointer?) throws(E) -> R
    ) throws(E) -> R {
        try body(bytes(row: row, column: column))
    }

    /// An `int8`.
    package func int64(row: Int, column: Int) throws(PostgresError) -> Int64 {
        guard let bytes = bytes(row: row, column: column), bytes.count == 8 else {
            throw mismatch(row: row, column: column, expected: "int8")
        }
        return Int64(bigEndian: bytes.loadUnaligned(as: Int64.self))
    }

    /// An `int4`.
    package func int32(row: Int, column: Int) throws(PostgresError) -> Int32 {
        guard let bytes = bytes(row: row, column: column), bytes.count == 4 else {
            throw mismatch(row: row, column: column, expected: "int4")
        }
        return Int32(bigEndian: bytes.loadUnaligned(as: Int32.self))
    }

    /// An `int2`.
    package func int16(row: Int, column: Int) throws(PostgresError) -> Int16 {
        guard let bytes = bytes(row: row, column: column), bytes.count == 2 else {
            throw mismatch(row: row, column: column, expected: "int2")
        }
        return Int16(bigEndian: bytes.loadUnaligned(as: Int16.self))
    }

    /// A `bool`.
    package func bool(row: Int, column: Int) throws(PostgresError) -> Bool {
        guard let bytes = bytes(row: row, column: column), bytes.count == 1 else {
            throw mismatch(row: row, column: column, expected: "bool")
        }
        return bytes[0] != 0
    }

    /// A `uuid`.
    package func uuid(row: Int, column: Int) throws(PostgresError) -> PostgresUUID {
        guard let bytes = bytes(row: row, column: column), bytes.count == 16 else {
            throw mismatch(row: row, column: column, expected: "uuid")
        }
        return PostgresUUID(
            high: UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self)),
            low: UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)))
    }

    /// A `text`.
    package func string(row: Int, column: Int) throws(PostgresError) -> String {
        guard let bytes = bytes(row: row, column: column) else {
            throw mismatch(row: row, column: column, expected: "text")
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// A `bytea`.
    package func byteArray(row: Int, column: Int) throws(PostgresError) -> [UInt8] {
        guard let bytes = bytes(row: row, column: column) else {
            throw mismatch(row: row, column: column, expected: "bytea")
        }
        return [UInt8](bytes)
    }

    func bytes(row: Int, column: Int) -> UnsafeRawBufferPointer? {
        let row = Int32(truncatingIfNeeded: row)
        let column = Int32(truncatingIfNeeded: column)
        let length = PQgetlength(pointer, row, column)
        // libpq gives NULL the length 0 too, so only an empty value costs the second question.
        if length == 0, PQgetisnull(pointer, row, column) != 0 { return nil }
        return UnsafeRawBufferPointer(start: PQgetvalue(pointer, row, column), count: Int(length))
    }

    private func mismatch(row: Int, column: Int, expected: String) -> PostgresError {
        let found = isNull(row: row, column: column) ? "NULL" : PostgresType.describe(PQftype(pointer, Int32(column)))
        return PostgresError(.decoding, "Column \(name(ofColumn: column)) is \(found), not \(expected).")
    }
}
