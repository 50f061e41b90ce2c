// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// A `timestamptz`: a moment, counted in microseconds.
///
/// Moments come from the database's clock. Compare them with one another, not with the clock of this machine.
public struct PostgresTimestamp: Hashable, Sendable, Comparable {
    /// Microseconds since 1970-01-01 00:00:00 UTC. The server's `infinity` and `-infinity` are `Int64.max` and
    /// `Int64.min`.
    public let microsecondsSinceEpoch: Int64

    public init(microsecondsSinceEpoch: Int64) {
        self.microsecondsSinceEpoch = microsecondsSinceEpoch
    }

    public static func < (earlier: PostgresTimestamp, later: PostgresTimestamp) -> Bool {
        earlier.microsecondsSinceEpoch < later.microsecondsSinceEpoch
    }

    /// Postgres counts from 2000-01-01: 10,957 days later.
    static let microsecondsFrom1970To2000: Int64 = 946_684_800_000_000

    /// Reads the server's count, microseconds since 2000-01-01 UTC.
    package init(serverCount: Int64) {
        if serverCount == .max || serverCount == .min {
            self.init(microsecondsSinceEpoch: serverCount)
        } else {
            // The server's last moment is in the year 294276: the sum stays far within an Int64.
            self.init(microsecondsSinceEpoch: serverCount &+ Self.microsecondsFrom1970To2000)
        }
    }
}

extension PostgresTimestamp: PostgresArrayElement {
    public static var postgresType: UInt32 { PostgresType.timestamptz }
    public var bind: Bind {
        let count: Int64
        if microsecondsSinceEpoch == .max || microsecondsSinceEpoch == .min {
            count = microsecondsSinceEpoch
        } else {
            let (difference, overflow) = microsecondsSinceEpoch.subtractingReportingOverflow(
                Self.microsecondsFrom1970To2000
            )
            if overflow { return .invalid("a timestamp is before what timestamptz can hold (4713 BC)") }
            count = difference
        }
        return Bind(type: Self.postgresType, format: .binary, bytes: bigEndianBytes(of: count))
    }
    public static func arrayBind(of elements: [PostgresTimestamp]) -> Bind {
        .array(elements, PostgresType.timestamptzArray)
    }
}

extension PostgresTimestamp: PostgresDecodable {
    public init(from value: PostgresValue) throws(PostgresError) {
        guard value.type == PostgresType.timestamptz else { throw value.unsupported(as: Self.self) }
        self.init(serverCount: Int64(bigEndian: try value.bytes(count: 8).loadUnaligned(as: Int64.self)))
    }
}
