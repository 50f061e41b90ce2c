// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import FoundationEssentials
import Logging
import Outbox
import OutboxCore
import OutboxHTTP
import OutboxRelay
import OutboxTesting
import PostgresClient
import Testing

/// From the enqueue to the receiver: a database, a relay, and a real server.
@Suite struct EndToEndTests {
    private func withRelay(
        to server: ScriptedServer, kinds: [String] = [], otherKinds: Bool = false, alerts: String? = nil,
        retry: RetryPolicy = RetryPolicy(backoff: .constant(.milliseconds(1))), _ body: (Database) async throws -> Void
    ) async throws {
        defer { server.stop() }
        let database = Database(try await ThrowAwayPostgres.shared().makeOutbox())
        let transport = HTTPTransport()
        let endpoint = try HTTPEndpoint(name: "partner", url: server.url + "hooks")
        let channels =
            try alerts.map { [transport.alertChannel(try HTTPEndpoint(name: "oncall", url: server.url + $0))] } ?? []
        let relay = try Relay(
            database: database.configuration,
            handlers: transport.handlers(deliveringTo: endpoint, kinds: kinds, otherKinds: otherKinds, retry: retry),
            alerts: channels,
            configuration: RelayConfiguration(
                poll: .milliseconds(5) ... .milliseconds(20), groupWait: .zero, groupInterval: .milliseconds(50)),
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        let running = Task { try await relay.run() }
        do {
            try await body(database)
        } catch {
            relay.stop()
            try await running.value
            throw error
        }
        relay.stop()
        try await running.value
        await transport.shutDown()
        await database.close()
    }

    private func left(_ database: Database) async throws -> Int {
        try await database.query("SELECT count(*) FROM outbox.tasks")[0].decode(Int.self, at: 0)
    }

    private func untilDrained(_ database: Database) async throws {
        while try await left(database) > 0 { try await Task.sleep(for: .milliseconds(5)) }
    }

    /// Real webhook payloads where they are, small ones of our own elsewhere: each line is
    /// `{"event":NAME,"payload":OBJECT}`, and the object's bytes are what must arrive.
    private func samples() throws -> [(kind: String, payload: [UInt8])] {
        let shipped = #filePath.replacing("EndToEndTests.swift", with: "Samples/small.ndjson")
        let path =
            ProcessInfo.processInfo.environment["OUTBOX_SAMPLE_DATA"].map { $0 + "/github-webhooks.ndjson" } ?? shipped
        return try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n").map { line in
            let afterName = try #require(line.firstRange(of: "\",\"payload\":"))
            let name = line[line.index(line.startIndex, offsetBy: #"{"event":""#.count)..<afterName.lowerBound]
            return ("github.\(name)", Array(line[afterName.upperBound...].dropLast().utf8))
        }
    }

    @Test(.timeLimit(.minutes(2))) func realPayloadsArriveByteForByte() async throws {
        let server = try ScriptedServer(always: .send(answer(200)))
        let samples = try samples()
        try await withRelay(to: server, otherKinds: true) { database in
            let ids = try await database.transaction { try await $0.enqueue(batch: samples) }
            try await untilDrained(database)
            let arrived = Dictionary(
                uniqueKeysWithValues: server.requests.map { ($0.header("webhook-id") ?? "", $0.body) })
            #expect(arrived.count == samples.count)
            for (id, sample) in zip(ids, samples) {
                #expect(arrived[id.description] == sample.payload, "\(sample.kind)")
            }
        }
    }

    @Test(.timeLimit(.minutes(2))) func repeatsWithTheSameKeyUntilItIsTaken() async throws {
        let server = try ScriptedServer { _, number in
            switch number {
            case 1: .send(answer(503, "Retry-After: 0\r\n"))
            case 2: .reset("")
            case 3: .send(answer(500))
            default: .send(answer(204))
            }
        }
        try await withRelay(to: server, kinds: ["orders.created"]) { database in
            try await database.transaction {
                try await $0.enqueue(
                    kind: "orders.created", payload: Array("{}".utf8),
                    options: EnqueueOptions(idempotencyKey: "order-42"))
            }
            try await untilDrained(database)
        }
        #expect(server.requests.count == 4)
        #expect(Set(server.requests.map { $0.header("idempotency-key") }) == ["\"order-42\""])
        #expect(Set(server.requests.map { $0.header("webhook-id") }).count == 1)
        #expect(server.requests.map { $0.header("outbox-attempt") } == ["1", "2", "3", "4"])
    }

    @Test(.timeLimit(.minutes(2))) func aRefusalIsADeadLetterWithTheAnswerAndAnAlert() async throws {
        let server = try ScriptedServer { request, _ in
            request.head.contains("/alerts")
                ? .send(answer(200)) : .send(answer(422, body: "{\"error\": \"no such order\"}"))
        }
        try await withRelay(to: server, alerts: "alerts") { database in
            // the producer names the endpoint: no route is needed
            try await database.transaction {
                try await $0.enqueue(kind: "orders.created", payload: [], options: EnqueueOptions(endpoint: "partner"))
            }
            while !server.requests.contains(where: { $0.head.contains("/alerts") }) {
                try await Task.sleep(for: .milliseconds(5))
            }
            let row = try await database.query(
                "SELECT reason, error_type, http_status, response_excerpt FROM outbox.dead_letters")[0]
            #expect(try row.decode(String.self, at: 0) == "rejected")
            #expect(try row.decode(String.self, at: 1) == "http.422")
            #expect(try row.decode(Int.self, at: 2) == 422)
            #expect(try row.decode(String.self, at: 3) == "{\"error\": \"no such order\"}")
        }
        let alert = try #require(server.requests.first { $0.head.contains("/alerts") })
        let text = String(decoding: alert.body, as: UTF8.self)
        #expect(text.contains(#""type":"outbox.dead_letter.opened""#))
        #expect(text.contains(#""endpoint":"partner""#))
        #expect(text.contains(#""error_type":"http.422""#))
        #expect(text.contains(#""response_excerpt":"{\"error\": \"no such order\"}""#))
    }

    @Test(.timeLimit(.minutes(2))) func aThrottlingEndpointDoesNotUseUpTheBudget() async throws {
        let server = try ScriptedServer { _, number in
            number < 6 ? .send(answer(429, "Retry-After: 0\r\n")) : .send(answer(200))
        }
        try await withRelay(
            to: server, kinds: ["k"], retry: RetryPolicy(maxAttempts: 1, backoff: .constant(.milliseconds(1)))
        ) { database in
            try await database.transaction { try await $0.enqueue(kind: "k", payload: []) }
            try await untilDrained(database)
            let dead = try await database.query("SELECT count(*) FROM outbox.dead_letters")[0].decode(Int.self, at: 0)
            #expect(dead == 0)
        }
        #expect(server.requests.count == 6)
    }
}
