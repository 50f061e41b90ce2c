// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Logging
import OutboxCore
import OutboxHTTP
import OutboxRelay
import Synchronization
import Testing

let testAlert = Alert(
    incident: 7, dedupKey: "9f86d081", event: .opened, kind: "send-invoice", endpoint: "crm", errorType: "http.500",
    message: "The endpoint \"answered\" 500.\n", count: 3, newSinceLast: 3, openedAt: 784_111_777_000_250,
    lastAt: 784_111_778_000_000, sampleTaskID: testTaskID, relay: "relay-1")

let testAlertJSON =
    #"{"type":"outbox.dead_letter.opened","timestamp":"1994-11-06T08:49:38.000000Z","data":{"incident":7,"#
    + #""dedup_key":"9f86d081","kind":"send-invoice","endpoint":"crm","error_type":"http.500","#
    + #""message":"The endpoint \"answered\" 500.\n","response_excerpt":null,"count":3,"new_since_last":3,"#
    + #""opened_at":"1994-11-06T08:49:37.000250Z","last_at":"1994-11-06T08:49:38.000000Z","#
    + #""sample_task_id":"8e03978e-40d5-43e8-bc93-6894a57f9324","relay":"relay-1"}}"#

@Suite struct AlertChannelTests {
    @Test func theJSONIsTheDocumentedOne() {
        #expect(String(decoding: testAlert.json(), as: UTF8.self) == testAlertJSON)
        var other = testAlert
        (other.event, other.endpoint, other.sampleTaskID) = (.updated, nil, nil)
        let json = String(decoding: other.json(), as: UTF8.self)
        #expect(json.hasPrefix(#"{"type":"outbox.dead_letter.updated","#))
        #expect(json.contains(#""endpoint":null"#) && json.contains(#""sample_task_id":null"#))
    }

    @Test func theWebhookPostsTheJSONUnderAStableKey() async throws {
        let server = try ScriptedServer { _, number in .send(number == 1 ? answer(503, body: "busy") : answer(202)) }
        defer { server.stop() }
        let driver = CurlDriver()
        let channel = WebhookChannel(
            endpoint: try HTTPEndpoint(name: "pager", url: server.url, headers: [("Authorization", "Bearer t")]),
            driver: driver)
        let error = await #expect(throws: AlertError.self) { try await channel.send(testAlert) }
        #expect(error?.code == .refused && error?.message == "The receiver answered 503: busy")
        try await channel.send(testAlert)
        for request in server.requests {
            #expect(request.body == testAlert.json())
            #expect(request.header("Content-Type") == "application/json")
            #expect(request.header("Idempotency-Key") == #""9f86d081-3""#)
            #expect(request.header("Authorization") == "Bearer t")
        }
        await driver.shutdown()
        let late = await #expect(throws: AlertError.self) { try await channel.send(testAlert) }
        #expect(late?.code == .notSent)
    }

    @Test func theLogHoldsOneConstantMessageAndTheRestBesideIt() async {
        let log = CapturedLog()
        var logger = Logger(label: "test") { _ in log }
        logger.logLevel = .trace
        await LogChannel(logger: logger).send(testAlert)
        let entries = log.entries.withLock { $0 }
        #expect(entries.map(\.level) == [.error] && entries.map(\.message) == ["tasks became dead letters"])
        #expect(entries.first?.metadata["incident"] == "7" && entries.first?.metadata["endpoint"] == "crm")
        #expect(entries.first?.metadata.values.contains { "\($0)".contains("answered") } == false)
        #expect(entries.first?.metadata["task"] == "8e03978e-40d5-43e8-bc93-6894a57f9324")
    }
}

private final class CapturedLog: LogHandler {
    let entries = Mutex<[(level: Logger.Level, message: String, metadata: Logger.Metadata)]>([])
    var metadata: Logger.Metadata {
        get { [:] }
        set {}
    }
    var logLevel: Logger.Level {
        get { .trace }
        set {}
    }

    subscript(metadataKey _: String) -> Logger.Metadata.Value? {
        get { nil }
        set {}
    }

    func log(event: LogEvent) {
        entries.withLock { $0.append((event.level, "\(event.message)", event.metadata ?? [:])) }
    }
}
