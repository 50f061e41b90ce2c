// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Outbox

/// The lowest floor of a drain: a table with one index, and the shortest claim and deletion that still use a lease and
/// SKIP LOCKED, sent by the same bare loop. No lanes, no leaves, no fence, no upkeep: what Outbox's SQL costs beyond
/// this is what those cost.
struct PlainLoop: Sendable {
    let url: String
    let schema: Schema
    private let batch = 500

    /// The table, as empty as a fresh one.
    static func table(in schema: Schema) -> String {
        """
        CREATE TABLE IF NOT EXISTS \(schema.quoted).plain (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, lease_until timestamptz NOT NULL DEFAULT '-infinity',
            attempt int NOT NULL DEFAULT 0, kind text NOT NULL, payload bytea NOT NULL
        ) WITH (fillfactor = 45, vacuum_truncate = off, autovacuum_vacuum_scale_factor = 0,
                autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_insert_scale_factor = 0,
                autovacuum_vacuum_insert_threshold = 100000);
        TRUNCATE \(schema.quoted).plain;
        """
    }

    static func filling(in schema: Schema, tasks: Int, payload: Int) -> String {
        """
        INSERT INTO \(schema.quoted).plain (kind, payload)
        SELECT 'bench.task', convert_to(rpad(n || ' ', greatest(\(payload), length(n || ' ')), 'x'), 'UTF8')
        FROM generate_series(0, \(tasks - 1)) n
        """
    }

    /// Claims and deletes until nothing is left, and returns how many tasks there were.
    func drain(until flag: Flag) throws -> Int {
        let connection = try BareConnection(url)
        try connection.prepare(
            "claim",
            // the form whose plan is always a scan of the index and then a look-up of each row
            """
            UPDATE \(schema.quoted).plain SET lease_until = clock_timestamp() + interval '30 s', attempt = attempt + 1
            WHERE id = ANY (ARRAY(
                SELECT id FROM \(schema.quoted).plain WHERE id >= $1::bigint AND lease_until < now()
                ORDER BY id LIMIT \(batch) FOR UPDATE SKIP LOCKED))
            RETURNING id, attempt, kind, payload
            """)
        try connection.prepare("delete", "DELETE FROM \(schema.quoted).plain WHERE id = ANY ($1::bigint[])")
        try connection.enterPipeline()
        var floor = bigEndian(Int64(0))
        var held = BareArray(of: BareArray.int8)
        var done = 0
        repeat {
            if held.count > 0 { try connection.send("delete", binary: [held.bytes]) }
            try connection.send("claim", binary: [floor])
            let answers = try connection.sync(held.count > 0 ? 2 : 1)
            done += Int(held.count)
            let answer = answers[answers.count - 1]
            held = BareArray(of: BareArray.int8, capacity: batch)
            for row in 0..<answer.rows { held.append(answer.bytes(row, 0)) }
            if answer.rows > 0 { floor = Array(answer.bytes(0, 0)) }
        } while held.count > 0 && !flag.isRaised
        return done
    }
}
