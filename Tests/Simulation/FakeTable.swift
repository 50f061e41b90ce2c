// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

package import OutboxCore

/// The tables `ready`, `later` and `dead` in memory, with the functions that change them: the semantics of migrations 0003
/// and 0004, one call at a time.
///
/// A suite holds it to the real ones. Of locks it has those of handlers' transactions alone, for which a settlement would
/// wait: that is its caller's to see to. It leaves out the bound of payload bytes, the attempts' history, incidents and
/// alerts.
package struct FakeTable: Sendable {
    /// A task, in `ready` or in `later`.
    package struct Row: Sendable {
        package let id: TaskID
        package var seq: Int64 = 0
        package var slot: Int16 = 0
        package var lane: String
        package let kind: String
        package let endpoint: String?
        package var attempt: Int32 = 0
        package var charged: Int32 = 0
        package var crashed: Int32 = 0
        package var acknowledged = false
        /// `nil` while nobody runs it.
        package var relay: Int?
        /// Of a task that waits: the distant past.
        package var leaseUntil: Int64 = .min
        /// A transaction has deleted it that has not ended: others pass it by, or wait.
        package var isLocked = false
        package let maxAttempts: Int?
        package let enqueuedAt: Int64
        package let dueAt: Int64?
        package let expiresAt: Int64?
        /// In `later` alone.
        package var runAt: Int64 = 0

        package init(
            id: TaskID, lane: String, kind: String, endpoint: String? = nil, maxAttempts: Int? = nil, enqueuedAt: Int64,
            dueAt: Int64? = nil, expiresAt: Int64? = nil
        ) {
            self.id = id
            self.lane = lane
            self.kind = kind
            self.endpoint = endpoint
            self.maxAttempts = maxAttempts
            self.enqueuedAt = enqueuedAt
            self.dueAt = dueAt
            self.expiresAt = expiresAt
        }
    }

    package struct DeadRow: Sendable {
        package let row: Row
        package let reason: DeathReason
        /// By the table's `time`.
        let diedAt: Int64
    }

    /// What a relay can run, as the claim takes it.
    package struct Scope: Sendable {
        let kinds: [String]?
        let endpoints: [String]
        let early: [String]
        let isolated: [String]

        package init(_ settings: Engine.Settings) {
            kinds = settings.otherKinds == nil ? settings.kinds.keys.sorted() : nil
            endpoints = settings.endpoints.keys.sorted()
            early = settings.kinds.filter(\.value.acknowledgesEarly).keys.sorted()
            isolated = settings.kinds.filter(\.value.runsAloneAfterCrash).keys.sorted()
        }

        func canRun(_ row: Row) -> Bool {
            if let endpoint = row.endpoint { return endpoints.contains(endpoint) }
            return kinds?.contains(row.kind) ?? true
        }
    }

    /// What happened to a task, for whoever watches.
    enum Change: Sendable {
        case claimed(Row, isForCaller: Bool)
        /// `unheard`: its relay never heard of the claim.
        case rescued(Row, by: Int, unheard: Bool)
        case renewed(Row, asked: Int32, before: Int64)
        case settled(Row, asked: Int32)
        case failed(Row, asked: Int32, Move.Target)
    }

    /// In the order of seq.
    package internal(set) var ready: [Row] = []
    package internal(set) var later: [Row] = []
    package internal(set) var dead: [DeadRow] = []
    /// The database's clock, in microseconds since 1970.
    package var clock: Int64
    /// The time of whoever keeps ledgers, which no fault changes.
    var time: Int64 = 0
    /// Instead of the leaf that the clock says.
    package var currentSlotOverride: Int16?
    private var lastSeq: Int64 = 0
    let mutant: Mutant?
    var changes: [Change] = []
    /// What `Mutant.floorWithoutSweep` remembers.
    var highestFloors: [LaneKey: Int64] = [:]

    package init(clock: Int64, mutant: Mutant? = nil) {
        self.clock = clock
        self.mutant = mutant
    }

    /// `slot_at`: the leaf of an insert, which changes every two minutes.
    package var currentSlot: Int16 {
        currentSlotOverride ?? Int16((clock + 500_000) / 1_000_000 / 120 % 4)
    }

    /// Draws a seq, as an insert does whose transaction commits later.
    package mutating func nextSeq() -> Int64 {
        lastSeq += 1
        return lastSeq
    }

    /// Shows a row whose seq was drawn before: its transaction commits.
    package mutating func commit(_ row: Row, isLater: Bool) {
        if isLater { later.append(row) } else { insertReady(row) }
    }

    mutating func insertReady(_ row: Row) {
        var place = ready.count
        while place > 0, ready[place - 1].seq > row.seq { place -= 1 }
        ready.insert(row, at: place)
    }

    /// Inserts into `ready` as a task that waits, with a new seq in the leaf of now.
    mutating func insertAnew(_ row: Row) {
        var row = row
        row.seq = nextSeq()
        row.slot = currentSlot
        row.relay = nil
        row.leaseUntil = .min
        ready.append(row)
    }

    var isEmpty: Bool { ready.isEmpty && later.isEmpty }

    /// For tests that make time pass for one task: changes it, wherever it is.
    package mutating func change(_ id: TaskID, _ body: (inout Row) -> Void) {
        for index in ready.indices where ready[index].id == id { body(&ready[index]) }
        for index in later.indices where later[index].id == id { body(&later[index]) }
    }
}

/// How far ahead a lease may end before it counts as written before the clock was set back.
let longestBelievedLease: Int64 = seconds(3660)
