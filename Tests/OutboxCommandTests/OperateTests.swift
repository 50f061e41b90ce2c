// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import PostgresClient
import Testing

@testable import OutboxCommand

/// `outbox dead`, `outbox tasks` and `outbox status`.
@Suite struct OperateTests {
    private func json(_ result: OutboxBinary.Result) throws -> Any {
        try JSONSerialization.jsonObject(with: Data(result.bytes))
    }

    @Test func deadLettersAreListedAndChosen() async throws {
        try await TestDatabase.migrated { database in
            #expect(try await database.outbox("dead").output == "no open dead letters\n")
            let incident = try await database.die(count: 3)
            try await database.die(kind: "mail.send", reason: "exhausted", message: "a\u{1B}[31m\nb")
            let all = try await database.outbox("dead", "list")
            #expect(all.lines.count == 5)
            #expect(all.lines[1].contains("mail.send"))
            // what a receiver answered cannot move the cursor
            _ = try await database.database.execute(
                "UPDATE outbox.dead SET response_excerpt = error_message WHERE number = 4")
            let odd = try await database.outbox("dead", "list").lines[1]
            #expect(odd.hasSuffix("http.400: a\\u{1b}[31m\\nb"))
            #expect(all.lines[2].hasSuffix("http.400: no such order"))
            #expect(all.lines[2].contains("partner"))
            #expect(try await database.outbox("dead", "list", "--kind", "mail.send").lines.count == 2)
            #expect(try await database.outbox("dead", "list", "--reason", "rejected").lines.count == 4)
            #expect(try await database.outbox("dead", "list", "--incident", "\(incident)").lines.count == 4)
            let limited = try await database.outbox("dead", "list", "--limit", "2")
            #expect(limited.lines.count == 4)
            #expect(limited.lines[3].hasPrefix("… and more"))
            let rows = try #require(try json(await database.outbox("dead", "list", "--json")) as? [[String: Any]])
            #expect(rows.map { $0["number"] as? Int } == [4, 3, 2, 1])
            #expect(rows[0]["payload"] == nil)
            #expect(try await database.outbox("dead", "list", "--reason", "bored").status == 64)
        }
    }

    @Test func aDeadLetterIsShownWithItsAttemptsAndPayload() async throws {
        try await TestDatabase.migrated { database in
            let payload = Array("{\"long\":\"\(String(repeating: "é", count: 2000))\"}".utf8)
            try await database.die(payload: payload)
            let shown = try await database.outbox("dead", "show", "1")
            #expect(shown.status == 0)
            #expect(shown.output.contains("error            http.400: The endpoint answered 400.\n"))
            #expect(shown.output.contains("response         no such order\n"))
            #expect(shown.output.contains("  1  "))
            #expect(shown.output.contains("payload, 4011 bytes"))
            #expect(shown.output.contains("more bytes: --full shows them"))
            #expect(try await database.outbox("dead", "show", "1", "--full").output.contains("é\"}\n"))
            #expect(try await database.outbox("dead", "show", "1", "--raw").bytes == payload)
            let id = try await database.strings("SELECT id::text FROM outbox.dead")[0]
            let object = try #require(
                try json(await database.outbox("dead", "show", id, "--json")) as? [String: Any])
            #expect((object["attempts"] as? [[String: Any]])?.first?["error_type"] as? String == "http.400")
            #expect((object["payload"] as? String).map { Array($0.utf8) } == payload)
            let absent = try await database.outbox("dead", "show", "99")
            #expect(absent.status == 2)
            #expect(try await database.outbox("dead", "show", "x").status == 64)
        }
    }

    @Test func aPayloadThatIsNotTextIsShownInHexadecimal() async throws {
        try await TestDatabase.migrated { database in
            try await database.die(payload: [0xFF, 0x00, 0x0A])
            #expect(
                try await database.outbox("dead", "show", "1").output.hasSuffix("payload, 3 bytes\nff 00 0a\n"))
            #expect(try await database.outbox("dead", "show", "1", "--raw").bytes == [0xFF, 0x00, 0x0A])
            let object = try #require(
                try json(await database.outbox("dead", "show", "1", "--json")) as? [String: Any])
            #expect(object["payload_base64"] as? String == "/wAK")
        }
    }

    @Test func deadLettersAreReplayed() async throws {
        try await TestDatabase.migrated { database in
            let incident = try await database.die(count: 3)
            try await database.die(kind: "mail.send", reason: "exhausted")
            let dry = try await database.outbox("dead", "replay", "--all", "--dry-run")
            #expect(dry.output == "would replay 4 dead letters: 1, 2, 3, 4\n")
            #expect(try await database.payloads().isEmpty)
            let one = try await database.outbox("dead", "replay", "2", "--note", "partner is back", "--who", "ada")
            #expect(one.output == "replayed 1 dead letter: 2\n")
            #expect(
                try await database.strings(
                    "SELECT resolved_by || ': ' || resolution_note FROM outbox.dead WHERE number = 2") == [
                        "ada: partner is back"
                    ])
            let again = try await database.outbox("dead", "replay", "2", "1")
            #expect(again.status == 2)
            #expect(again.output == "replayed 1 dead letter: 1\n")
            #expect(again.errors.contains("not open, or not there: 2"))
            let rest = try await database.outbox("dead", "replay", "--incident", "\(incident)", "--json")
            #expect(rest.output == "{\"dry_run\":false,\"replayed\":[3],\"not_open\":[]}\n")
            let none = try await database.outbox("dead", "replay", "--incident", "\(incident)")
            #expect(none.status == 2)
            #expect(none.errors.contains("no open dead letter matches"))
            #expect(
                try await database.outbox("dead", "replay", "--kind", "mail.send", "--reason", "exhausted").status
                    == 0)
            #expect(try await database.payloads().count == 4)
        }
    }

    @Test func manyAreReplayedInBatchesUpToTheLimit() async throws {
        try await TestDatabase.migrated { database in
            try await database.die(count: 1203)
            let limited = try await database.outbox("dead", "replay", "--all", "--limit", "3")
            #expect(limited.output == "replayed 3 dead letters: 1, 2, 3\n")
            let rest = try await database.outbox("dead", "replay", "--all")
            #expect(rest.output == "replayed 1200 dead letters\n")
            #expect(try await database.payloads().count == 1203)
            // three batches, each in a transaction of its own
            #expect(
                try await database.count("SELECT count(DISTINCT xmin::text) FROM outbox.dead WHERE number > 3")
                    == 3)
        }
    }

    @Test func deadLettersAreDiscardedWithAReason() async throws {
        try await TestDatabase.migrated { database in
            try await database.die(count: 2)
            #expect(try await database.outbox("dead", "discard", "1").status == 64)
            #expect(try await database.outbox("dead", "discard", "1", "--reason", " ").status == 64)
            let done = try await database.outbox("dead", "discard", "--all", "--reason", "test orders")
            #expect(done.output == "discarded 2 dead letters: 1, 2\n")
            #expect(
                try await database.strings(
                    "SELECT DISTINCT resolution || ': ' || resolution_note FROM outbox.dead") == [
                        "discarded: test orders"
                    ])
            #expect(try await database.payloads().isEmpty)
            #expect(try await database.outbox("dead", "list", "--all").output.contains("rejected (discarded)"))
        }
    }

    @Test(arguments: [
        ["replay"], ["replay", "1", "--all"], ["replay", "1", "--kind", "a"], ["replay", "--all", "--kind", "a"],
        ["replay", "--all", "--limit", "0"],
    ])
    func aChoiceIsOneWayOnly(_ arguments: [String]) async throws {
        #expect(try await OutboxBinary.run(["dead"] + arguments).status == 64)
    }

    @Test func tasksAreListedShownAndCancelled() async throws {
        try await TestDatabase.migrated { database in
            #expect(try await database.outbox("tasks").output == "no tasks\n")
            var ids: [String] = []
            for arguments in [
                ["a.b", "{\"n\":1}"], ["a.c", "{}", "--queue", "mail"], ["a.b", "{}", "--delay", "1h"],
            ] {
                ids.append(try await database.outbox(["enqueue"] + arguments).lines[0])
            }
            #expect(try await database.outbox("tasks", "list").lines.count == 4)
            #expect(try await database.outbox("tasks", "list", "--kind", "a.b").lines.count == 3)
            #expect(try await database.outbox("tasks", "list", "--queue", "mail").lines.count == 2)
            #expect(try await database.outbox("tasks", "list", "--state", "waiting").lines[1].hasPrefix(ids[2]))
            #expect(try await database.outbox("tasks", "list", "--limit", "1").lines.count == 3)
            let shown = try await database.outbox("tasks", "show", ids[0])
            #expect(shown.output.hasSuffix("payload, 7 bytes\n{\"n\":1}\n"))
            #expect(try await database.outbox("tasks", "show", ids[0], "--raw").output == "{\"n\":1}")
            try await database.database.execute(
                "UPDATE outbox.ready SET relay = gen_random_uuid() WHERE kind = 'a.c'")
            let cancelled = try await database.outbox("tasks", "cancel", ids[0], ids[1], ids[2])
            #expect(cancelled.status == 2)
            #expect(cancelled.lines == ["cancelled \(ids[0])", "cancelled \(ids[2])"])
            #expect(cancelled.errors.contains("not cancelled: \(ids[1])"))
            let absent = try await database.outbox("tasks", "show", ids[0])
            #expect(absent.status == 2)
            try await database.die()
            let dead = try await database.strings("SELECT id::text FROM outbox.dead")[0]
            let other = try await database.outbox("tasks", "show", dead)
            #expect(other.status == 2)
            #expect(other.errors.contains("outbox dead show 1"))
        }
    }

    @Test func statusIsOneScreen() async throws {
        try await TestDatabase.migrated { database in
            _ = try await database.outbox("enqueue", "a.b", "--delay", "1h")
            _ = try await database.outbox("enqueue", "a.b", "--queue", "mail")
            try await database.die(count: 2)
            try await database.database.execute(
                "INSERT INTO outbox.statistics VALUES (date_trunc('minute', now()), 'a.b', 'succeeded', 5), (now() - interval '1 hour', 'a.b', 'retried', 7)"
            )
            try await database.database.execute(
                """
                INSERT INTO outbox.relays (id, name, version, kinds, endpoints, channels, seen_at, stopped_at) VALUES
                (gen_random_uuid(), 'alive', '0.1.0', NULL, '{}', '{log,oncall}', now(), NULL),
                (gen_random_uuid(), 'gone', '0.1.0', NULL, '{}', '{log}', now() - interval '3 minutes', NULL),
                (gen_random_uuid(), 'stopped', '0.1.0', NULL, '{}', '{log}', now(), now())
                """)
            let text = try await database.outbox("status")
            #expect(text.status == 0)
            #expect(text.output.contains("open dead letters: 2"))
            #expect(
                text.output.contains("log,oncall") && !text.output.contains("gone")
                    && !text.output.contains("stopped"))
            #expect(text.output.contains("SUCCEEDED") && !text.output.contains("RETRIED"))
            #expect(try await database.outbox("status", "--minutes", "120").output.contains("RETRIED"))
            let object = try #require(try json(await database.outbox("status", "--json")) as? [String: Any])
            #expect(object["open_dead_letters"] as? Int == 2)
            #expect((object["backlog"] as? [[String: Any]])?.count == 2)
            #expect((object["relays"] as? [[String: Any]])?.first?["name"] as? String == "alive")
            #expect((object["incidents"] as? [[String: Any]])?.first?["endpoint"] as? String == "partner")
        }
    }
}
