// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// How long upkeep pauses, so that it takes a small part of the database's time.
///
/// What it took is measured by the clock on the wall, which tells also of a stalled disk, a lock or a busy neighbour. So
/// the lesser of the last two counts, and no pause is longer than a minute: one stall of some seconds must not blind a
/// relay to new lanes and expired leases for a quarter of an hour.
struct Pace: Sendable {
    private var last: Duration = .zero
    private static let longest: Duration = .seconds(60)

    /// - Parameter wish: The pause that would keep this last piece of upkeep to its part.
    mutating func pause(after wish: Duration, atLeast shortest: Duration) -> Duration {
        defer { last = wish }
        return max(shortest, min(wish, last, Self.longest))
    }
}
