// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

package import PostgresClient

/// What an exchange with the database was and how long it took, for whoever measures a relay.
package struct ExchangeNote: Sendable {
    /// The claim as it was sent, with the floors of its lanes.
    package let claim: Statement?
    /// Upkeep went along: a sweep, a discovery or a promotion.
    package let hasUpkeep: Bool
    package let settled: Int
    package let claimed: Int
    /// From sending to having read the answer.
    package let took: Duration
}
