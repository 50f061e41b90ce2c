// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Outbox
import Testing

@testable import OutboxRelay
@testable import PostgresClient

/// Dead letters are told, grouped by cause, at least once, by any relay.
@Suite(.timeLimit(.minutes(2))) struct AlertTests {
    /// Remembers what it was told, and fails as often as it is asked to.
    final class Channel: AlertChannel {
        struct Down: Error {}
        let name: String
        let told = Recorder<Alert>()
        let refused = Recorder<Alert>()
        let failures: Int

        init(name: String = "webhook", failures: Int = 0) {
            self.name = name
            self.failures = failures
        }

        func send(_ alert: Alert) async throws {
            if refused.values.count < failures {
                refused.record(alert)
                throw Down()
            }
            told.record(alert)
        }
    }

    private struct Broken: Error, CustomStringConvertible {
        let order: Int
        var description: String { "order \(order) is broken" }
    }

    private func rejecting() -> Handler {
        Handler(kind: "k") { task, _ in
            throw Reject(because: Broken(order: Int(String(decoding: task.payload, as: UTF8.self)) ?? 0))
        }
    }

    private func enqueue(_ database: Database, _ numbers: Range<Int>, kind: String = "k") async throws {
        try await database.transaction { try await $0.enqueue(batch: numbers.map { (kind, Array(String($0).utf8)) }) }
    }

    @Test func oneCauseIsToldOnceAndThenInDigests() async throws {
        try await withOutbox { database in
            let channel = Channel()
            var configuration = RelayConfiguration.quick
            configuration.groupWait = .seconds(3600)
            configuration.groupInterval = .seconds(3600)
            /// Lets the time pass that an alert waits for others of its incident.
            func tellNow(afterDeadLetters count: Int) async throws {
                try await eventually { try await database.count("SELECT count(*) FROM outbox.dead_letters") == count }
                _ = try await database.query("UPDATE outbox.alerts SET due_at = now() WHERE due_at IS NOT NULL")
            }
            try await withRelay(database, [rejecting()], alerts: [channel], configuration: configuration) { _ in
                try await enqueue(database, 0..<500)
                try await tellNow(afterDeadLetters: 500)
                await channel.told.wait(for: 1)
                try await eventually {
                    try await database.count("SELECT count(*) FROM outbox.alerts WHERE told = 500 AND due_at IS NULL")
                        == 2
                }
                try await enqueue(database, 500..<800)
                try await tellNow(afterDeadLetters: 800)
                await channel.told.wait(for: 2)
            }
            let (first, second) = (channel.told.values[0], channel.told.values[1])
            #expect(first.event == .opened)
            #expect(first.count == 500)
            #expect(first.newSinceLast == 500)
            #expect(first.errorType.hasSuffix("Broken"))
            #expect(first.message.contains("is broken"))
            #expect(first.dedupKey.count == 64)
            #expect(second.event == .updated)
            #expect(second.count == 800)
            #expect(second.newSinceLast == 300)
            #expect(second.dedupKey == first.dedupKey)
            #expect(channel.told.values.count == 2, "800 dead letters of one cause are two alerts")
            #expect(try await database.count("SELECT count(*) FROM outbox.incidents") == 1)
        }
    }

    @Test func aDeadLetterSoonAfterAnAlertWaitsForTheInterval() async throws {
        try await withOutbox { database in
            let channel = Channel()
            var configuration = RelayConfiguration.quick
            configuration.groupInterval = .seconds(3600)
            try await withRelay(database, [rejecting()], alerts: [channel], configuration: configuration) { _ in
                try await enqueue(database, 0..<1)
                await channel.told.wait(for: 1)
                try await eventually {
                    try await database.count("SELECT count(*) FROM outbox.alerts WHERE told = 1 AND due_at IS NULL")
                        == 2
                }
                try await enqueue(database, 1..<2)
                try await eventually { try await database.count("SELECT count(*) FROM outbox.dead_letters") == 2 }
            }
            let later = try await database.count(
                "SELECT count(*) FROM outbox.alerts WHERE due_at > now() + interval '50 minutes'")
            #expect(later == 2, "the log and the webhook are told in an hour")
            #expect(channel.told.values.count == 1)
        }
    }

    @Test func aKindThatNoRelayCanRunIsTold() async throws {
        try await withOutbox { database in
            try await enqueue(database, 0..<3, kind: "orphan")
            try await enqueue(database, 0..<1, kind: "young")
            _ = try await database.query(
                "UPDATE outbox.ready SET enqueued_at = now() - interval '10 minutes' WHERE kind = 'orphan'")
            let channel = Channel()
            try await withRelay(database, [rejecting()], alerts: [channel]) { _ in
                await channel.told.wait(for: 1)
            }
            #expect(channel.told.values.map(\.kind) == ["orphan"])
            #expect(channel.told.values[0].subject == .unhandled)
            let untouched = try await database.count("SELECT count(*) FROM outbox.tasks WHERE attempt = 0")
            #expect(untouched == 4)
            // a relay that can run it closes the incident
            try await withRelay(database, [Handler(kind: "orphan") { _, _ in try await Gate().pass() }]) { _ in
                try await eventually {
                    try await database.count("SELECT count(*) FROM outbox.incidents WHERE resolved_at IS NOT NULL") == 1
                }
            }
        }
    }

    @Test func relaysWithDifferentPatienceDoNotTellInTurn() async throws {
        try await withOutbox { database in
            try await enqueue(database, 0..<1, kind: "orphan")
            _ = try await database.query("UPDATE outbox.ready SET enqueued_at = now() - interval '2 minutes'")
            for _ in 0..<3 {
                for patience in ["1 minute", "5 minutes"] {
                    _ = try await database.query(
                        "SELECT outbox.unhandled_v1(\(patience)::interval, '{log}', '0 seconds')")
                }
            }
            #expect(try await database.count("SELECT count(*) FROM outbox.incidents WHERE resolved_at IS NULL") == 1)
            #expect(try await database.count("SELECT count(*) FROM outbox.alerts") == 1)
        }
    }

    @Test func whyAnAlertWasNotDeliveredIsRecordedWhateverItSays() async throws {
        struct Odd: AlertChannel {
            struct Down: Error, CustomStringConvertible { let description = "out\0put" }
            let name = "odd"
            func send(_ alert: Alert) async throws { throw Down() }
        }
        try await withOutbox { database in
            try await withRelay(database, [rejecting()], alerts: [Odd()]) { _ in
                try await enqueue(database, 0..<1)
                try await eventually {
                    try await database.count(
                        "SELECT count(*) FROM outbox.alerts WHERE failures = 1 AND last_error = 'out\u{2400}put'") == 1
                }
            }
        }
    }

    @Test(.timeLimit(.minutes(1))) func aChannelThatTakesForEverIsCancelled() async throws {
        struct Stuck: AlertChannel {
            let name = "stuck"
            func send(_ alert: Alert) async throws { try await Gate().pass() }
        }
        let alert = Alert(
            incident: 1, dedupKey: "", subject: .deadLetter, event: .opened, kind: "k", endpoint: nil, errorType: "t",
            message: "m",
            count: 1, newSinceLast: 1, openedAt: 0, lastAt: 0, sampleTaskID: .random(), relay: "r")
        let error = await #expect(throws: AlertError.self) {
            try await AlertCourier.send(alert, over: Stuck(), within: .milliseconds(10))
        }
        #expect(error?.code == .timedOut)
    }

    @Test func differentCausesAreDifferentIncidents() async throws {
        try await withOutbox { database in
            let channel = Channel()
            struct Other: Error {}
            let second = Handler(kind: "other") { _, _ in throw Reject(because: Other()) }
            try await withRelay(database, [rejecting(), second], alerts: [channel]) { _ in
                try await enqueue(database, 0..<1)
                try await enqueue(database, 1..<2, kind: "other")
                try await eventually { Set(channel.told.values.map(\.dedupKey)).count == 2 }
            }
            #expect(Set(channel.told.values.map(\.kind)) == ["k", "other"])
        }
    }

    @Test func aChannelThatIsDownIsToldAgain() async throws {
        try await withOutbox { database in
            let channel = Channel(failures: 1)
            try await withRelay(database, [rejecting()], alerts: [channel]) { _ in
                try await enqueue(database, 0..<1)
                try await eventually { channel.refused.values.count == 1 }
                await channel.told.wait(for: 1)
            }
            #expect(channel.told.values[0].dedupKey == channel.refused.values[0].dedupKey)
            #expect(channel.told.values[0].event == .opened)
        }
    }

    @Test func anAlertOutlivesTheRelayThatClaimedIt() async throws {
        try await withOutbox { database in
            let silent = Channel(failures: 1_000_000)
            try await withRelay(database, [rejecting()], alerts: [silent]) { _ in
                try await enqueue(database, 0..<1)
                try await eventually { !silent.refused.values.isEmpty }
            }
            // as if the relay had been killed while it sent: claimed, and its lease over; or the clock set back since
            for lease in ["now()", "now() + interval '2 hours'"] {
                _ = try await database.query(
                    Statement(
                        """
                        UPDATE outbox.alerts SET due_at = now(), told = 0, attempt = attempt + 1, relay = gen_random_uuid(),
                            lease_until = \(lease)
                        """, binds: []))
                let channel = Channel()
                try await withRelay(database, [rejecting()], alerts: [channel]) { _ in await channel.told.wait(for: 1) }
                #expect(channel.told.values.map(\.count) == [1])
            }
        }
    }

    @Test func aResolvedIncidentOpensAnewAndIsToldAnew() async throws {
        try await withOutbox { database in
            let channel = Channel()
            try await withRelay(database, [rejecting()], alerts: [channel]) { _ in
                try await enqueue(database, 0..<1)
                await channel.told.wait(for: 1)
                _ = try await database.query("SELECT outbox.replay(ARRAY[1])")
                await channel.told.wait(for: 2)
            }
            #expect(channel.told.values.map(\.event) == [.opened, .opened])
            #expect(channel.told.values[0].incident != channel.told.values[1].incident)
            #expect(channel.told.values[0].dedupKey == channel.told.values[1].dedupKey)
        }
    }

    @Test func aRelayTellsOnlyTheChannelsThatItHas() async throws {
        try await withOutbox { database in
            let first = Channel(name: "first", failures: 1_000_000)
            try await withRelay(database, [rejecting()], alerts: [first]) { _ in
                try await enqueue(database, 0..<1)
                try await eventually { !first.refused.values.isEmpty }
            }
            _ = try await database.query("UPDATE outbox.alerts SET due_at = now() WHERE channel = 'first'")
            let second = Channel(name: "second")
            let done = Recorder<Void>()
            try await withRelay(database, [Handler(kind: "fine") { _, _ in done.record(()) }], alerts: [second]) { _ in
                try await enqueue(database, 0..<1, kind: "fine")
                await done.wait(for: 1)
            }
            #expect(second.told.values.isEmpty)
            #expect(
                try await database.count(
                    "SELECT count(*) FROM outbox.alerts WHERE channel = 'first' AND due_at IS NOT NULL") == 1)
        }
    }
}
