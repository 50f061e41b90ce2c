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
            contentType, headers, age, expiresIn, payload, currentSlot, promoted, rescued, alertDue, took, foundSlots,
            foundLanes
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
            let slot = try result.int16(row: number, column: Column.slot.rawValue)
            let name = try result.string(row: number, column: Column.lane.rawValue)
            if slot != lane.slot || name != lane.name { lane = LaneKey(slot: slot, name: name) }
            let (claimed, task) = try self.task(row, number, lane)
            claims.bytes += task.payload.count
            claims.claimed.append(claimed)
            claims.tasks.append(task)
        }
        return claims
    }

    private func task(_ row: Row, _ number: Int, _ lane: LaneKey) throws -> (Claimed, ClaimedTask) {
        let id = TaskID(try result.uuid(row: number, column: Column.id.rawValue))
        let attempt = try result.int32(row: number, column: Column.attempt.rawValue)
        let kind = try result.string(row: number, column: Column.kind.rawValue)
        var claimed = Claimed(
            hold: Hold(
                lane: lane, seq: try result.int64(row: number, column: Column.seq.rawValue), attempt: attempt, id: id),
            kind: kind,
            endpoint: try text(number, .endpoint),
            charged: Int(try result.int32(row: number, column: Column.charged.rawValue)),
            crashed: Int(try result.int32(row: number, column: Column.crashed.rawValue)),
            acknowledged: try result.bool(row: number, column: Column.acknowledged.rawValue),
            age: .microseconds(try result.int64(row: number, column: Column.age.rawValue))
        )
        if !isNull(number, .maxAttempts) {
            claimed.maxAttempts = Int(try result.int32(row: number, column: Column.maxAttempts.rawValue))
        }
        if !isNull(number, .expiresIn) {
            claimed.expiresIn = .microseconds(try result.int64(row: number, column: Column.expiresIn.rawValue))
        }
        let task = ClaimedTask(
            id: id, kind: kind, idempotencyKey: try text(number, .idempotencyKey),
            attempt: Int(attempt),
            headers: isNull(number, .headers) ? [] : try headers(row),
            contentType: try text(number, .contentType) ?? "application/json",
            payload: try result.byteArray(row: number, column: Column.payload.rawValue)
        )
        return (claimed, task)
    }

    /// Name, value, name, value …
    private func headers(_ row: Row) throws -> [(name: String, value: String)] {
        let texts = try row.decode([String].self, at: Column.headers.rawValue)
        return stride(from: 0, to: texts.count - 1, by: 2).map { (name: texts[$0], value: texts[$0 + 1]) }
    }

    private func isNull(_ number: Int, _ column: Column) -> Bool { result.isNull(row: number, column: column.rawValue) }

    private func text(_ number: Int, _ column: Column) throws -> String? {
        isNull(number, column) ? nil : try result.string(row: number, column: column.rawValue)
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
