// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import OutboxCore
import OutboxHTTP
import Testing

/// How real answers become outcomes. The whole table is tested in the core, without sockets.
@Suite struct AnswerTests {
    private func outcome(
        _ reply: ScriptedServer.Reply, limits: CurlDriver.Limits = CurlDriver.Limits()
    ) async throws -> Outcome {
        try await withDelivery(to: ScriptedServer(always: reply), limits: limits) { delivery, _ in
            await delivery.deliver(testTask())
        }
    }

    @Test func everyStatusReachesTheTable() async throws {
        let statuses = Array(200...599)
        let server = try ScriptedServer { request, _ in .send(answer(Int(request.header("x-status") ?? "") ?? 0)) }
        try await withDelivery(to: server) { delivery, _ in
            for status in statuses where status != 421 {
                // 204 and 304 have no body by definition; a Content-Length of 0 does no harm.
                let outcome = await delivery.deliver(testTask(headers: [("x-status", String(status))]))
                #expect(outcome == HTTPAnswer(status: status).outcome, "\(status)")
            }
        }
    }

    @Test(arguments: [301, 302, 303, 307, 308])
    func redirectsAreNotFollowed(status: Int) async throws {
        let target = try ScriptedServer(always: .send(answer(200)))
        defer { target.stop() }
        let outcome = try await outcome(.send(answer(status, "Location: \(target.url)\r\n")))
        #expect(outcome.failure?.type == "http.redirect")
        #expect(outcome.failure?.message.contains(target.url) == true)
        #expect(target.connections == 0)
    }

    @Test func retryAfterIsHonouredAsDelayAndAsDate() async throws {
        for value in ["7", "Sun, 06 Nov 1994 08:49:37 GMT"] {
            let server = try ScriptedServer(always: .send(answer(503, "Retry-After: \(value)\r\n")))
            try await withDelivery(to: server) { delivery, driver in
                let early = HTTPDelivery(endpoint: delivery.endpoint, driver: driver, now: { 784_111_770 })
                guard case .retry(let failure, after: .seconds(7), charged: false) = await early.deliver(testTask())
                else {
                    Issue.record("Not throttled by \(value)")
                    return
                }
                #expect(failure.type == "http.503" && failure.httpStatus == 503)
            }
        }
    }

    @Test func theBeginningOfTheBodyIsKept() async throws {
        let long = String(repeating: "x", count: 10_000)
        #expect(try await outcome(.send(answer(500, body: "b\0oom é"))).failure?.responseExcerpt == "boom é")
        #expect(try await outcome(.send(answer(500, body: long))).failure?.responseExcerpt?.utf8.count == 4096)
        #expect(try await outcome(.send(answer(500))).failure?.responseExcerpt == nil)
    }

    static let chunk = "1000\r\n" + String(repeating: "y", count: 0x1000) + "\r\n"

    @Test func anEndlessBodyIsCutOffAndTheStatusDecides() async throws {
        let head = "Transfer-Encoding: chunked\r\n\r\n"
        #expect(try await outcome(.endless("HTTP/1.1 200 X\r\n" + head, Self.chunk)) == .succeeded)
        let failure = try await outcome(.endless("HTTP/1.1 500 X\r\n" + head, Self.chunk)).failure
        #expect(failure?.type == "http.500" && failure?.responseExcerpt?.utf8.count == 4096)
    }

    @Test func endlessHeadersAreAFailure() async throws {
        let outcome = try await outcome(
            .endless("HTTP/1.1 200 X\r\n", "x-more: \(String(repeating: "z", count: 1000))\r\n"))
        #expect(outcome.failure?.type == "malformed_answer")
    }

    @Test(arguments: [
        (ScriptedServer.Reply.sendAndClose(""), "reset"), (.reset(""), "reset"),
        (.sendAndClose("HTTP/1.1 20"), "reset"),
        (.sendAndClose("HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\npart"), "reset"),
        (.reset("HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\npart"), "reset"),
        (.sendAndClose("HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"), "reset"),
        (.sendAndClose("SSH-2.0-OpenSSH_9.2\r\n"), "malformed_answer"),
    ])
    func brokenAnswersAreRetriedAndCharged(reply: ScriptedServer.Reply, type: String) async throws {
        let outcome = try await outcome(reply)
        guard case .retry(let failure, nil, charged: true) = outcome else {
            Issue.record("\(outcome)")
            return
        }
        #expect(failure.type == type, "\(failure)")
        #expect(!failure.message.isEmpty && failure.detail?.hasPrefix("curl error ") == true)
    }

    @Test func informationalAnswersAreNotTheAnswer() async throws {
        let early = "HTTP/1.1 103 Early Hints\r\nRetry-After: 99\r\n\r\n"
        let outcome = try await outcome(.send(early + answer(429, "Retry-After: 7\r\n")))
        guard case .retry(_, after: .seconds(7), charged: false) = outcome else {
            Issue.record("\(outcome)")
            return
        }
    }

    @Test func aMisdirectedRequestIsSentOnceMoreOverANewConnection() async throws {
        let server = try ScriptedServer { _, number in .send(answer(number == 1 ? 421 : 200)) }
        try await withDelivery(to: server) { delivery, _ in
            #expect(await delivery.deliver(testTask()) == .succeeded)
        }
        #expect(server.requests.map(\.connection) == [1, 2])

        let stubborn = try ScriptedServer(always: .send(answer(421)))
        try await withDelivery(to: stubborn) { delivery, _ in
            #expect(await delivery.deliver(testTask()).failure?.type == "http.421")
        }
        #expect(stubborn.requests.count == 2)
    }
}
