// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// A type that can be read from a column in binary format.
public protocol PostgresDecodable {
    /// Reads a value.
    ///
    /// - Throws: what ``PostgresValue`` offers; `Row` adds the name of the column.
    init(from value: PostgresValue) throws(PostgresError)
}

/// A value of a column, lent to ``PostgresDecodable/init(from:)`` for the time of the call.
public struct PostgresValue {
    /// The object identifier of the column's type; for a domain, that of the type beneath.
    public let type: UInt32
    let storage: UnsafeRawBufferPointer?

    /// Whether the value is NULL.
    public var isNull: Bool { storage == nil }

    /// The value's bytes as the type's send function wrote them; not to be kept.
    ///
    /// - Throws: ``PostgresError/Code/decoding`` for NULL.
    public func bytes() throws(PostgresError) -> UnsafeRawBufferPointer {
        guard let storage else {
            throw PostgresError(.decoding, "is NULL.", hint: "Decode an optional, or coalesce the value in SQL.")
        }
        return storage
    }

    /// The bytes of a value of fixed size.
    func bytes(count: Int) throws(PostgresError) -> UnsafeRawBufferPointer {
        let bytes = try bytes()
        guard bytes.count == count else {
            throw PostgresError(
                .decoding, "holds \(bytes.count) bytes where \(PostgresType.describe(type)) has \(count)."
            )
        }
        return bytes
    }

    /// The error for a column type that `wanted` is not read from.
    public func unsupported<T>(as wanted: T.Type) -> PostgresError {
        if isNull {
            return PostgresError(.decoding, "is NULL.", hint: "Decode an optional, or coalesce the value in SQL.")
        }
        return PostgresError(
            .decoding, "is of \(PostgresType.describe(type)), which is not read as \(wanted).",
            hint: "Cast the column in SQL to a type that is, for instance with ::text or ::int8."
        )
    }
}

extension Optional: PostgresDecodable where Wrapped: PostgresDecodable {
    public init(from value: PostgresValue) throws(PostgresError) {
        if value.isNull { self = nil } else { self = try Wrapped(from: value) }
    }
}

extension Bool: PostgresDecodable {
    public init(from value: PostgresValue) throws(PostgresError) {
        guard value.type == PostgresType.bool else { throw value.unsupported(as: Self.self) }
        self = try value.bytes(count: 1)[0] != 0
    }
}

extension Int16: PostgresDecodable {
    public init(from value: PostgresValue) throws(PostgresError) {
        guard value.type == PostgresType.int2 else { throw value.unsupported(as: Self.self) }
        self = Int16(bigEndian: try value.bytes(count: 2).loadUnaligned(as: Int16.self))
    }
}

extension Int32: PostgresDecodable {
    /// Reads `int4` and `int2`.
    public init(from value: PostgresValue) throws(PostgresError) {
        switch value.type {
        case PostgresType.int4: self = Int32(bigEndian: try value.bytes(count: 4).loadUnaligned(as: Int32.self))
        case PostgresType.int2: self = Int32(try Int16(from: value))
        default: throw value.unsupported(as: Self.self)
        }
    }
}

extension Int64: PostgresDecodable {
    /// Reads `int8`, `int4`, `int2` and `oid`.
    public init(from value: PostgresValue) throws(PostgresError) {
        switch value.type {
        case PostgresType.int8: self = Int64(bigEndian: try value.bytes(count: 8).loadUnaligned(as: Int64.self))
        case PostgresType.int4, PostgresType.int2: self = Int64(try Int32(from: value))
        case PostgresType.oid: self = Int64(UInt32(bigEndian: try value.bytes(count: 4).loadUnaligned(as: UInt32.self)))
        default: throw value.unsupported(as: Self.self)
        }
    }
}

extension Int: PostgresDecodable {
    /// Reads `int8`, `int4`, `int2` and `oid`.
    public init(from value: PostgresValue) throws(PostgresError) {
        self = Int(try Int64(from: value))
    }
}

extension Double: PostgresDecodable {
    /// Reads `float8` and `float4`.
    public init(from value: PostgresValue) throws(PostgresError) {
        switch value.type {
        case PostgresType.float8:
            self.init(bitPattern: UInt64(bigEndian: try value.bytes(count: 8).loadUnaligned(as: UInt64.self)))
        case PostgresType.float4:
            self.init(
                Float(bitPattern: UInt32(bigEndian: try value.bytes(count: 4).loadUnaligned(as: UInt32.self)))
            )
        default: throw value.unsupported(as: Self.self)
        }
    }
}

extension String: PostgresDecodable {
    /// Reads the character types, `json` and `jsonb`.
    public init(from value: PostgresValue) throws(PostgresError) {
        switch value.type {
        case PostgresType.text, PostgresType.varchar, PostgresType.bpchar, PostgresType.name, PostgresType.char,
            PostgresType.json, PostgresType.unknown:
            self.init(decoding: try value.bytes(), as: UTF8.self)
        case PostgresType.jsonb:
            // One byte of version, always 1, then the text.
            let bytes = try value.bytes()
            guard bytes.first == 1 else {
                throw PostgresError(.decoding, "holds a version of jsonb that is not known here.")
            }
            self.init(decoding: UnsafeRawBufferPointer(rebasing: bytes.dropFirst()), as: UTF8.self)
        default: throw value.unsupported(as: Self.self)
        }
    }
}

extension Duration: PostgresDecodable {
    /// Reads `interval`; a day counts as 24 hours, and an interval with months is refused because they have no length.
    public init(from value: PostgresValue) throws(PostgresError) {
        guard value.type == PostgresType.interval else { throw value.unsupported(as: Self.self) }
        let bytes = try value.bytes(count: 16)
        let microseconds = Int64(bigEndian: bytes.loadUnaligned(as: Int64.self))
        let days = Int32(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: Int32.self))
        guard Int32(bigEndian: bytes.loadUnaligned(fromByteOffset: 12, as: Int32.self)) == 0 else {
            throw PostgresError(
                .decoding, "holds an interval with months or years, which have no fixed length.",
                hint: "Write the interval in days or smaller units."
            )
        }
        self = .microseconds(microseconds) + .seconds(Int64(days) * 86_400)
    }
}
