// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// A lane in one leaf of the table: what a claim asks, and what it returns tasks of.
package struct LaneKey: Hashable, Sendable {
    package let slot: Int16
    package let name: String

    package init(slot: Int16, name: String) {
        self.slot = slot
        self.name = name
    }

    /// Whether its tasks run alone, because the relay that ran them last vanished.
    package var runsAlone: Bool { name.utf8.suffix(2).elementsEqual(":!".utf8) }

    /// 0 runs first.
    var priority: UInt8 { name.utf8.first ?? UInt8(ascii: "9") }
}

/// What a relay remembers of a lane. All of it can be lost: a sweep finds it out again.
struct Lane: Sendable {
    /// From which seq a claim reads: the lowest seq of a claim made at least a quarter of a second ago. A hint that spares claims
    /// the walk over what is done; what commits late behind it is found by the next sweep.
    private(set) var floor: Int64 = 0
    /// Up to which seq there may be leases to rescue; everything, once a claim has read the lane to its end.
    private(set) var ceiling: Int64 = 0
    /// When a claim last found a task here, or passed the leaf over for an older one.
    private(set) var lastYield: Duration
    /// Whether the last claim found as many tasks here as it asked for.
    private(set) var isDeep = false
    /// Long enough for most transactions to commit after they drew their seq; the sweep finds the others.
    private static let floorLag: Duration = .milliseconds(250)
    private var candidate: (lowest: Int64, since: Duration)?

    init(now: Duration) { lastYield = now }

    mutating func claimed(lowest: Int64, highest: Int64, at now: Duration) {
        lastYield = now
        ceiling = max(ceiling, highest)
        if let candidate, now - candidate.since >= Self.floorLag {
            floor = max(floor, candidate.lowest)
            self.candidate = (lowest, now)
        } else if candidate == nil {
            candidate = (lowest, now)
        }
    }

    /// A claim read the lane to its end.
    mutating func drained() { ceiling = .max }

    /// A claim got all that it asked for, or less.
    mutating func wasAsked(isDeep: Bool) { self.isDeep = isDeep }

    /// A claim did not ask here, because an older leaf of the lane has enough.
    mutating func passedOver(at now: Duration) { lastYield = now }

    /// A sweep found tasks behind the floor.
    mutating func lower(to seq: Int64) {
        floor = min(floor, seq)
        if let candidate, candidate.lowest > seq { self.candidate = (seq, candidate.since) }
    }
}
