// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Outbox
internal import OutboxCore
internal import PostgresClient

/// What a proof does to a task's row by hand: it ends leases and waits, and takes a settlement's reply away.
struct ProofTable: Sendable {
    let database: Database
    let schema: Schema

    enum Place: String {
        case ready, running, later, dead, gone
    }

    func place(of task: TaskID) async throws -> Place {
        let text = try await database.query(
            statement(
                """
                SELECT coalesce(
                    (SELECT CASE WHEN relay IS NULL THEN 'ready' ELSE 'running' END FROM SCHEMA.ready WHERE id = $1),
                    (SELECT 'later' FROM SCHEMA.later WHERE id = $1),
                    (SELECT 'dead' FROM SCHEMA.dead WHERE id = $1 AND resolution IS NULL LIMIT 1), 'gone')
                """, PostgresUUID(task).bind))[0].decode(String.self, at: 0)
        return Place(rawValue: text) ?? .gone
    }

    /// What chooses the task's handler; `nil` if there is no such task.
    func address(of task: TaskID) async throws -> (kind: String, endpoint: String?)? {
        let row = try await database.query(
            statement(
                """
                SELECT kind, endpoint FROM SCHEMA.ready WHERE id = $1
                UNION ALL SELECT kind, endpoint FROM SCHEMA.later WHERE id = $1
                """, PostgresUUID(task).bind)
        ).first
        return try row.map { (try $0.decode(String.self, at: 0), try $0.decode(String?.self, at: 1)) }
    }

    /// Ends the task's lease and gives it back to be claimed, as any relay does that finds it; false: it is done, or
    /// its row is locked by a transaction that completes it, and nobody can take it.
    func takeAway(_ task: TaskID) async throws -> Bool {
        try await database.transaction { transaction in
            try await transaction.execute(
                statement(
                    """
                    UPDATE SCHEMA.ready SET lease_until = '-infinity' WHERE (slot, lane, seq) IN (
                        SELECT slot, lane, seq FROM SCHEMA.ready WHERE id = $1 AND relay IS NOT NULL
                        FOR NO KEY UPDATE SKIP LOCKED)
                    """, PostgresUUID(task).bind))
            // with no kind to isolate: a relay that runs it alone lets everything else come to its end before
            let rescued = try await transaction.query(
                statement(
                    """
                    SELECT coalesce(sum(SCHEMA.rescue_v1(NULL, NULL, NULL, ARRAY[endpoint], '{}', ARRAY[slot],
                        ARRAY[lane], ARRAY[seq], 1)), 0)::int
                    FROM SCHEMA.ready WHERE id = $1 AND relay IS NOT NULL
                    """, PostgresUUID(task).bind))
            return try rescued[0].decode(Int.self, at: 0) > 0
        }
    }

    /// Ends the wait of a task that is delayed or in backoff.
    func makeDue(_ task: TaskID) async throws {
        try await database.execute(
            statement("UPDATE SCHEMA.later SET run_at = clock_timestamp() WHERE id = $1", PostgresUUID(task).bind))
    }

    /// Whether somebody waits for a lock, relays aside.
    func isSomebodyBlocked() async throws -> Bool {
        try await !waiting("application_name NOT LIKE 'outbox relay %'").isEmpty
    }

    /// Lets the relay settle, and its settlement be executed, and the connection break before it hears of that.
    ///
    /// - Parameter isSuccess: What it settles; a failure is not executed either.
    func loseReply(
        ofSettling task: TaskID, by relay: String, isSuccess: Bool, atMost limit: Duration,
        _ settle: @Sendable () -> Void
    ) async throws {
        try await database.transaction { transaction in
            // while its row is locked, the settlement waits, where it can be seen
            let row = try await transaction.query(
                statement("SELECT FROM SCHEMA.ready WHERE id = $1 FOR UPDATE", PostgresUUID(task).bind))
            settle()
            guard !row.isEmpty else { return }
            let end = ContinuousClock.now + limit
            var backend: Int32?
            while backend == nil, .now < end {
                backend = try await waiting("application_name = \("outbox relay \(relay)")").first
                if backend == nil { try await Task.sleep(for: .milliseconds(2)) }
            }
            guard let backend else { return }
            _ = try await database.query("SELECT pg_terminate_backend(\(backend))")
            while try await !database.query("SELECT FROM pg_stat_activity WHERE pid = \(backend)").isEmpty {
                try await Task.sleep(for: .milliseconds(2))
            }
            guard isSuccess else { return }
            _ = try await transaction.query(
                statement(
                    """
                    SELECT SCHEMA.settle_v1(array_agg(slot), array_agg(lane), array_agg(seq), array_agg(attempt), array_agg(id))
                    FROM SCHEMA.ready WHERE id = $1
                    """, PostgresUUID(task).bind))
        }
    }

    /// The backends that wait for a lock in this database and are what the condition says.
    private func waiting(_ condition: Statement) async throws -> [Int32] {
        let waiting = Statement(
            """
            SELECT pid FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock' AND \(condition.text)
            """, binds: condition.binds)
        return try await database.query(waiting).map { try $0.decode(Int32.self, at: 0) }
    }

    private func statement(_ text: String, _ binds: Bind...) -> Statement {
        Statement(text.replacing("SCHEMA.", with: "\(schema.quoted)."), binds: binds)
    }
}
