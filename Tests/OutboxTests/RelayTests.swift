// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import FoundationEssentials
import Outbox
import OutboxRelay
import Testing

/// A relay against a real database: what runs, how often, and with what key.
@Suite(.timeLimit(.minutes(2))) struct RelayTests {
    struct Charge: OutboxTask, Codable, Equatable {
        static let kind = "payments.charge"
        var order: Int
    }

    @Test func runsWhatIsCommittedAndNothingElse() async throws {
        try await withOutbox { database in
            let seen = Recorder<Int>()
            try await withRelay(database, [Handler(Charge.self) { task, _ in seen.record(task.order) }]) { _ in
                struct RuledOut: Error {}
                for order in 0..<200 {
                    do {
                        try await database.transaction { transaction in
                            try await transaction.enqueue(Charge(order: order))
                            if order % 4 == 0 { throw RuledOut() }
                        }
                    } catch is RuledOut {}
                }
                await seen.wait(for: 150)
                try await eventually { try await database.tasksLeft() == 0 }
            }
            #expect(seen.values.sorted() == (0..<200).filter { $0 % 4 != 0 })
        }
    }

    @Test func severalRelaysShareTheWorkWithoutRunningATaskTwice() async throws {
        try await withOutbox { database in
            let seen = Recorder<Int>()
            let handler = Handler(Charge.self) { task, _ in seen.record(task.order) }
            try await database.transaction { transaction in
                _ = try await transaction.enqueue(
                    batch: try (0..<3000).map { (Charge.kind, try Charge(order: $0).payload()) })
            }
            try await withRelay(database, [handler]) { _ in
                try await withRelay(database, [handler]) { _ in
                    try await withRelay(database, [handler]) { _ in await seen.wait(for: 3000) }
                }
            }
            #expect(seen.values.sorted() == Array(0..<3000))
            #expect(try await database.tasksLeft() == 0)
        }
    }

    @Test func deliversTheBytesTheKeyAndTheHeadersAsEnqueued() async throws {
        try await withOutbox { database in
            let seen = Recorder<(ClaimedTask, String)>()
            let payload: [UInt8] = [0, 255, 10, 13, 0xC3, 0x28] + Array("héllo \u{1F600}".utf8)
            let handler = Handler(kind: "raw.bytes") { task, context in seen.record((task, context.idempotencyKey)) }
            try await withRelay(database, [handler]) { _ in
                let id = try await database.transaction { transaction in
                    try await transaction.enqueue(
                        kind: "raw.bytes", payload: payload, contentType: "application/octet-stream",
                        options: EnqueueOptions(idempotencyKey: "order-42", headers: ["x-b": "2", "x-a": "1"]))
                }
                await seen.wait(for: 1)
                let (task, key) = seen.values[0]
                #expect(task.id == id)
                #expect(task.payload == payload)
                #expect(task.contentType == "application/octet-stream")
                #expect(task.attempt == 1)
                #expect(key == "order-42")
                #expect(task.headers.map { "\($0.name)=\($0.value)" } == ["x-a=1", "x-b=2"])
            }
        }
    }

    @Test func claimsOnlyTheKindsThatItCanRun() async throws {
        try await withOutbox { database in
            let seen = Recorder<String>()
            try await withRelay(database, [Handler(kind: "mine") { task, _ in seen.record(task.kind) }]) { _ in
                try await database.transaction { transaction in
                    for kind in ["theirs", "mine", "theirs", "mine"] {
                        try await transaction.enqueue(kind: kind, payload: [])
                    }
                }
                await seen.wait(for: 2)
                try await eventually { try await database.tasksLeft() == 2 }
            }
            let attempts = try await database.count("SELECT max(attempt) FROM outbox.tasks WHERE kind = 'theirs'")
            #expect(attempts == 0)
        }
    }

    @Test func aProducersEndpointGoesBeforeTheKindsHandler() async throws {
        try await withOutbox { database in
            let seen = Recorder<String>()
            try await withRelay(database, [Handler(kind: "mine") { _, _ in seen.record("handler") }]) { _ in
                try await database.transaction { transaction in
                    try await transaction.enqueue(
                        kind: "mine", payload: [], options: EnqueueOptions(endpoint: "elsewhere"))
                    try await transaction.enqueue(kind: "mine", payload: [])
                }
                await seen.wait(for: 1)
                try await eventually { try await database.tasksLeft() == 1 }
            }
            #expect(seen.values == ["handler"])
            #expect(try await database.count("SELECT attempt FROM outbox.tasks WHERE endpoint = 'elsewhere'") == 0)
        }
    }

    @Test func runsUrgentTasksFirstAndDelayedOnesWhenTheyAreDue() async throws {
        try await withOutbox { database in
            let seen = Recorder<String>()
            try await database.transaction { transaction in
                try await transaction.enqueue(
                    kind: "k", payload: Array("delayed".utf8),
                    options: EnqueueOptions(priority: 0, start: .after(.milliseconds(300))))
                try await transaction.enqueue(
                    kind: "k", payload: Array("last".utf8), options: EnqueueOptions(priority: 9))
                try await transaction.enqueue(
                    kind: "k", payload: Array("first".utf8), options: EnqueueOptions(priority: 0))
                try await transaction.enqueue(kind: "k", payload: Array("middle".utf8))
                try await transaction.enqueue(
                    kind: "k", payload: Array("far".utf8), options: EnqueueOptions(start: .after(.seconds(3600))))
            }
            var configuration = RelayConfiguration.quick
            configuration.concurrency = 1
            let handler = Handler(kind: "k") { task, _ in seen.record(String(decoding: task.payload, as: UTF8.self)) }
            try await withRelay(database, [handler], configuration: configuration) { _ in await seen.wait(for: 4) }
            #expect(Set(seen.values) == ["first", "middle", "last", "delayed"])
            #expect(Array(seen.values.filter { $0 != "delayed" }) == ["first", "middle", "last"])
            #expect(try await database.count("SELECT count(*) FROM outbox.tasks WHERE state = 'waiting'") == 1)
        }
    }

    /// Of a relay that hardly ever polls: whoever finishes has to wake it, for its settlement and for the next task.
    @Test(.timeLimit(.minutes(2))) func aHandlerThatFinishesWakesTheRelay() async throws {
        try await withOutbox { database in
            try await database.transaction { transaction in
                _ = try await transaction.enqueue(
                    batch: try (0..<30).map { (Charge.kind, try Charge(order: $0).payload()) })
            }
            var configuration = RelayConfiguration(
                concurrency: 1, lease: .seconds(3600), poll: .seconds(60) ... .seconds(60),
                sweepInterval: .seconds(3600))
            configuration.stopGrace = .seconds(10)
            try await withRelay(database, [Handler(Charge.self) { _, _ in }], configuration: configuration) { _ in
                try await eventually { try await database.tasksLeft() == 0 }
            }
        }
    }

    @Test func findsWhatCommitsLateBehindTheFloor() async throws {
        try await withOutbox { database in
            let seen = Recorder<Int>()
            try await withRelay(database, [Handler(Charge.self) { task, _ in seen.record(task.order) }]) { _ in
                let early = try await database.connect()
                try await early.run(["BEGIN"])
                try await early.run(["SELECT outbox.enqueue('payments.charge', '{\"order\": -1}')"])
                // its seq is drawn; now let the floor of the lane pass it
                var order = 0
                let began = ContinuousClock.now
                while ContinuousClock.now - began < .milliseconds(700) {
                    try await database.transaction { try await $0.enqueue(Charge(order: order)) }
                    order += 1
                    await seen.wait(for: order)
                }
                try await early.run(["COMMIT"])
                await seen.wait(for: order + 1)
                #expect(seen.values.last == -1)
                await early.close()
            }
        }
    }

    @Test func refusesASchemaThatItDoesNotKnow() async throws {
        try await withOutbox { database in
            _ = try await database.query("INSERT INTO outbox.schema_version (version, name) VALUES (999, 'future')")
            let relay = try Relay(
                database: database.configuration, handlers: [Handler(kind: "k") { _, _ in }], logger: .quiet)
            let error = await #expect(throws: RelayError.self) { try await relay.run() }
            #expect(error?.code == .unknownSchema)
            #expect(error?.hint == "run a newer release of outbox")
            _ = try await database.query("DROP SCHEMA outbox CASCADE")
            let second = try Relay(
                database: database.configuration, handlers: [Handler(kind: "k") { _, _ in }], logger: .quiet)
            let missing = await #expect(throws: RelayError.self) { try await second.run() }
            #expect(missing?.hint.contains("outbox migrate") == true)
        }
    }

    @Test func twoHandlersForOneKindAreRefused() throws {
        let configuration = try DatabaseConfiguration(url: "postgresql://localhost/nowhere")
        #expect(throws: RelayError.self) {
            _ = try Relay(
                database: configuration, handlers: [Handler(kind: "k") { _, _ in }, Handler(kind: "k") { _, _ in }])
        }
        #expect(throws: RelayError.self) { _ = try Relay(database: configuration, handlers: []) }
        var outOfBounds = RelayConfiguration()
        outOfBounds.lease = .milliseconds(10)
        #expect(throws: RelayError.self) {
            _ = try Relay(
                database: configuration, handlers: [Handler(kind: "k") { _, _ in }], configuration: outOfBounds)
        }
    }

    @Test func noExpiryKeepsALaneFromBeingClaimed() async throws {
        try await withOutbox { database in
            let seen = Recorder<Int>()
            try await database.transaction { transaction in
                try await transaction.enqueue(Charge(order: 1))
                try await transaction.enqueue(
                    Charge(order: 2), options: EnqueueOptions(expiresAt: Date(timeIntervalSince1970: 9_224_000_000_000))
                )
                try await transaction.enqueue(Charge(order: 3))
            }
            // enqueue refuses it; should it come to be there all the same, it must not stop the others
            _ = try await database.query(
                "UPDATE outbox.ready SET expires_at = 'infinity' WHERE payload = '{\"order\":1}'")
            try await withRelay(database, [Handler(Charge.self) { task, _ in seen.record(task.order) }]) { _ in
                await seen.wait(for: 3)
            }
            #expect(Set(seen.values) == [1, 2, 3])
        }
    }

    @Test func aRelayThatHasSaidGoodbyeHasStoppedWhateverArrivesLater() async throws {
        try await withOutbox { database in
            for orders in [[true], [true, false], [false, true]] {
                let relay = PostgresUUID(TaskID.random())
                for isStopping in orders {
                    _ = try await database.query(
                        "SELECT outbox.heartbeat_v1(\(relay), 'r', '1', NULL, '{}', '{log}', '{}', \(isStopping))")
                }
                let stopped = try await database.count(
                    "SELECT count(*) FROM outbox.relays WHERE id = \(relay) AND stopped_at IS NOT NULL")
                #expect(stopped == 1, "\(orders)")
            }
        }
    }
}
