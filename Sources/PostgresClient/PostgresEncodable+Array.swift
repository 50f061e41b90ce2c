// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// A type whose arrays can be bound to one parameter.
///
/// Arrays of bytes are `bytea`; all others are arrays in the server's sense, which is what `= ANY($1)` and
/// `unnest($1)` take: one statement for any number of rows.
public protocol PostgresArrayElement: PostgresEncodable {
    static func arrayBind(of elements: [Self]) -> Bind
}

extension Array: PostgresEncodable where Element: PostgresArrayElement {
    public static var postgresType: UInt32 { Element.arrayBind(of: []).type }
    public var bind: Bind { Element.arrayBind(of: self) }
}

extension UInt8: PostgresArrayElement {
    /// A single byte has no type of its own in Postgres: it is sent as an `int2`.
    public static var postgresType: UInt32 { PostgresType.int2 }
    public var bind: Bind { Int16(self).bind }
    /// `bytea`.
    public static func arrayBind(of elements: [UInt8]) -> Bind {
        Bind(type: PostgresType.bytea, format: .binary, bytes: elements)
    }
}

extension Bool: PostgresArrayElement {
    public static func arrayBind(of elements: [Bool]) -> Bind { .array(elements, PostgresType.boolArray) }
}

extension Int16: PostgresArrayElement {
    public static func arrayBind(of elements: [Int16]) -> Bind { .array(numbers: elements, PostgresType.int2Array) }
}

extension Int32: PostgresArrayElement {
    public static func arrayBind(of elements: [Int32]) -> Bind { .array(numbers: elements, PostgresType.int4Array) }
}

extension Int64: PostgresArrayElement {
    public static func arrayBind(of elements: [Int64]) -> Bind { .array(numbers: elements, PostgresType.int8Array) }
}

extension Int: PostgresArrayElement {
    public static func arrayBind(of elements: [Int]) -> Bind { .array(numbers: elements, PostgresType.int8Array) }
}

extension Double: PostgresArrayElement {
    public static func arrayBind(of elements: [Double]) -> Bind { .array(elements, PostgresType.float8Array) }
}

extension String: PostgresArrayElement {
    /// `text[]`.
    public static func arrayBind(of elements: [String]) -> Bind { .array(texts: elements, PostgresType.textArray) }
}

extension Duration: PostgresArrayElement {
    public static func arrayBind(of elements: [Duration]) -> Bind { .array(elements, PostgresType.intervalArray) }
}

extension Array: PostgresArrayElement where Element == UInt8 {
    /// `bytea[]`.
    public static func arrayBind(of elements: [[UInt8]]) -> Bind { .array(elements, PostgresType.byteaArray) }
}

extension Optional: PostgresArrayElement where Wrapped: PostgresArrayElement {
    /// An array of the wrapped type in which `nil` is NULL.
    public static func arrayBind(of elements: [Wrapped?]) -> Bind {
        .array(elements, Wrapped.arrayBind(of: []).type)
    }
}

extension Bind {
    /// A one-dimensional array in binary form.
    ///
    ///     int32 dimensions (0 or 1) │ int32 has NULLs │ int32 element type │ int32 count, int32 first index (1)
    ///     then for each element: int32 length (-1 for NULL) │ bytes
    ///
    /// https://github.com/postgres/postgres/blob/master/src/backend/utils/adt/arrayfuncs.c (`array_recv`)
    static func array(_ elements: [some PostgresEncodable], _ type: UInt32) -> Bind {
        var bytes = arrayHead(count: elements.count, type, elementBytes: 16)
        var hasNull = false
        for element in elements {
            let bind = element.bind
            if let problem = bind.problem { return .invalid(problem) }
            guard let value = bind.bytes else {
                hasNull = true
                bytes.append(bigEndian: Int32(-1))
                continue
            }
            bytes.append(bigEndian: Int32(truncatingIfNeeded: value.count))
            bytes.append(contentsOf: value)
        }
        if hasNull { bytes[7] = 1 }
        return Bind(type: type, format: .binary, bytes: bytes)
    }

    /// The same of numbers, without an allocation for each.
    static func array<Number: FixedWidthInteger>(numbers: [Number], _ type: UInt32) -> Bind {
        let size = Number.bitWidth / 8
        var bytes = arrayHead(count: numbers.count, type, elementBytes: size)
        for number in numbers {
            bytes.append(bigEndian: Int32(truncatingIfNeeded: size))
            bytes.append(bigEndian: number)
        }
        return Bind(type: type, format: .binary, bytes: bytes)
    }

    /// The same of texts, without an allocation for each.
    static func array(texts: [String], _ type: UInt32) -> Bind {
        var bytes = arrayHead(count: texts.count, type, elementBytes: texts.first?.utf8.count ?? 0)
        for text in texts {
            var text = text
            text.withUTF8 { utf8 in
                bytes.append(bigEndian: Int32(truncatingIfNeeded: utf8.count))
                bytes.append(contentsOf: utf8)
            }
            if text.utf8.contains(0) { return .invalid(containsNUL) }
        }
        return Bind(type: type, format: .binary, bytes: bytes)
    }

    private static func arrayHead(count: Int, _ type: UInt32, elementBytes: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(20 + count * (4 + elementBytes))
        bytes.append(bigEndian: Int32(count == 0 ? 0 : 1))
        bytes.append(bigEndian: Int32(0))
        bytes.append(bigEndian: arrayElementTypes[type] ?? PostgresType.text)
        if count == 0 { return bytes }
        bytes.append(bigEndian: Int32(truncatingIfNeeded: count))
        bytes.append(bigEndian: Int32(1))
        return bytes
    }
}

private let arrayElementTypes: [UInt32: UInt32] = [
    PostgresType.boolArray: PostgresType.bool, PostgresType.byteaArray: PostgresType.bytea,
    PostgresType.int2Array: PostgresType.int2, PostgresType.int4Array: PostgresType.int4,
    PostgresType.int8Array: PostgresType.int8, PostgresType.float8Array: PostgresType.float8,
    PostgresType.textArray: PostgresType.text, PostgresType.uuidArray: PostgresType.uuid,
    PostgresType.intervalArray: PostgresType.interval, PostgresType.timestamptzArray: PostgresType.timestamptz,
]

extension [UInt8] {
    mutating func append(bigEndian value: some FixedWidthInteger) {
        Swift.withUnsafeBytes(of: value.bigEndian) { self.append(contentsOf: $0) }
    }
}
