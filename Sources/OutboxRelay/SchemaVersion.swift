// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

package import Outbox

/// Which versions of the schema a relay knows.
package enum SchemaVersion {
    package static let known = 6...6

    /// - Throws: ``RelayError/Code/unknownSchema``, with the command to run.
    package static func check(_ version: Int?, schema: Schema) throws(RelayError) {
        guard let version else {
            throw RelayError(
                .unknownSchema, "the database has no outbox in the schema \(schema)",
                hint: "apply the migrations: outbox migrate, or psql with migrations/*.up.sql")
        }
        if version < known.lowerBound {
            throw RelayError(
                .unknownSchema,
                "the schema \(schema) is at version \(version), and this release needs \(known.lowerBound)",
                hint: "apply the newer migrations: outbox migrate")
        }
        if version > known.upperBound {
            throw RelayError(
                .unknownSchema,
                "the schema \(schema) is at version \(version), and this release knows \(known.upperBound) at most",
                hint: "run a newer release of outbox")
        }
    }
}
