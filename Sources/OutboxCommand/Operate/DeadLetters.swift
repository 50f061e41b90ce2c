// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Outbox
internal import PostgresClient

/// The dead letters of a database: finding, replaying and discarding them.
///
/// It uses the view `dead_letters` and the functions `replay` and `discard`, as the role `outbox_operator` may; the
/// table alone has the bytes of payloads that are not text.
struct DeadLetters {
    private let database: Database
    private let schema: String
    /// How many are replayed or discarded in one transaction.
    private let batch: Int64

    init(_ session: Session, batch: Int64 = 500) {
        database = session.database
        schema = session.schema.quoted
        self.batch = batch
    }

    private var joined: String {
        "\(schema).dead_letters d LEFT JOIN \(schema).incidents n ON n.number = d.incident"
    }

    /// The latest first.
    func list(_ filter: DeadLetterFilter, limit: Int) async throws -> [DeadLetter] {
        let (condition, binds) = filter.condition
        return try await query(
            "SELECT \(DeadLetter.columns) FROM \(joined) WHERE \(condition) ORDER BY d.number DESC "
                + "LIMIT $\(binds.count + 1)", binds + [limit.bind]
        ).map { try DeadLetter($0) }
    }

    /// The dead letter of a number, or those of a task, the latest first.
    func find(_ name: DeadLetterName) async throws -> [DeadLetter] {
        let (column, bind) =
            switch name {
            case .number(let number): ("number", number.bind)
            case .id(let id): ("id", id.bind)
            }
        return try await query(
            "SELECT \(DeadLetter.columns) FROM \(joined) WHERE d.\(column) = $1 ORDER BY d.number DESC", [bind]
        ).map { try DeadLetter($0) }
    }

    /// The payload's bytes as they were enqueued.
    func payload(of number: Int64) async throws -> [UInt8]? {
        let text = try await query("SELECT payload FROM \(schema).dead_letters WHERE number = $1", [number.bind])
        guard let row = text.first else { return nil }
        if let text = try row.decode(String?.self, at: 0) { return Array(text.utf8) }
        return try await query("SELECT payload FROM \(schema).dead WHERE number = $1", [number.bind])
            .first.map { try $0.decode([UInt8].self, at: 0) }
    }

    /// Every attempt of a task that did not succeed, the first one first.
    func attempts(of id: String) async throws -> [AttemptRecord] {
        try await query(
            """
            SELECT a.attempt, a.outcome, a.charged, a.error_type, a.error_message, a.error_detail, a.http_status,
                   a.response_excerpt, coalesce(r.name, a.relay::text), a.started_at, a.ended_at
            FROM \(schema).attempts a LEFT JOIN \(schema).relays r ON r.id = a.relay
            WHERE a.task = $1::uuid ORDER BY a.attempt, a.ended_at
            """, [id.bind]
        ).map { row in
            try AttemptRecord(
                attempt: row.decode(at: 0), outcome: row.decode(at: 1), charged: row.decode(at: 2),
                errorType: row.decode(at: 3), errorMessage: row.decode(at: 4), errorDetail: row.decode(at: 5),
                httpStatus: row.decode(at: 6), responseExcerpt: row.decode(at: 7), relay: row.decode(at: 8),
                startedAt: row.decode(at: 9), endedAt: row.decode(at: 10))
        }
    }

    /// Which open dead letters are meant, lowest number first, at most so many.
    ///
    /// What is chosen is settled before anything is done: a replayed task that dies again at once is a new dead letter
    /// with a new number, and is not replayed over and over.
    func numbers(_ filter: DeadLetterFilter, limit: Int?) async throws -> [Int64] {
        let (condition, binds) = filter.condition
        return try await query(
            "SELECT d.number FROM \(schema).dead_letters d WHERE \(condition) ORDER BY d.number LIMIT $\(binds.count + 1)",
            binds + [limit.bind]
        ).map { try $0.decode(Int64.self, at: 0) }
    }

    /// Those of some numbers that are open.
    func open(of numbers: [Int64]) async throws -> [Int64] {
        try await query(
            "SELECT number FROM \(schema).dead_letters WHERE number = ANY ($1) AND resolution IS NULL ORDER BY number",
            [numbers.bind]
        ).map { try $0.decode(Int64.self, at: 0) }
    }

    /// Replays dead letters and returns the numbers of those that were open.
    func replay(_ numbers: [Int64], who: String, note: String?) async throws -> [Int64] {
        try await inBatches(numbers) { numbers in
            ("SELECT * FROM \(schema).replay($1, who => $2, note => $3)", [numbers.bind, who.bind, note.bind])
        }
    }

    /// Discards dead letters and returns the numbers of those that were open.
    func discard(_ numbers: [Int64], who: String, reason: String) async throws -> [Int64] {
        try await inBatches(numbers) { numbers in
            ("SELECT * FROM \(schema).discard($1, note => $2, who => $3)", [numbers.bind, reason.bind, who.bind])
        }
    }

    private func inBatches(
        _ numbers: [Int64], _ statement: ([Int64]) -> (String, [Bind])
    ) async throws -> [Int64] {
        var done: [Int64] = []
        var rest = numbers[...]
        while !rest.isEmpty {
            let (text, binds) = statement(Array(rest.prefix(Int(batch))))
            do {
                done += try await query(text, binds).map { try $0.decode(Int64.self, at: 0) }
            } catch {
                guard !done.isEmpty, let problem = Problem(describing: error) else { throw error }
                throw Problem(
                    problem.status, "\(problem.message); \(done.count) of \(numbers.count) were done before",
                    hint: "run the same command again: those that are done are passed over")
            }
            rest = rest.dropFirst(Int(batch))
        }
        return done
    }

    private func query(_ text: String, _ binds: [Bind]) async throws -> QueryResult {
        try await database.query(Statement(text, binds: binds))
    }
}
