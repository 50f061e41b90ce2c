// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Outbox
internal import OutboxCore
internal import PostgresClient

/// What `outbox status` shows, read without counting a hot table.
struct StatusReport: Sendable {
    struct Backlog: Sendable {
        let queue: String
        let priority: Int
        let state: String
        let count: Int
        let oldest: Duration?
    }
    struct RelayRecord: Sendable {
        let name: String
        let version: String
        /// `nil`: every kind.
        let kinds: [String]?
        let channels: [String]
        let startedAt: PostgresTimestamp
        let seen: Duration
    }
    struct Attempts: Sendable {
        let kind: String
        let outcome: String
        let count: Int
    }
    struct Incident: Sendable {
        let number: Int64
        let kind: String
        let endpoint: String?
        let errorType: String
        let errorMessage: String
        let openedAt: PostgresTimestamp
        let lastAt: PostgresTimestamp
        let count: Int
        let open: Int
    }

    /// Each lane is counted up to here, so that the answer costs the same at any size.
    static let countedUpTo = 10_000

    let schema: Schema
    let version: Int
    let minutes: Int
    let at: PostgresTimestamp
    let backlog: [Backlog]
    let relays: [RelayRecord]
    let attempts: [Attempts]
    let incidents: [Incident]
    let origin: TaskOrigin

    var openDeadLetters: Int { incidents.reduce(0) { $0 + $1.open } }

    /// Reads it in one round trip.
    static func read(_ session: Session, minutes: Int) async throws -> StatusReport {
        let schema = session.schema.quoted
        let results = try await session.database.run([
            Statement("SELECT max(version), clock_timestamp() FROM \(schema).schema_version", binds: []),
            Statement(
                "SELECT queue, priority, state, count, oldest FROM \(schema).backlog($1)",
                binds: [Int32(countedUpTo).bind]),
            Statement(
                """
                SELECT name, version, kinds, channels, started_at, clock_timestamp() - seen_at FROM \(schema).relays
                WHERE stopped_at IS NULL AND seen_at > clock_timestamp() - interval '2 minutes' ORDER BY started_at, name
                """, binds: []),
            Statement(
                """
                SELECT kind, outcome, sum(count)::bigint FROM \(schema).statistics
                WHERE minute > clock_timestamp() - make_interval(mins => $1) GROUP BY kind, outcome ORDER BY kind, outcome
                """, binds: [Int32(minutes).bind]),
            Statement(
                """
                SELECT number, kind, endpoint, error_type, error_message, opened_at, last_at, count, open
                FROM \(schema).incidents WHERE resolved_at IS NULL ORDER BY open DESC, number
                """, binds: []),
            TaskOrigin.statement(session.schema),
        ])
        return StatusReport(
            schema: session.schema, version: try results[0][0].decode(at: 0), minutes: minutes,
            at: try results[0][0].decode(at: 1),
            backlog: try results[1].map { row in
                try Backlog(
                    queue: row.decode(at: 0), priority: row.decode(at: 1), state: row.decode(at: 2),
                    count: row.decode(at: 3),
                    oldest: row.decode(at: 4))
            },
            relays: try results[2].map { row in
                try RelayRecord(
                    name: row.decode(at: 0), version: row.decode(at: 1), kinds: row.decode(at: 2),
                    channels: row.decode(at: 3),
                    startedAt: row.decode(at: 4), seen: row.decode(at: 5))
            },
            attempts: try results[3].map { row in
                try Attempts(kind: row.decode(at: 0), outcome: row.decode(at: 1), count: row.decode(at: 2))
            },
            incidents: try results[4].map { row in
                try Incident(
                    number: row.decode(at: 0), kind: row.decode(at: 1), endpoint: row.decode(at: 2),
                    errorType: row.decode(at: 3), errorMessage: row.decode(at: 4), openedAt: row.decode(at: 5),
                    lastAt: row.decode(at: 6), count: row.decode(at: 7), open: row.decode(at: 8))
            },
            origin: try TaskOrigin(results[5][0]))
    }
}
