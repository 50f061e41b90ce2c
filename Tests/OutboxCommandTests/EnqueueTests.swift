// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import Outbox
import OutboxCore
import PostgresClient
import Testing

@testable import OutboxCommand

/// `outbox enqueue` as it is used, and what is in the database after.
@Suite struct EnqueueTests {
    @Test func aTaskIsStoredByteForByteWithItsOptions() async throws {
        try await TestDatabase.migrated { database in
            let payload = "{ \"a\" : 1.00,\n \"é\":\"\\u00e9\" }"
            let id = "1c3a5b1e-52cb-4a3c-9d5c-6c0f6a4f2f5d"
            let result = try await database.outbox(
                "enqueue", "orders.created", payload, "--queue", "mail", "--priority", "2", "--idempotency-key",
                "order-42",
                "--header", "x-a: b:c", "--header", "x-d:", "--endpoint", "partner", "--max-attempts", "3", "--id",
                id,
                "--expires-at", "2999-01-01T00:00:00Z", "--content-type", "application/vnd.x+json")
            #expect(result.status == 0, "\(result.errors)")
            #expect(result.output == id + "\n")
            #expect(try await database.payloads() == [Array(payload.utf8)])
            let row = try await database.strings(
                """
                SELECT concat_ws('|', id, kind, queue, priority, idempotency_key, headers, endpoint, max_attempts, content_type,
                                 expires_at = '2999-01-01 00:00:00Z') FROM outbox.tasks
                """)
            #expect(
                row == [
                    "\(id)|orders.created|mail|2|order-42|{\"x-a\": \"b:c\", \"x-d\": \"\"}|partner|3|application/vnd.x+json|t"
                ])
        }
    }

    @Test func thePayloadMayComeFromStandardInput() async throws {
        try await TestDatabase.migrated { database in
            let bytes: [UInt8] = [0, 0xFF, 0x0A, 0x0D, 0x0A]
            let result = try await database.outbox(
                ["enqueue", "a.b", "-", "--content-type", "application/octet-stream", "--json"], input: bytes)
            #expect(result.status == 0 && result.errors.isEmpty)
            #expect(result.output.hasPrefix("{\"id\":\""))
            #expect(try await database.payloads() == [bytes])
            let large = try await database.outbox(
                ["enqueue", "a.b", "-"], input: [UInt8](repeating: 0x20, count: 2 << 20))
            #expect(large.status == 1)
            #expect(large.errors.contains("more than 1048576"))
        }
    }

    @Test func aTaskMayWait() async throws {
        try await TestDatabase.migrated { database in
            for (option, value, status) in [
                ("--delay", "2h", 0), ("--run-at", "2999-01-01T00:00:00Z", 1),
                ("--run-at", "2001-01-01T00:00:00Z", 0),
            ] as [(String, String, Int32)] {
                let result = try await database.outbox("enqueue", "a.b", option, value)
                #expect(result.status == status, "\(result.errors)")
            }
            #expect(try await database.count("SELECT count(*) FROM outbox.later") == 1)
            #expect(try await database.count("SELECT count(*) FROM outbox.ready") == 1)
        }
    }

    @Test func aPayloadThatIsNotJSONIsNoted() async throws {
        try await TestDatabase.migrated { database in
            let noted = try await database.outbox("enqueue", "a.b", "hello")
            #expect(noted.status == 0)
            #expect(noted.errors.contains("note: the payload is not JSON"))
            let quiet = try await database.outbox("enqueue", "a.b", "hello", "--content-type", "text/plain")
            #expect(quiet.status == 0 && quiet.errors.isEmpty)
        }
    }

    @Test func oddPayloadsOfAFileAreStoredByteForByte() async throws {
        try await TestDatabase.migrated { database in
            let payloads = [
                "{ }", "[ 1.0 ,\t2e+10,-0 ]", #""\u00e9\/\ud83d\ude00\ud800""#, "\"é😀\u{2028}\"", "null", "true",
                "123456789012345678901234567890.000", #"{"payload":{"payload":1}}"#, #"{"a":"}\"{","b":[]}"#,
                #""\u0000""#,
            ]
            let lines = payloads.enumerated().map { number, payload in
                number % 2 == 0
                    ? "{\"event\":\"e\(number)\",\"payload\":\(payload)}"
                    : " {\"x\":[{\"payload\":0}] , \"payload\" : \(payload)\t, \"\\u0065vent\":\"e\(number)\" } \r"
            }
            let input = lines.joined(separator: "\n\n") + "\n"
            let result = try await database.outbox(
                "enqueue", "--file", "-", "--kind-field", "event", "--kind-prefix", "github.", "--payload-field",
                "payload",
                "--batch", "3", input: input)
            #expect(result.status == 0, "\(result.errors)")
            #expect(result.output == "enqueued 10 tasks from standard input, through line 19\n")
            #expect(try await database.payloads() == payloads.map { Array($0.utf8) })
            #expect(
                try await database.strings("SELECT kind FROM outbox.ready ORDER BY seq")
                    == (0..<10).map { "github.e\($0)" })
        }
    }

    @Test func aBadLineIsNamedAndNothingOfItsBatchIsWritten() async throws {
        try await TestDatabase.migrated { database in
            let good = (1...8).map { "{\"n\":\($0)}\n" }
            let bad = good[0...5].joined() + "{\"n\":7\n" + good[7]
            let arguments = ["enqueue", "--file", "-", "--kind", "a.b", "--batch", "4"]
            let failed = try await database.outbox(arguments, input: Array(bad.utf8))
            #expect(failed.status == 1)
            #expect(
                failed.errors.hasPrefix(
                    "outbox: line 7 is not JSON: it ends in the middle of a value (byte 7); lines 1 to 4 are enqueued"
                ))
            #expect(failed.errors.contains("--from-line 5"))
            #expect(try await database.payloads().count == 4)
            let rest = try await database.outbox(
                arguments + ["--from-line", "5", "--json"], input: Array(good.joined().utf8))
            #expect(rest.output == "{\"tasks\":4,\"lines\":8,\"payload_bytes\":28}\n")
            #expect(try await database.payloads() == (1...8).map { Array("{\"n\":\($0)}".utf8) })
        }
    }

    /// Lines of real webhooks, if the machine has them.
    @Test(
        .enabled(
            if: ProcessInfo.processInfo.environment["OUTBOX_SAMPLE_DATA"] != nil,
            "OUTBOX_SAMPLE_DATA names no directory"))
    func realWebhooksAreStoredByteForByte() async throws {
        let directory = try #require(ProcessInfo.processInfo.environment["OUTBOX_SAMPLE_DATA"])
        let file = URL(fileURLWithPath: directory).appendingPathComponent("github-webhooks.ndjson")
        let lines = try Data(contentsOf: file).split(separator: UInt8(ascii: "\n")).map { Array($0) }
        #expect(lines.count == 269)
        try await TestDatabase.migrated { database in
            let result = try await database.outbox(
                "enqueue", "--file", file.path, "--kind-field", "event", "--payload-field", "payload")
            #expect(result.status == 0, "\(result.errors)")
            let kinds = try await database.strings("SELECT kind FROM outbox.ready ORDER BY seq")
            let payloads = try await database.payloads()
            #expect(payloads.count == lines.count)
            // the lines are {"event":NAME,"payload":OBJECT} without spaces, so that the bytes can be cut out by hand
            for (index, line) in lines.enumerated() {
                #expect(
                    Array("{\"event\":\"\(kinds[index])\",\"payload\":".utf8) + payloads[index] + [
                        UInt8(ascii: "}")
                    ] == line)
            }
        }
    }

    @Test func whatMakesNoSenseIsAUsageError() async throws {
        let wrong = [
            ["enqueue"], ["enqueue", "a", "--file", "x"], ["enqueue", "--file", "x"],
            ["enqueue", "--file", "x", "--kind", "a b"],
            ["enqueue", "--file", "x", "--kind", "a", "--kind-field", "b"],
            ["enqueue", "--file", "x", "--kind", "a", "--kind-prefix", "b"],
            ["enqueue", "--file", "x", "--kind", "a", "--id", "1c3a5b1e-52cb-4a3c-9d5c-6c0f6a4f2f5d"],
            ["enqueue", "a", "--kind-field", "x"], ["enqueue", "a", "--delay", "5"],
            ["enqueue", "a", "--run-at", "tomorrow"],
            ["enqueue", "a", "--delay", "5s", "--run-at", "2999-01-01T00:00:00Z"], ["enqueue", "a", "--id", "5"],
            ["enqueue", "a", "--header", "x"], ["enqueue", "a", "--header", ":x"],
            ["enqueue", "--file", "x", "--kind", "a", "--batch", "0"],
            ["nonsense"], ["migrate", "sideways"], ["run", "--log-level", "loud"],
        ]
        for arguments in wrong {
            let result = try await OutboxBinary.run(arguments)
            #expect(result.status == 64, "\(arguments): \(result.errors)")
        }
    }

    @Test func whatTheDatabaseWouldRefuseIsRefusedBefore() async throws {
        try await TestDatabase.migrated { database in
            for arguments in [
                ["a b"], ["a", "--queue", "A"], ["a", "--priority", "10"], ["a", "--header", "host:x"],
                ["a", "--max-attempts", "0"],
                ["a", "--endpoint", "A"], ["a", "--idempotency-key", ""], ["a", "--content-type", "x"],
            ] {
                let result = try await database.outbox(["enqueue"] + arguments)
                #expect(result.status == 1, "\(arguments): \(result.errors)")
                #expect(result.errors.contains("hint: "), "\(arguments)")
            }
            #expect(try await database.payloads().isEmpty)
        }
    }

    @Test func aTransactionsFateIsLookedUp() async throws {
        try await TestDatabase.migrated { database in
            let session = try database.session
            let writer = BatchWriter(
                database: session.database, schema: session.schema, contentType: "application/json",
                options: .init())
            let committed = try await session.database.transaction { try await $0.readIdentifier() }
            #expect(await writer.ending(of: committed) == .committed)
            var aborted: TransactionIdentifier?
            struct Stop: Error {}
            do {
                try await session.database.transaction { transaction in
                    aborted = try await transaction.readIdentifier()
                    throw Stop()
                }
            } catch is Stop {}
            #expect(await writer.ending(of: aborted) == .aborted)
            let future = TransactionIdentifier(number: committed.number + 1_000_000, life: committed.life)
            #expect(await writer.ending(of: future) == .unknown(transaction: future.number))
            #expect(await writer.ending(of: nil) == .unknown(transaction: nil))
            await session.database.close()
        }
    }
}
