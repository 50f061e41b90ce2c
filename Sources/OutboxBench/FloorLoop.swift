// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import CLibPQ
internal import Outbox

#if canImport(Darwin)
internal import Darwin
#else
internal import Glibc
#endif

/// The floor of the drain: the relay's own claim and settlement, sent by a bare loop over blocking libpq that does
/// nothing with the tasks. What a relay takes longer than this is the relay's.
struct FloorLoop {
    let connectionString: String
    let schema: Schema
    let batch: Int

    struct Failed: Error, CustomStringConvertible {
        let description: String
    }

    /// Claims and settles until nothing is left, and returns how many there were.
    func run() throws -> Int {
        guard let connection = PQconnectdb(connectionString), PQstatus(connection) == CONNECTION_OK else {
            throw Failed(description: "the floor's connection failed")
        }
        defer { PQfinish(connection) }
        let claim = """
            SELECT * FROM \(schema.quoted).claim_v1('00000000-0000-4000-8000-000000000000', '30s', NULL,
            '{}', '{}', $1::smallint[], $2::text[], $3::bigint[], $4::int[], \(batch), 16777216,
            CASE WHEN $5::text = 't' THEN \(batch) END, NULL, 0, NULL, NULL, NULL)
            """
        let settle =
            "SELECT \(schema.quoted).settle_v1($1::smallint[], $2::text[], $3::bigint[], $4::int[], $5::uuid[])"
        var known: [String: (slot: String, lane: String, floor: Int64)] = [:]
        var done = 0
        var discovers = true
        while true {
            let lanes = Array(known.values)
            let result = try execute(
                connection, claim,
                [
                    array(lanes.map(\.slot)), array(lanes.map(\.lane)), array(lanes.map { String($0.floor) }),
                    array(lanes.map { _ in String(batch) }), discovers ? "t" : "f",
                ])
            defer { PQclear(result) }
            var settled: (slots: [String], lanes: [String], seqs: [String], ids: [String], attempts: [String]) = (
                [], [], [], [], []
            )
            for row in 0..<PQntuples(result) where PQgetisnull(result, row, 2) == 0 {
                func text(_ column: Int32) -> String { String(cString: PQgetvalue(result, row, column)) }
                settled.slots.append(text(0))
                settled.lanes.append(text(1))
                settled.seqs.append(text(2))
                settled.ids.append(text(3))
                settled.attempts.append(text(5))
            }
            if settled.seqs.isEmpty {
                if discovers { return done }
                discovers = true
                continue
            }
            discovers = false
            if let slot = settled.slots.first, let lane = settled.lanes.first,
                let seq = settled.seqs.first.flatMap({ Int64($0) })
            {
                known["\(slot) \(lane)"] = (slot, lane, seq)
            }
            PQclear(
                try execute(
                    connection, settle,
                    [
                        array(settled.slots), array(settled.lanes), array(settled.seqs), array(settled.attempts),
                        array(settled.ids),
                    ]))
            done += settled.seqs.count
        }
    }

    private func array(_ elements: [String]) -> String { "{" + elements.joined(separator: ",") + "}" }

    private func execute(_ connection: OpaquePointer, _ text: String, _ values: [String]) throws -> OpaquePointer {
        var pointers = values.map { $0.withCString { UnsafePointer(strdup($0)) } }
        defer { for pointer in pointers { free(UnsafeMutableRawPointer(mutating: pointer)) } }
        guard let result = PQexecParams(connection, text, Int32(values.count), nil, &pointers, nil, nil, 0) else {
            throw Failed(description: "out of memory")
        }
        guard PQresultStatus(result) == PGRES_TUPLES_OK else {
            defer { PQclear(result) }
            throw Failed(description: String(cString: PQresultErrorMessage(result)))
        }
        return result
    }
}
