// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Outbox
import OutboxHTTP
import OutboxTesting
import Testing

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// Proofs of receivers: the relay delivers for real, and what is proved is what the receiver makes of the key.
@Suite(.timeLimit(.minutes(2))) struct EndpointProofTests {
    /// Proves a receiver of which it is told what makes a request another order.
    private func prove(_ identity: @escaping @Sendable (ScriptedServer.Request) -> String?) async throws
        -> [HandlerProof.Observation]
    {
        // An answer that is there before anybody waits for it leaves no place to stand still at; nobody can say when that is
        // so, and therefore it takes its time, as over a network.
        let server = try ScriptedServer { _, _ in
            usleep(50_000)
            return .send(answer(204))
        }
        defer { server.stop() }
        let transport = HTTPTransport()
        let endpoint = try HTTPEndpoint(name: "partner", url: server.url)
        let proof = HandlerProof(
            transport.handlers(deliveringTo: endpoint, kinds: ["orders.created"]),
            database: try await ThrowAwayPostgres.shared().makeOutbox())
        let result: Result<[HandlerProof.Observation], any Error>
        do {
            result = .success(
                try await proof.check { transaction, order in
                    try await transaction.enqueue(kind: "orders.created", payload: Array("\(order)".utf8))
                } effects: { order in
                    let ofOrder = server.requests.filter { $0.body == Array("\(order)".utf8) }
                    return Set(ofOrder.map(identity)).count
                })
        } catch {
            result = .failure(error)
        }
        await transport.shutDown()
        return try result.get()
    }

    @Test func aReceiverThatKnowsTheKeyAgainIsProved() async throws {
        let seen = try await prove { $0.header("idempotency-key") }
        #expect(seen.contains { $0.scenario == .killed && $0.attempts.count == 2 })
        #expect(seen.contains { $0.scenario == .overtaken && $0.attempts.count == 2 })
        #expect(seen.contains { $0.scenario == .cancelled && $0.wait == 1 })
    }

    @Test func aReceiverThatIgnoresTheKeyIsFound() async throws {
        let failure = await #expect(throws: HandlerProofFailure.self) {
            try await prove { $0.header("outbox-attempt") }
        }
        #expect(failure?.observation.scenario == .killed)
        #expect(failure?.observation.effects == 2)
    }
}
