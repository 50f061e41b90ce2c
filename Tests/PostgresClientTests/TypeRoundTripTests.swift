// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Testing

@testable import PostgresClient

@Suite("Values go to the server and come back")
struct TypeRoundTripTests {
    /// Sends a value and reads it back.
    func roundTrip<Value: PostgresEncodable & PostgresDecodable & Equatable>(
        _ values: [Value], sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        try await withDatabase { database in
            for value in values {
                let result = try await database.query("SELECT \(value) AS value")
                #expect(try result[0].decode(Value.self, "value") == value, sourceLocation: sourceLocation)
                let null = try await database.query("SELECT \(Value?.none) AS value")
                #expect(try null[0].decode(Value?.self, at: 0) == nil, sourceLocation: sourceLocation)
                #expect(try result[0].decode(Value?.self, at: 0) == value, sourceLocation: sourceLocation)
            }
        }
    }

    @Test func booleans() async throws { try await roundTrip([true, false]) }
    @Test func smallIntegers() async throws { try await roundTrip([Int16.min, -1, 0, Int16.max]) }
    @Test func integers() async throws { try await roundTrip([Int32.min, -1, 0, Int32.max]) }
    @Test func bigIntegers() async throws { try await roundTrip([Int64.min, -1, 0, Int64.max]) }
    @Test func nativeIntegers() async throws { try await roundTrip([Int.min, 0, Int.max]) }
    @Test func doubles() async throws {
        try await roundTrip([0, -0.1, .infinity, -.infinity, .leastNonzeroMagnitude, .greatestFiniteMagnitude])
    }
    @Test func strings() async throws {
        let large = String(repeating: "x", count: 2_000_000)
        try await roundTrip(["", "plain", "quote ' and \" and \\", "κόσμε 🐘", large])
    }
    @Test func bytes() async throws {
        try await roundTrip([[], [0], Array(0...255), [UInt8](repeating: 7, count: 3_000_000)])
    }
    @Test func uuids() async throws {
        try await roundTrip([PostgresUUID(high: 0, low: 0), PostgresUUID(high: .max, low: 1)])
    }
    @Test func durations() async throws {
        try await roundTrip([Duration.zero, .microseconds(1), .microseconds(-1), .seconds(86_400 * 400)])
    }
    @Test func timestamps() async throws {
        try await roundTrip([
            PostgresTimestamp(microsecondsSinceEpoch: 0), PostgresTimestamp(microsecondsSinceEpoch: -1),
            PostgresTimestamp(microsecondsSinceEpoch: 1_700_000_000_123_456),
            PostgresTimestamp(microsecondsSinceEpoch: .max), PostgresTimestamp(microsecondsSinceEpoch: .min),
        ])
    }

    @Test func arrays() async throws {
        try await roundTrip([[Int16](), [1, -1]])
        try await roundTrip([[Int32](), [1, -1]])
        try await roundTrip([[Int64](), [1, -1], Array(0..<10_000)])
        try await roundTrip([[Int](), [1, -1]])
        try await roundTrip([[Bool](), [true, false]])
        try await roundTrip([[Double](), [1.5]])
        try await roundTrip([[String](), ["", "a,b", "{}", "NULL", "\"", "\\"]])
        try await roundTrip([[String?](), [nil], ["a", nil, ""]])
        try await roundTrip([[[UInt8]](), [[], [0, 1]]])
        try await roundTrip([[PostgresUUID](), [PostgresUUID(high: 1, low: 2)]])
        try await roundTrip([[Duration](), [.seconds(1)]])
        try await roundTrip([[PostgresTimestamp](), [PostgresTimestamp(microsecondsSinceEpoch: 5)]])
    }

    @Test("The server means by these values what we mean")
    func meanings() async throws {
        try await withDatabase { database in
            let row = try await database.query(
                """
                SELECT \(Duration.seconds(90))::text, \(PostgresUUID(high: 0x0123_4567_89ab_cdef, low: 0xf))::text,
                       \(PostgresTimestamp(microsecondsSinceEpoch: 1_000_000)) = '1970-01-01 00:00:01Z'::timestamptz,
                       \([1, 2] as [Int64])::text, \(["a", nil])::text, encode(\([UInt8]([0, 255])), 'hex')
                """
            )[0]
            #expect(try row.decode(String.self, at: 0) == "00:01:30")
            #expect(try row.decode(String.self, at: 1) == "01234567-89ab-cdef-0000-00000000000f")
            #expect(try row.decode(Bool.self, at: 2))
            #expect(try row.decode(String.self, at: 3) == "{1,2}")
            #expect(try row.decode(String.self, at: 4) == "{a,NULL}")
            #expect(try row.decode(String.self, at: 5) == "00ff")
        }
    }

    @Test("Columns of the server's other types are read")
    func columns() async throws {
        try await withDatabase { database in
            let row = try await database.query(
                """
                SELECT 'a'::varchar, 'b'::name, 'c'::"char", '{"d": 1}'::json, '{"e": 1}'::jsonb, 'f'::char(3),
                       1.5::float4, 2::int2, 3::int4, 4::oid, '2 days 1 s'::interval, '{g,h}'::varchar[], 'i'
                """
            )[0]
            #expect(try row.decode(String.self, at: 0) == "a")
            #expect(try row.decode(String.self, at: 1) == "b")
            #expect(try row.decode(String.self, at: 2) == "c")
            #expect(try row.decode(String.self, at: 3) == #"{"d": 1}"#)
            #expect(try row.decode(String.self, at: 4) == #"{"e": 1}"#)
            #expect(try row.decode(String.self, at: 5) == "f  ")
            #expect(try row.decode(Double.self, at: 6) == 1.5)
            #expect(try row.decode(Int.self, at: 7) == 2)
            #expect(try row.decode(Int64.self, at: 8) == 3)
            #expect(try row.decode(Int64.self, at: 9) == 4)
            #expect(try row.decode(Duration.self, at: 10) == .seconds(2 * 86_400 + 1))
            #expect(try row.decode([String].self, at: 11) == ["g", "h"])
            #expect(try row.decode(String.self, at: 12) == "i")
        }
    }

    @Test("An error of decoding names the column and what to do")
    func decodingErrors() async throws {
        try await withDatabase { database in
            let row = try await database.query(
                "SELECT 1.5::numeric AS price, NULL::int4 AS nothing, '1 month'::interval AS month"
            )[0]
            let unsupported = try await failure { try row.decode(Double.self, "price") }
            #expect(unsupported.code == .decoding)
            #expect(unsupported.message.contains("price") && unsupported.message.contains("numeric"))
            #expect(unsupported.hint?.contains("Cast") == true)
            let null = try await failure { try row.decode(Int32.self, "nothing") }
            #expect(null.message == "Column nothing is NULL.")
            #expect(try await failure { try row.decode(Int32.self, "absent") }.message.contains("absent"))
            #expect(try await failure { try row.decode(Int32.self, at: 7) }.code == .decoding)
            #expect(try await failure { try row.decode(Duration.self, "month") }.message.contains("months"))
            #expect(try await failure { try row.decode(Int16.self, "nothing") }.code == .decoding)
        }
    }

    @Test("The hot path reads without copies")
    func zeroCopy() async throws {
        try await withDatabase { database in
            let result = try await database.query(
                """
                SELECT n::int8, n::int4, CASE WHEN n = 2 THEN ''::bytea WHEN n = 3 THEN '\\x0102' END
                FROM generate_series(1, 3) n
                """
            )
            #expect(result.count == 3 && result.affectedRows == 3)
            #expect(try result.int64(row: 2, column: 0) == 3)
            #expect(try result.int32(row: 2, column: 1) == 3)
            #expect(result.isNull(row: 0, column: 2) && !result.isNull(row: 1, column: 2))
            #expect(result.withBytes(row: 0, column: 2) { $0 == nil })
            #expect(result.withBytes(row: 1, column: 2) { $0?.count } == 0)
            #expect(result.withBytes(row: 2, column: 2) { $0.map(Array.init) } == [1, 2])
            #expect(try await failure { try result.int64(row: 0, column: 1) }.code == .decoding)
            #expect(try result.map { try $0.decode(Int.self, at: 0) } == [1, 2, 3])
        }
    }
}
