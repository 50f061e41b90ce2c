// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import OutboxCore
import OutboxHTTP
import Testing

/// What a receiver gets, byte for byte.
@Suite struct WireTests {
    @Test func sendsExactlyTheseBytes() async throws {
        let server = try ScriptedServer(always: .send(answer(204)))
        let outcome = try await withDelivery(to: server, path: "hooks?token=s", headers: [("X-Team", "billing")]) {
            delivery, _ in
            await delivery.deliver(testTask(attempt: 3, headers: [("x-order", "42")], payload: Array(#"{"a":1}"#.utf8)))
        }
        #expect(outcome == .succeeded)
        #expect(
            server.requests.map(\.lines) == [
                [
                    "POST /hooks?token=s HTTP/1.1",
                    "Host: 127.0.0.1:\(server.port)",
                    "User-Agent: outbox/\(OutboxVersion.current)",
                    "Accept: */*",
                    "Content-Type: application/json",
                    #"Idempotency-Key: "order-42""#,
                    "webhook-id: 8e03978e-40d5-43e8-bc93-6894a57f9324",
                    "outbox-attempt: 3",
                    "X-Team: billing",
                    "x-order: 42",
                    "Content-Length: 7",
                ]
            ])
        #expect(server.requests.first?.body == Array(#"{"a":1}"#.utf8))
    }

    static let bodies: [[UInt8]] = [
        [], [0], Array(0...255), (0..<27_000).map { UInt8(truncatingIfNeeded: $0 &* 31) },
        // More than libcurl's threshold for "Expect: 100-continue", which would make the server wait.
        [UInt8](repeating: 0xFE, count: 1_500_000),
    ]

    @Test(arguments: bodies.indices)
    func theBodyIsWhatWasStored(index: Int) async throws {
        let body = Self.bodies[index]
        let server = try ScriptedServer(always: .send(answer(200)))
        try await withDelivery(to: server) { delivery, _ in
            for attempt in 1...2 {
                let task = testTask(attempt: attempt, contentType: "application/octet-stream", payload: body)
                #expect(await delivery.deliver(task) == .succeeded)
            }
        }
        for request in server.requests {
            #expect(request.body == body)
            #expect(request.header("Content-Length") == String(body.count))
            #expect(request.header("Content-Type") == "application/octet-stream")
            #expect(request.header("Expect") == nil && request.header("Transfer-Encoding") == nil)
        }
        #expect(server.requests.map { $0.header("outbox-attempt") } == ["1", "2"])
        #expect(Set(server.requests.map { $0.header("Idempotency-Key") }) == [#""order-42""#])
        #expect(Set(server.requests.map { $0.header("webhook-id") }) == [testTaskID.description])
    }

    @Test func keysAreEscapedOrBare() async throws {
        let key = #"a"b\c"#
        let server = try ScriptedServer(always: .send(answer(200)))
        try await withDelivery(to: server) { delivery, driver in
            #expect(await delivery.deliver(testTask(key: key)) == .succeeded)
            let endpoint = try HTTPEndpoint(name: "bare", url: server.url, idempotencyKeyStyle: .bare)
            #expect(await HTTPDelivery(endpoint: endpoint, driver: driver).deliver(testTask(key: key)) == .succeeded)
        }
        #expect(server.requests.map { $0.header("Idempotency-Key") } == [#""a\"b\\c""#, key])
    }

    @Test func theEndpointsHeadersWinAndEmptyOnesAreSent() async throws {
        let server = try ScriptedServer(always: .send(answer(200)))
        try await withDelivery(to: server, headers: [("Authorization", "Bearer right"), ("x-empty", "")]) {
            delivery, _ in
            let task = testTask(headers: [("authorization", "Bearer wrong"), ("x-none", ""), ("Accept", "text/plain")])
            #expect(await delivery.deliver(task) == .succeeded)
        }
        let lines = try #require(server.requests.first).lines
        #expect(lines.contains("Authorization: Bearer right") && !lines.contains { $0.contains("wrong") })
        #expect(lines.contains("x-empty:") && lines.contains("x-none:"))
        #expect(lines.filter { $0.hasPrefix("Accept:") } == ["Accept: text/plain"])
    }

    @Test func whatCannotBeSentIsRejectedWithoutDialling() async throws {
        let server = try ScriptedServer(always: .send(answer(200)))
        try await withDelivery(to: server) { delivery, _ in
            for task in [
                testTask(headers: [("x-a", "1\r\nX-Injected: 1")]), testTask(headers: [("x\r\nX-Injected", "1")]),
                testTask(headers: [("Host", "evil")]), testTask(headers: [("webhook-id", "other")]),
                testTask(key: "schlüssel"), testTask(key: ""), testTask(key: "a\nb"),
                testTask(contentType: ""), testTask(contentType: "a/b\r\nX-Injected: 1"),
            ] {
                let outcome = await delivery.deliver(task)
                guard case .rejected(let failure) = outcome else {
                    Issue.record("\(outcome)")
                    continue
                }
                #expect(failure.type == "invalid_request")
            }
        }
        #expect(server.connections == 0)
    }
}
