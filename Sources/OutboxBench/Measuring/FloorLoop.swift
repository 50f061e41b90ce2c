// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Outbox
internal import Synchronization

/// The floor of whatever drains: the relay's own claim and settlement, sent by a bare loop over blocking libpq that does
/// nothing with the tasks. What a relay takes longer than this is the relay's.
///
/// It is the fastest loop that we know to write: prepared statements, everything in binary and copied as it came, and
/// the settlement of one batch in one round trip and one commit with the claim of the next.
struct FloorLoop: Sendable {
    let url: String
    let schema: Schema
    /// What a relay claims at most.
    var batch = 500

    /// A lane in one leaf, and from where to ask it.
    private struct Lane {
        let slot: [UInt8]
        let name: [UInt8]
        var floor: [UInt8]
        var candidate: (floor: [UInt8], since: Int64)
    }

    /// What commits late, behind a task that was claimed already, has to be found: where tasks keep coming, the floor
    /// lags as a relay's does, and as often as a relay the loop asks from the beginning.
    private static let floorLag: Int64 = 250_000_000
    private static let sweepInterval: Int64 = 5_000_000_000

    /// Claims and settles on so many connections until nothing is left, and returns how many tasks there were.
    func drain(connections: Int = 1) async throws -> Int {
        let isCancelled = Flag()
        let counts = try await withTaskCancellationHandler {
            try await onThreads(connections) { _ in try drain(on: BareConnection(url), until: isCancelled) }
        } onCancel: {
            isCancelled.raise()
        }
        try Task.checkCancellation()
        return counts.reduce(0, +)
    }

    /// How a loop goes on where tasks keep coming.
    struct Waiting {
        /// Until when.
        let flag: Flag
        /// What to do after a claim that found fewer tasks than it might.
        let pause: (BareConnection) throws -> Void
        /// Called with the numbers of the tasks of each claim, as their payloads say.
        var claimed: ([Int]) -> Void = { _ in }
    }

    /// Claims and settles until the flag is raised, waiting for what comes, and returns how many tasks there were.
    func serve(_ waiting: Waiting) throws -> Int {
        try drain(on: BareConnection(url), until: waiting.flag, waiting: waiting)
    }

    private func drain(on connection: BareConnection, until flag: Flag, waiting: Waiting? = nil) throws -> Int {
        try connection.prepare("claim", claim)
        try connection.prepare("settle", settle)
        var lanes: [Lane] = []
        var held = Held()
        var done = 0
        var discovers = true
        var sweptAt = Monotonic.now
        while !flag.isRaised {
            let sweeps = waiting != nil && Monotonic.now - sweptAt > Self.sweepInterval
            if sweeps { sweptAt = Monotonic.now }
            try connection.enterPipeline()
            if held.count > 0 { try connection.send("settle", binary: held.arrays) }
            try connection.send("claim", binary: ask(lanes, discovers: discovers, sweeps: sweeps))
            let answers = try connection.sync(held.count > 0 ? 2 : 1)
            if held.count > 0 { done += try settled(held, answers[0]) }
            let answer = answers[answers.count - 1]
            held = Held(answer)
            if held.count > 0 {
                note(answer, in: &lanes, lag: waiting == nil ? 0 : Self.floorLag)
                waiting?.claimed(held.numbers(answer))
            }
            if let waiting, held.count < batch {
                // as a relay does: what is done is settled before the pause
                if held.count > 0 {
                    try connection.send("settle", binary: held.arrays)
                    done += try settled(held, connection.sync(1)[0])
                }
                held = Held()
                try connection.leavePipeline()
                try waiting.pause(connection)
                discovers = answer.rows <= 1
            } else if held.count > 0 {
                discovers = false
            } else if discovers {
                break
            } else {
                discovers = true
            }
        }
        return done
    }

    private func settled(_ held: Held, _ answer: BareConnection.Answer) throws -> Int {
        guard answer.rows == held.count else {
            throw BenchFailure("the floor settled \(answer.rows) of \(held.count) tasks")
        }
        return held.count
    }

    private func note(_ answer: BareConnection.Answer, in lanes: inout [Lane], lag: Int64) {
        let slot = Array(answer.bytes(0, 0))
        let name = Array(answer.bytes(0, 1))
        let lowest = Array(answer.bytes(0, 2))
        let now = Monotonic.now
        guard let known = lanes.firstIndex(where: { $0.slot == slot && $0.name == name }) else {
            return lanes.append(
                Lane(
                    slot: slot, name: name, floor: lag == 0 ? lowest : bigEndian(Int64(0)), candidate: (lowest, now)))
        }
        if lag == 0 {
            lanes[known].floor = lowest
        } else if now - lanes[known].candidate.since >= lag {
            lanes[known].floor = lanes[known].candidate.floor
            lanes[known].candidate = (lowest, now)
        }
    }

    private func ask(_ lanes: [Lane], discovers: Bool, sweeps: Bool) -> [[UInt8]?] {
        var slots = BareArray(of: BareArray.int2)
        var names = BareArray(of: BareArray.text)
        var floors = BareArray(of: BareArray.int8)
        var limits = BareArray(of: BareArray.int4)
        for lane in lanes {
            slots.append(lane.slot)
            names.append(lane.name)
            floors.append(sweeps ? bigEndian(Int64(0)) : lane.floor)
            limits.append(bigEndian(Int32(batch)))
        }
        return [
            slots.bytes, names.bytes, floors.bytes, limits.bytes, discovers ? bigEndian(Int32(batch)) : nil,
        ]
    }

    private var claim: String {
        """
        SELECT slot, lane, seq, id, attempt, payload FROM \(schema.quoted).claim_v1(
            '00000000-0000-4000-8000-000000000000', '30s', NULL, '{}', '{}', $1::smallint[], $2::text[], $3::bigint[],
            $4::int[], \(batch), 16777216, $5::int, NULL, 0, NULL, NULL, NULL)
        """
    }

    private var settle: String {
        "SELECT \(schema.quoted).settle_v1($1::smallint[], $2::text[], $3::bigint[], $4::int[], $5::uuid[])"
    }
}

/// The tasks of one claim as the settlement names them.
private struct Held {
    private(set) var count = 0
    private(set) var arrays: [[UInt8]?] = []

    init() {}

    /// Columns in the order of the claim: slot, lane, seq, id, attempt, payload; the last row is the news, without an id.
    init(_ answer: BareConnection.Answer) {
        let rows = Int(answer.rows)
        var arrays = [BareArray.int2, BareArray.text, BareArray.int8, BareArray.int4, BareArray.uuid].map {
            BareArray(of: $0, capacity: rows)
        }
        for row in 0..<answer.rows where !answer.isNull(row, 3) {
            count += 1
            for (position, column) in [0, 1, 2, 4, 3].enumerated() {
                arrays[position].append(answer.bytes(row, Int32(column)))
            }
        }
        self.arrays = arrays.map(\.bytes)
    }

    func numbers(_ answer: BareConnection.Answer) -> [Int] {
        (0..<Int32(count)).map { Ledger.number(Array(answer.bytes($0, 5))) }
    }
}
