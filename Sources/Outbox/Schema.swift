// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// The name of the database schema that holds the outbox; `outbox` unless the migrations were applied to another.
public struct Schema: Hashable, Sendable, CustomStringConvertible {
    public let name: String

    /// The schema `outbox`.
    public static let outbox = Schema(checked: "outbox")

    /// Checks a name: 1 to 48 of a-z, 0-9 and `_`, beginning with a letter or `_`.
    ///
    /// - Throws: ``EnqueueError`` naming `schema`.
    public init(_ name: String) throws(EnqueueError) {
        let bytes = Array(name.utf8)
        let isValid =
            (1...48).contains(bytes.count)
            && !(UInt8(ascii: "0")...UInt8(ascii: "9")).contains(bytes[0])
            && bytes.allSatisfy {
                (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0)
                    || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
                    || $0 == UInt8(ascii: "_")
            }
        guard isValid else {
            throw EnqueueError(
                argument: "schema", problem: "must be 1 to 48 of a-z, 0-9 and _, and begin with a letter or _",
                hint: "use the name that the migrations were applied with, outbox by default"
            )
        }
        self.init(checked: name)
    }

    private init(checked name: String) { self.name = name }

    /// The name as it stands in statements.
    package var quoted: String { "\"\(name)\"" }

    public var description: String { name }
}
