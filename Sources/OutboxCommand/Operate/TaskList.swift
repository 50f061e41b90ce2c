// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Outbox
internal import OutboxCore
internal import PostgresClient

/// A task that waits or runs, as the lists show it: everything but its payload.
struct TaskRecord: Sendable {
    static let columns = """
        id::text, kind, queue, priority, state, attempt, charged, crashed, max_attempts, replays, run_at, lease_until, \
        relay::text, enqueued_at, expires_at, idempotency_key, endpoint, headers::text, content_type, bytes
        """

    let id: String
    let kind: String
    let queue: String
    let priority: Int
    let state: String
    let attempt: Int
    let charged: Int
    let crashed: Int
    let maxAttempts: Int?
    let replays: Int
    let runAt: PostgresTimestamp?
    let leaseUntil: PostgresTimestamp?
    let relay: String?
    let enqueuedAt: PostgresTimestamp
    let expiresAt: PostgresTimestamp?
    let idempotencyKey: String
    let endpoint: String?
    /// A JSON object.
    let headers: String?
    let contentType: String
    let bytes: Int

    init(_ row: Row) throws(PostgresError) {
        id = try row.decode(at: 0)
        kind = try row.decode(at: 1)
        queue = try row.decode(at: 2)
        priority = try row.decode(at: 3)
        state = try row.decode(at: 4)
        attempt = try row.decode(at: 5)
        charged = try row.decode(at: 6)
        crashed = try row.decode(at: 7)
        maxAttempts = try row.decode(at: 8)
        replays = try row.decode(at: 9)
        runAt = try row.decode(at: 10)
        leaseUntil = try row.decode(at: 11)
        relay = try row.decode(at: 12)
        enqueuedAt = try row.decode(at: 13)
        expiresAt = try row.decode(at: 14)
        idempotencyKey = try row.decode(at: 15)
        endpoint = try row.decode(at: 16)
        headers = try row.decode(at: 17)
        contentType = try row.decode(at: 18)
        bytes = try row.decode(at: 19)
    }

    func write(to json: inout JSONWriter) {
        json.member("id", id)
        json.member("kind", kind)
        json.member("queue", queue)
        json.member("priority", priority)
        json.member("state", state)
        json.member("attempt", attempt)
        json.member("charged", charged)
        json.member("crashed", crashed)
        json.member("max_attempts", maxAttempts)
        json.member("replays", replays)
        json.member("run_at", runAt?.rfc3339)
        json.member("lease_until", leaseUntil?.rfc3339)
        json.member("relay", relay)
        json.member("enqueued_at", enqueuedAt.rfc3339)
        json.member("expires_at", expiresAt?.rfc3339)
        json.member("idempotency_key", idempotencyKey)
        json.member("endpoint", endpoint)
        json.member("headers") { json in headers.map { json.raw($0.utf8) } ?? json.null() }
        json.member("content_type", contentType)
        json.member("bytes", bytes)
    }

    func page(attempts: [AttemptRecord]) -> String {
        var page = Page()
        page.add("task", id)
        page.add("kind", kind)
        page.add("queue", "\(queue), priority \(priority)")
        page.add("state", state)
        page.add("endpoint", endpoint)
        page.add("idempotency key", idempotencyKey == id ? nil : idempotencyKey)
        page.add("headers", headers)
        page.add("content type", contentType)
        page.add("enqueued", enqueuedAt.shown)
        page.add("runs at", runAt?.shown)
        page.add("expires", expiresAt?.shown)
        page.add("attempts", "\(attempt), of which \(charged) charged, \(crashed) crashed; replays \(replays)")
        page.add("at most", maxAttempts.map { "\($0) charged attempts" })
        page.add("relay", relay)
        page.add("lease until", leaseUntil?.shown)
        page.add(attempts: attempts)
        return page.text
    }
}

/// The tasks of a database that wait or run.
struct TaskList {
    private let database: Database
    private let schema: String

    init(_ session: Session) {
        database = session.database
        schema = session.schema.quoted
    }

    /// As many as are found first, in no order of the database's: an order would have to read the whole backlog.
    func list(kind: String?, queue: String?, state: String?, limit: Int) async throws -> [TaskRecord] {
        var terms = ["true"]
        var binds: [Bind] = []
        for (column, value) in [("kind", kind), ("queue", queue), ("state", state)] {
            guard let value else { continue }
            binds.append(value.bind)
            terms.append("\(column) = $\(binds.count)")
        }
        binds.append(limit.bind)
        return try await database.query(
            Statement(
                "SELECT \(TaskRecord.columns) FROM \(schema).tasks WHERE \(terms.joined(separator: " AND ")) "
                    + "LIMIT $\(binds.count)", binds: binds)
        ).map { try TaskRecord($0) }.sorted { $0.enqueuedAt < $1.enqueuedAt }
    }

    /// A task and its payload, which is `nil` where it is not text. There is no index by id: it reads the tables.
    func find(_ id: TaskID) async throws -> (task: TaskRecord, payload: String?)? {
        let rows = try await database.query(
            Statement(
                "SELECT \(TaskRecord.columns), payload FROM \(schema).tasks WHERE id = $1 LIMIT 1",
                binds: [PostgresUUID(id).bind]))
        guard let row = rows.first else { return nil }
        return (try TaskRecord(row), try row.decode(at: 20))
    }

    /// The payload's bytes, out of the tables themselves.
    func payload(of id: TaskID) async throws -> [UInt8]? {
        let bind = PostgresUUID(id).bind
        return try await database.query(
            Statement(
                "SELECT payload FROM \(schema).ready WHERE id = $1 UNION ALL SELECT payload FROM \(schema).later WHERE id = $1",
                binds: [bind])
        ).first.map { try $0.decode([UInt8].self, at: 0) }
    }

    /// Cancels a task that no relay is running; false if there is none.
    func cancel(_ id: TaskID) async throws -> Bool {
        try await database.query(Statement("SELECT \(schema).cancel($1)", binds: [PostgresUUID(id).bind]))[0]
            .decode(Bool.self, at: 0)
    }
}
