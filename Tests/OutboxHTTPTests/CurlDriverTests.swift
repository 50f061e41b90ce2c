// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import OutboxCore
import OutboxHTTP
import Testing

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// Connections, time and endings.
@Suite struct CurlDriverTests {
    private func outcome(url: String) async throws -> Outcome {
        let driver = CurlDriver()
        let outcome = await HTTPDelivery(endpoint: try HTTPEndpoint(name: "t", url: url), driver: driver).deliver(
            testTask())
        await driver.shutdown()
        return outcome
    }

    @Test func connectionsAreUsedAgain() async throws {
        let server = try ScriptedServer(always: .send(answer(200, body: "fine")))
        try await withDelivery(to: server) { delivery, _ in
            for attempt in 1...5 { #expect(await delivery.deliver(testTask(attempt: attempt)) == .succeeded) }
        }
        #expect(server.connections == 1 && server.requests.count == 5)
    }

    @Test func anAnswerThatNobodyAskedForIsNotTakenForTheNextOne() async throws {
        let server = try ScriptedServer { _, number in .send(answer(number == 1 ? 200 : 503)) }
        try await withDelivery(to: server) { delivery, _ in
            #expect(await delivery.deliver(testTask()) == .succeeded)
            server.say(answer(200))
            #expect(await delivery.deliver(testTask()).failure?.type == "http.503")
            #expect(server.connections == 2, "the next request went over a connection of its own")
            #expect(server.requests.count == 2, "and was sent once")
        }
    }

    /// libcurl by itself would send the request again over a new connection.
    @Test(arguments: [ScriptedServer.Reply.sendAndClose(""), .reset("")])
    func aRequestForWhichAKeptConnectionBreaksIsNotSentTwice(reply: ScriptedServer.Reply) async throws {
        let server = try ScriptedServer { _, number in number == 2 ? reply : .send(answer(200)) }
        try await withDelivery(to: server) { delivery, _ in
            #expect(await delivery.deliver(testTask()) == .succeeded)
            #expect(await delivery.deliver(testTask(attempt: 2)).failure?.type == "reset")
        }
        #expect(server.requests.map { $0.header("outbox-attempt") } == ["1", "2"])
        #expect(server.requests.map(\.connection) == [1, 1])
    }

    @Test func manyRequestsRunAtOnce() async throws {
        let server = try ScriptedServer(always: .send(answer(200, body: "fine")))
        try await withDelivery(to: server) { delivery, _ in
            let unexpected = await withTaskGroup(of: Outcome.self) { group in
                for number in 1...500 {
                    let task = testTask(key: "k\(number)", payload: Array("\(number)".utf8))
                    group.addTask { await delivery.deliver(task) }
                }
                return await group.reduce(into: [Outcome]()) { if $1 != .succeeded { $0.append($1) } }
            }
            #expect(unexpected == [])
        }
        // No body went out under another request's key.
        #expect(
            server.requests.allSatisfy {
                $0.header("Idempotency-Key") == "\"k\(String(decoding: $0.body, as: UTF8.self))\""
            })
        #expect(Set(server.requests.map(\.body)).count == 500)
    }

    @Test func aRefusedConnectionIsRetried() async throws {
        let (descriptor, port) = try ScriptedServer.listen()
        close(descriptor)
        guard case .retry(let failure, nil, charged: true) = try await outcome(url: "http://127.0.0.1:\(port)/") else {
            Issue.record("Not retried")
            return
        }
        #expect(failure.type == "connect" && failure.message.contains("127.0.0.1"))
    }

    @Test func aServerThatDoesNotSpeakTLSIsATLSFailure() async throws {
        // The client's hello holds no empty line, so this server waits for more of it until it is stopped.
        let plain = try ScriptedServer(always: .hold)
        defer { plain.stop() }
        let driver = CurlDriver()
        let endpoint = try HTTPEndpoint(
            name: "t", url: "https://127.0.0.1:\(plain.port)/", connectTimeout: .seconds(60), timeout: .seconds(60))
        async let outcome = HTTPDelivery(endpoint: endpoint, driver: driver).deliver(testTask())
        while plain.connections == 0 { await Task.yield() }
        plain.stop()
        #expect(await outcome.failure?.type == "tls")
        await driver.shutdown()
    }

    @Test func aServerThatNeverAnswersTimesOut() async throws {
        let server = try ScriptedServer(always: .hold)
        let outcome = try await withDelivery(to: server, timeout: .milliseconds(200)) { delivery, _ in
            await delivery.deliver(testTask())
        }
        guard case .retry(let failure, nil, charged: true) = outcome else {
            Issue.record("\(outcome)")
            return
        }
        #expect(failure.type == "timeout")
    }

    @Test func aTimeoutOnAUsedConnectionIsNotTakenForAFailureToConnect() async throws {
        let server = try ScriptedServer { _, number in number == 1 ? .send(answer(200)) : .hold }
        try await withDelivery(to: server, timeout: .milliseconds(500)) { delivery, _ in
            #expect(await delivery.deliver(testTask()) == .succeeded)
            #expect(await delivery.deliver(testTask()).failure?.type == "timeout")
        }
        #expect(server.connections == 1)
    }

    @Test func aConfiguredProxyIsUsedAndItsAbsenceIsNotTheReceiversFault() async throws {
        let proxy = try ScriptedServer(always: .send(answer(200)))
        defer { proxy.stop() }
        let driver = CurlDriver()
        let through = try HTTPEndpoint(
            name: "t", url: "http://receiver.example/hook", proxy: "http://127.0.0.1:\(proxy.port)")
        #expect(await HTTPDelivery(endpoint: through, driver: driver).deliver(testTask()) == .succeeded)
        #expect(proxy.requests.first?.lines.first == "POST http://receiver.example/hook HTTP/1.1")

        let (descriptor, port) = try ScriptedServer.listen()
        close(descriptor)
        let nowhere = try HTTPEndpoint(
            name: "t", url: "http://receiver.example/hook", proxy: "http://127.0.0.1:\(port)")
        guard
            case .retry(let failure, nil, charged: false) = await HTTPDelivery(endpoint: nowhere, driver: driver)
                .deliver(testTask())
        else {
            Issue.record("Charged")
            return
        }
        #expect(failure.type == "proxy")
        await driver.shutdown()
    }

    @Test func aCancelledDeliveryIsReleasedAndItsConnectionClosed() async throws {
        let server = try ScriptedServer { request, _ in
            request.header("x-hold") == nil ? .send(answer(200)) : .hold
        }
        try await withDelivery(to: server) { delivery, _ in
            let held = Task { await delivery.deliver(testTask(headers: [("x-hold", "1")])) }
            var events = server.events.makeAsyncIterator()
            guard case .request = await events.next() else {
                Issue.record("No request")
                return
            }
            held.cancel()
            #expect(await held.value == .released)
            guard case .clientLeft = await events.next() else {
                Issue.record("The connection is still there")
                return
            }
            #expect(await delivery.deliver(testTask()) == .succeeded)
        }
    }

    @Test func aTaskThatIsCancelledAlreadyDialsNobody() async throws {
        let server = try ScriptedServer(always: .send(answer(200)))
        try await withDelivery(to: server) { delivery, _ in
            let outcome = await Task {
                withUnsafeCurrentTask { $0?.cancel() }
                return await delivery.deliver(testTask())
            }.value
            #expect(outcome == .released)
        }
        #expect(server.connections == 0)
    }

    /// The thread can take the cancellation before the request has come: the request must then not be accepted.
    @Test func aCancellationThatOvertakesItsRequestIsNotLost() async {
        let queue = CurlQueue()
        queue.cancel(1)
        #expect(queue.take().cancelled == [1])
        let task = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            _ = try await withCheckedThrowingContinuation { continuation in
                let target = CurlTarget(url: "http://127.0.0.1/")
                let request = CurlRequest(target: target, headers: HeaderBlock(), body: [])
                let job = CurlJob(id: 1, request: request) { continuation.resume(with: $0) }
                queue.submit(job, heedsCancellation: true)
                for job in queue.take().jobs { job.completion(.failure(CurlError.shutDown)) }
            }
        }
        await #expect(throws: CancellationError.self) { try await task.value }
    }

    @Test func manyCancellationsAtAnyMomentLoseNothing() async throws {
        let server = try ScriptedServer(always: .send(answer(200)))
        try await withDelivery(to: server) { delivery, _ in
            await withTaskGroup(of: Void.self) { group in
                for number in 0..<300 {
                    group.addTask {
                        let task = Task { await delivery.deliver(testTask()) }
                        for _ in 0..<(number % 30) { await Task.yield() }
                        task.cancel()
                        let outcome = await task.value
                        #expect(outcome == .succeeded || outcome == .released)
                    }
                }
            }
            #expect(await delivery.deliver(testTask()) == .succeeded)
        }
    }

    /// As where the process stood still between the claim and the connection: another attempt may be done by now.
    @Test func whatMayNotBeSentAnyMoreWhenTheConnectionStandsIsReleasedUnsent() async throws {
        let server = try ScriptedServer(always: .send(answer(200)))
        try await withDelivery(to: server) { delivery, _ in
            func deliver(while isHeld: @escaping @Sendable () -> Bool) async -> Outcome {
                await withCheckedContinuation { continuation in
                    _ = delivery.begin(testTask(), while: isHeld) { continuation.resume(returning: $0) }
                }
            }
            #expect(await deliver { false } == .released)
            #expect(server.requests.isEmpty)
            #expect(await deliver { true } == .succeeded)
            #expect(await deliver { false } == .released, "over a kept connection neither")
            #expect(server.requests.count == 1)
        }
    }

    /// As a relay does that has no task of Swift's to cancel.
    @Test func aDeliveryThatIsCancelledByItsNumberIsReleasedAndItsConnectionClosed() async throws {
        let server = try ScriptedServer(always: .hold)
        try await withDelivery(to: server) { delivery, _ in
            let (outcomes, continuation) = AsyncStream<Outcome>.makeStream()
            let number = delivery.begin(testTask(), while: { true }) { continuation.yield($0) }
            var events = server.events.makeAsyncIterator()
            guard case .request = await events.next() else {
                Issue.record("no request came")
                return
            }
            delivery.cancel(number)
            #expect(await outcomes.first { _ in true } == .released)
            guard case .clientLeft = await events.next() else {
                Issue.record("the connection is still open")
                return
            }
        }
    }

    @Test func shuttingDownReleasesWhatRuns() async throws {
        let server = try ScriptedServer(always: .hold)
        try await withDelivery(to: server) { delivery, driver in
            async let held = delivery.deliver(testTask())
            var events = server.events.makeAsyncIterator()
            _ = await events.next()
            await driver.shutdown()
            #expect(await held == .released)
            #expect(await delivery.deliver(testTask()) == .released)
            await driver.shutdown()
        }
    }

    @Test func shuttingDownWithGraceLetsFinish() async throws {
        let server = try ScriptedServer(always: .hold)
        try await withDelivery(to: server, timeout: .milliseconds(300)) { delivery, driver in
            async let held = delivery.deliver(testTask())
            var events = server.events.makeAsyncIterator()
            _ = await events.next()
            async let stopped: Void = driver.shutdown(grace: .seconds(60))
            // It ends by its own timeout, not by the shutdown, and the shutdown does not wait for its grace.
            #expect(await held.failure?.type == "timeout")
            await stopped
        }
    }

    @Test func droppingTheDriverEndsItsThread() async throws {
        let server = try ScriptedServer(always: .send(answer(200)))
        defer { server.stop() }
        weak var dropped: CurlDriver?
        do {
            let driver = CurlDriver()
            dropped = driver
            let endpoint = try HTTPEndpoint(name: "t", url: server.url)
            #expect(await HTTPDelivery(endpoint: endpoint, driver: driver).deliver(testTask()) == .succeeded)
        }
        #expect(dropped == nil)
    }

    @Test func anUnknownHostIsNotDelivered() async throws {
        let outcome = try await outcome(url: "http://no-such-host.invalid/")
        #expect(["dns", "dns_timeout"].contains(outcome.failure?.type))
    }
}
