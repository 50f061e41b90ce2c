// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// A type whose arrays can be read from a column.
public protocol PostgresArrayDecodable: PostgresDecodable {
    static func decodeArray(from value: PostgresValue) throws(PostgresError) -> [Self]
}

extension PostgresArrayDecodable {
    /// Reads a one-dimensional array, element by element. The layout is drawn beside `Bind.array`.
    public static func decodeArray(from value: PostgresValue) throws(PostgresError) -> [Self] {
        let bytes = try value.bytes()
        var position = 0
        // Other types than arrays come here too: what they hold must not be taken for lengths.
        guard arrayTypes.contains(value.type) else { throw value.unsupported(as: [Self].self) }
        func next() throws(PostgresError) -> Int32 {
            guard position + 4 <= bytes.count else { throw PostgresError(.decoding, "holds an array cut short.") }
            defer { position += 4 }
            return Int32(bigEndian: bytes.loadUnaligned(fromByteOffset: position, as: Int32.self))
        }
        let dimensions = try next()
        _ = try next()
        let type = UInt32(bitPattern: try next())
        guard dimensions != 0 else { return [] }
        guard dimensions == 1 else {
            throw PostgresError(.decoding, "holds an array of \(dimensions) dimensions; only one is read.")
        }
        let count = Int(try next())
        _ = try next()
        var elements: [Self] = []
        elements.reserveCapacity(min(max(count, 0), bytes.count / 4))
        for _ in 0..<max(count, 0) {
            let length = Int(try next())
            guard position + max(length, 0) <= bytes.count else {
                throw PostgresError(.decoding, "holds an array cut short.")
            }
            let storage = length < 0 ? nil : UnsafeRawBufferPointer(rebasing: bytes[position..<position + length])
            elements.append(try Self(from: PostgresValue(type: type, storage: storage)))
            position += max(length, 0)
        }
        return elements
    }
}

private let arrayTypes: Set<UInt32> = [
    PostgresType.boolArray, PostgresType.byteaArray, PostgresType.int2Array, PostgresType.int4Array,
    PostgresType.int8Array, PostgresType.float8Array, PostgresType.textArray, PostgresType.uuidArray,
    PostgresType.intervalArray, PostgresType.timestamptzArray, 1002, 1003, 1014, 1015, 199, 3807, 1021, 1028,
]

extension Array: PostgresDecodable where Element: PostgresArrayDecodable {
    public init(from value: PostgresValue) throws(PostgresError) {
        self = try Element.decodeArray(from: value)
    }
}

extension UInt8: PostgresArrayDecodable {
    /// Reads an `int2` between 0 and 255.
    public init(from value: PostgresValue) throws(PostgresError) {
        guard let byte = UInt8(exactly: try Int16(from: value)) else {
            throw PostgresError(.decoding, "holds a number that is not a byte.")
        }
        self = byte
    }

    /// Reads `bytea`.
    public static func decodeArray(from value: PostgresValue) throws(PostgresError) -> [UInt8] {
        guard value.type == PostgresType.bytea else { throw value.unsupported(as: [UInt8].self) }
        return Array(try value.bytes())
    }
}

extension Bool: PostgresArrayDecodable {}
extension Int16: PostgresArrayDecodable {}
extension Int32: PostgresArrayDecodable {}
extension Int64: PostgresArrayDecodable {}
extension Int: PostgresArrayDecodable {}
extension Double: PostgresArrayDecodable {}
extension String: PostgresArrayDecodable {}
extension PostgresUUID: PostgresArrayDecodable {}
extension PostgresTimestamp: PostgresArrayDecodable {}
extension Duration: PostgresArrayDecodable {}
extension Array: PostgresArrayDecodable where Element == UInt8 {}
extension Optional: PostgresArrayDecodable where Wrapped: PostgresArrayDecodable {}
