// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// A `uuid` as two halves in network order.
public struct PostgresUUID: Hashable, Sendable {
    /// The first eight bytes.
    public let high: UInt64
    /// The last eight bytes.
    public let low: UInt64

    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }
}

extension PostgresUUID: PostgresArrayElement {
    public static var postgresType: UInt32 { PostgresType.uuid }
    public var bind: Bind {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(16)
        bytes.append(bigEndian: high)
        bytes.append(bigEndian: low)
        return Bind(type: Self.postgresType, format: .binary, bytes: bytes)
    }
    public static func arrayBind(of elements: [PostgresUUID]) -> Bind {
        .array(numbers: elements.map { UInt128($0.high) << 64 | UInt128($0.low) }, PostgresType.uuidArray)
    }
}

extension PostgresUUID: PostgresDecodable {
    public init(from value: PostgresValue) throws(PostgresError) {
        guard value.type == PostgresType.uuid else { throw value.unsupported(as: Self.self) }
        let bytes = try value.bytes(count: 16)
        self.init(
            high: UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self)),
            low: UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
        )
    }
}
