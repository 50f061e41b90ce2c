// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// A migration as it stands in this folder: plain SQL, one script up and one down, each a transaction of its own.
public struct Migration: Sendable, Equatable {
    public let version: Int
    public let name: String
    /// The scripts for the schema `outbox`.
    public let up: String
    public let down: String

    /// The migrations of this release in their order.
    public static let all: [Migration] = [
        Migration(1, "tables", PackageResources._001_tables_up_sql, PackageResources._001_tables_down_sql),
        Migration(2, "enqueue", PackageResources._002_enqueue_up_sql, PackageResources._002_enqueue_down_sql),
        Migration(3, "claim", PackageResources._003_claim_up_sql, PackageResources._003_claim_down_sql),
        Migration(4, "settle", PackageResources._004_settle_up_sql, PackageResources._004_settle_down_sql),
        Migration(5, "upkeep", PackageResources._005_upkeep_up_sql, PackageResources._005_upkeep_down_sql),
        Migration(6, "operate", PackageResources._006_operate_up_sql, PackageResources._006_operate_down_sql),
    ]

    private init(_ version: Int, _ name: String, _ up: [UInt8], _ down: [UInt8]) {
        self.version = version
        self.name = name
        self.up = String(decoding: up, as: UTF8.self)
        self.down = String(decoding: down, as: UTF8.self)
    }

    /// The file's name without its ending, `0001_tables`.
    public var fileName: String {
        let digits = String(version)
        return String(repeating: "0", count: max(0, 4 - digits.count)) + digits + "_" + name
    }

    /// A script for another schema: the name is replaced in the lines that the scripts mark with `(schema)`.
    public static func script(_ script: String, forSchema schema: String) -> String {
        guard schema != "outbox" else { return script }
        return script.split(separator: "\n", omittingEmptySubsequences: false).map { line in
            line.contains("-- (schema)") ? line.replacing(" outbox", with: " \"\(schema)\"", maxReplacements: 1) : line
        }.joined(separator: "\n")
    }
}
