// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// A one-dimensional array in Postgres's binary form, built from elements that are in it already.
///
/// https://github.com/postgres/postgres/blob/REL_15_STABLE/src/backend/utils/adt/arrayfuncs.c (array_recv)
struct BareArray {
    static let int2: Int32 = 21
    static let int4: Int32 = 23
    static let int8: Int32 = 20
    static let text: Int32 = 25
    static let uuid: Int32 = 2950

    private let type: Int32
    private(set) var count: Int32 = 0
    private var elements: [UInt8] = []

    init(of type: Int32, capacity: Int = 0) {
        self.type = type
        elements.reserveCapacity(capacity * 20)
    }

    mutating func append(_ bytes: some Collection<UInt8>) {
        count += 1
        append(Int32(bytes.count))
        elements.append(contentsOf: bytes)
    }

    private mutating func append(_ number: Int32) {
        for shift in stride(from: 24, through: 0, by: -8) {
            elements.append(UInt8(truncatingIfNeeded: number >> shift))
        }
    }

    var bytes: [UInt8] {
        // dimensions, has nulls, type; then length and lower bound of the only dimension
        let header = count == 0 ? [0, 0, type] : [1, 0, type, count, 1]
        return header.flatMap { bigEndian($0) } + elements
    }
}

/// A number as the binary protocol has it.
func bigEndian(_ number: some FixedWidthInteger) -> [UInt8] {
    withUnsafeBytes(of: number.bigEndian) { Array($0) }
}
