// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// A type whose values can be bound to the parameters of a statement.
public protocol PostgresEncodable {
    /// The object identifier of the type that the values are sent as; 0 if the server is to infer it.
    static var postgresType: UInt32 { get }
    /// The value as a parameter.
    var bind: Bind { get }
}

extension Optional: PostgresEncodable where Wrapped: PostgresEncodable {
    public static var postgresType: UInt32 { Wrapped.postgresType }
    /// The wrapped value's parameter, or NULL of its type.
    public var bind: Bind { self?.bind ?? .null(type: Wrapped.postgresType) }
}

extension Bool: PostgresEncodable {
    public static var postgresType: UInt32 { PostgresType.bool }
    public var bind: Bind { Bind(type: Self.postgresType, format: .binary, bytes: [self ? 1 : 0]) }
}

extension Int16: PostgresEncodable {
    public static var postgresType: UInt32 { PostgresType.int2 }
    public var bind: Bind { Bind(type: Self.postgresType, format: .binary, bytes: bigEndianBytes(of: self)) }
}

extension Int32: PostgresEncodable {
    public static var postgresType: UInt32 { PostgresType.int4 }
    public var bind: Bind { Bind(type: Self.postgresType, format: .binary, bytes: bigEndianBytes(of: self)) }
}

extension Int64: PostgresEncodable {
    public static var postgresType: UInt32 { PostgresType.int8 }
    public var bind: Bind { Bind(type: Self.postgresType, format: .binary, bytes: bigEndianBytes(of: self)) }
}

extension Int: PostgresEncodable {
    public static var postgresType: UInt32 { PostgresType.int8 }
    public var bind: Bind { Int64(self).bind }
}

extension Double: PostgresEncodable {
    public static var postgresType: UInt32 { PostgresType.float8 }
    public var bind: Bind { Bind(type: Self.postgresType, format: .binary, bytes: bigEndianBytes(of: bitPattern)) }
}

extension String: PostgresEncodable {
    /// 0: a string is sent in text form and takes the type of the place where it stands, so that it can be inserted
    /// into a `jsonb` or a `timestamptz` column as well as into a `text` one. Where nothing says which type is meant,
    /// such as a call of an overloaded function, Postgres takes it for `text`; write `\(value)::jsonb` to say so.
    public static var postgresType: UInt32 { PostgresType.inferred }
    public var bind: Bind { Bind(type: Self.postgresType, format: .text, bytes: Array(utf8)) }
}

extension Duration: PostgresEncodable {
    public static var postgresType: UInt32 { PostgresType.interval }
    /// An `interval` of microseconds, no days and no months; finer parts are cut off.
    public var bind: Bind {
        guard let microseconds = wholeMicroseconds else {
            return .invalid("a duration exceeds what an interval can hold (about 292,000 years)")
        }
        return Bind(
            type: Self.postgresType, format: .binary,
            bytes: bigEndianBytes(of: microseconds) + bigEndianBytes(of: Int64(0))
        )
    }

    private var wholeMicroseconds: Int64? {
        let (seconds, attoseconds) = components
        let (scaled, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000)
        let (sum, carry) = scaled.addingReportingOverflow(attoseconds / 1_000_000_000_000)
        return overflow || carry ? nil : sum
    }
}

/// The bytes of a number in network order.
func bigEndianBytes(of value: some FixedWidthInteger) -> [UInt8] {
    withUnsafeBytes(of: value.bigEndian) { Array($0) }
}
