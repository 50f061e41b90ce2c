// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Outbox
internal import OutboxCore
internal import PostgresClient

/// Reads what a claim returned: tasks, and in the last row the news.
struct ClaimReader {
    let result: QueryResult

    /// The columns of `claim_v1`, in their order.
    private enum Column: Int {
        case slot, lane, seq, id, kind, attempt, charged, crashed, acknowledged, maxAttempts, idempotencyKey, endpoint,
            contentType, headers, age, expiresIn, payload, currentSlot, promoted, rescued, alertDue, took, foundSlots, foundLanes
    }

    struct Claims {
        var claimed: [Claimed] = []
        var tasks: [ClaimedTask] = []
        var news: Answer.News?
        var bytes = 0
    }

    func read() throws -> Claims {
        var claims = Claims()
        claims.claimed.reserveCapacity(result.count)
        claims.tasks.reserveCapacity(result.count)
        // tasks come lane by lane, and mostly of one kind: names are made once
        var lane = LaneKey(slot: -1, name: "")
        for number in 0..<result.count {
            let row = result[number]
            guard !result.isNull(row: number, column: Column.id.rawValue) else {
                claims.news = try news(row)
                continue
            }
            let slot: Int16 = try row.decode(Int16.self, at: Column.slot.rawValue)
            let name = try row.decode(String.self, at: Column.lane.rawValue)
            if slot != lane.slot || name != lane.name { lane = LaneKey(slot: slot, name: name) }
            let (claimed, task) = try self.task(row, number, lane)
            claims.bytes += task.payload.count
            claims.claimed.append(claimed)
            claims.tasks.append(task)
        }
        return claims
    }

    private func task(_ row: Row, _ number: Int, _ lane: LaneKey) throws -> (Claimed, ClaimedTask) {
        let id = TaskID(try row.decode(PostgresUUID.self, at: Column.id.rawValue))
        let attempt = try result.int32(row: number, column: Column.attempt.rawValue)
        let kind = try row.decode(String.self, at: Column.kind.rawValue)
        let claimed = Claimed(
            hold: Hold(lane: lane, seq: try result.int64(row: number, column: Column.seq.rawValue), attempt: attempt),
            kind: kind,
            endpoint: try optional(row, number, .endpoint),
            charged: Int(try result.int32(row: number, column: Column.charged.rawValue)),
            crashed: Int(try result.int32(row: number, column: Column.crashed.rawValue)),
            acknowledged: try row.decode(Bool.self, at: Column.acknowledged.rawValue),
            maxAttempts: try optional(row, number, .maxAttempts),
            age: .microseconds(try result.int64(row: number, column: Column.age.rawValue)),
            expiresIn: try optional(row, number, .expiresIn).map { (micros: Int64) in .microseconds(micros) }
        )
        let headers: [String]? = try optional(row, number, .headers)
        let task = ClaimedTask(
            id: id, kind: kind, idempotencyKey: try optional(row, number, .idempotencyKey) ?? id.description,
            attempt: Int(attempt),
            headers: stride(from: 0, to: (headers?.count ?? 1) - 1, by: 2).compactMap { index in
                headers.map { (name: $0[index], value: $0[index + 1]) }
            },
            contentType: try optional(row, number, .contentType) ?? "application/json",
            payload: try row.decode([UInt8].self, at: Column.payload.rawValue)
        )
        return (claimed, task)
    }

    private func optional<Value: PostgresDecodable>(_ row: Row, _ number: Int, _ column: Column) throws -> Value? {
        result.isNull(row: number, column: column.rawValue) ? nil : try row.decode(Value.self, at: column.rawValue)
    }

    private func news(_ row: Row) throws -> Answer.News {
        let took = try row.decode([Int32].self, at: Column.took.rawValue).map { Duration.microseconds($0) }
        let slots = try row.decode([Int16]?.self, at: Column.foundSlots.rawValue) ?? []
        let lanes = try row.decode([String]?.self, at: Column.foundLanes.rawValue) ?? []
        return Answer.News(
            currentSlot: try row.decode(Int16.self, at: Column.currentSlot.rawValue),
            promoted: try row.decode(Int?.self, at: Column.promoted.rawValue) ?? 0,
            rescued: try row.decode(Int?.self, at: Column.rescued.rawValue) ?? 0,
            alertDue: try row.decode(Bool?.self, at: Column.alertDue.rawValue) ?? false,
            found: zip(slots, lanes).map { LaneKey(slot: $0, name: $1) },
            took: (discovery: took[0], promotion: took[1], rescue: took[2])
        )
    }
}
