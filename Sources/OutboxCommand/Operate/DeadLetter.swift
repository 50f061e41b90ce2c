// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import OutboxCore
internal import PostgresClient

/// A dead letter as the lists show it: everything but its payload.
struct DeadLetter: Sendable {
    /// The endpoint that it was for stands with its incident where the relay's routes chose it.
    static let columns = """
        d.number, d.id::text, d.kind, d.queue, d.reason, d.error_type, d.error_message, d.error_detail, d.http_status, \
        d.response_excerpt, d.attempt, d.charged, d.crashed, d.replays, d.dead_at, d.enqueued_at, d.incident, d.resolution, \
        d.resolved_at, d.resolved_by, d.resolution_note, d.idempotency_key, coalesce(d.endpoint, n.endpoint), \
        d.headers::text, d.content_type, d.bytes
        """

    let number: Int64
    let id: String
    let kind: String
    let queue: String
    let reason: String
    let errorType: String
    let errorMessage: String
    let errorDetail: String?
    let httpStatus: Int?
    let responseExcerpt: String?
    let attempt: Int
    let charged: Int
    let crashed: Int
    let replays: Int
    let deadAt: PostgresTimestamp
    let enqueuedAt: PostgresTimestamp
    let incident: Int64
    let resolution: String?
    let resolvedAt: PostgresTimestamp?
    let resolvedBy: String?
    let resolutionNote: String?
    let idempotencyKey: String
    let endpoint: String?
    /// A JSON object.
    let headers: String?
    let contentType: String
    let bytes: Int

    init(_ row: Row) throws(PostgresError) {
        number = try row.decode(at: 0)
        id = try row.decode(at: 1)
        kind = try row.decode(at: 2)
        queue = try row.decode(at: 3)
        reason = try row.decode(at: 4)
        errorType = try row.decode(at: 5)
        errorMessage = try row.decode(at: 6)
        errorDetail = try row.decode(at: 7)
        httpStatus = try row.decode(at: 8)
        responseExcerpt = try row.decode(at: 9)
        attempt = try row.decode(at: 10)
        charged = try row.decode(at: 11)
        crashed = try row.decode(at: 12)
        replays = try row.decode(at: 13)
        deadAt = try row.decode(at: 14)
        enqueuedAt = try row.decode(at: 15)
        incident = try row.decode(at: 16)
        resolution = try row.decode(at: 17)
        resolvedAt = try row.decode(at: 18)
        resolvedBy = try row.decode(at: 19)
        resolutionNote = try row.decode(at: 20)
        idempotencyKey = try row.decode(at: 21)
        endpoint = try row.decode(at: 22)
        headers = try row.decode(at: 23)
        contentType = try row.decode(at: 24)
        bytes = try row.decode(at: 25)
    }

    /// The members of its JSON object.
    func write(to json: inout JSONWriter) {
        json.member("number", number)
        json.member("id", id)
        json.member("kind", kind)
        json.member("queue", queue)
        json.member("endpoint", endpoint)
        json.member("reason", reason)
        json.member("incident", incident)
        json.member("error_type", errorType)
        json.member("error_message", errorMessage)
        json.member("error_detail", errorDetail)
        json.member("http_status", httpStatus)
        json.member("response_excerpt", responseExcerpt)
        json.member("attempt", attempt)
        json.member("charged", charged)
        json.member("crashed", crashed)
        json.member("replays", replays)
        json.member("enqueued_at", enqueuedAt.rfc3339)
        json.member("dead_at", deadAt.rfc3339)
        json.member("resolution", resolution)
        json.member("resolved_at", resolvedAt?.rfc3339)
        json.member("resolved_by", resolvedBy)
        json.member("resolution_note", resolutionNote)
        json.member("idempotency_key", idempotencyKey)
        json.member("headers") { json in headers.map { json.raw($0.utf8) } ?? json.null() }
        json.member("content_type", contentType)
        json.member("bytes", bytes)
    }
}

/// What went wrong in one attempt.
struct AttemptRecord: Sendable {
    let attempt: Int
    let outcome: String
    let charged: Bool
    let errorType: String
    let errorMessage: String
    let errorDetail: String?
    let httpStatus: Int?
    let responseExcerpt: String?
    let relay: String?
    let startedAt: PostgresTimestamp?
    let endedAt: PostgresTimestamp

    func write(to json: inout JSONWriter) {
        json.member("attempt", attempt)
        json.member("outcome", outcome)
        json.member("charged", charged)
        json.member("error_type", errorType)
        json.member("error_message", errorMessage)
        json.member("error_detail", errorDetail)
        json.member("http_status", httpStatus)
        json.member("response_excerpt", responseExcerpt)
        json.member("relay", relay)
        json.member("started_at", startedAt?.rfc3339)
        json.member("ended_at", endedAt.rfc3339)
    }
}
