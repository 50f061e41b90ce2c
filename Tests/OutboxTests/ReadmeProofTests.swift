// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import FoundationEssentials
import Outbox
import OutboxRelay
import OutboxTesting
import Testing

/// What the README says of proofs: its code stands here line for line, and its message is the one that is thrown.
@Suite(.timeLimit(.minutes(2))) struct ReadmeProofTests {
    struct ChargeCard: OutboxTask, Codable {
        static let kind = "payments.charge"
        let order: Int
        let cents: Int
    }

    /// A gateway that keeps books and knows a key again.
    actor FakeGateway {
        private var charged: [String: Int] = [:]

        func charge(_ cents: Int, for order: Int, idempotencyKey: String) async throws {
            charged[idempotencyKey] = order
        }

        func charges(of order: Int) -> Int { charged.values.count { $0 == order } }
    }

    private let gateway = FakeGateway()

    private var failing: Handler {
        let gateway = gateway
        return Handler(ChargeCard.self) { task, context in
            let key = UUID().uuidString
            try await gateway.charge(task.cents, for: task.order, idempotencyKey: key)
        }
    }

    private var mended: Handler {
        let gateway = gateway
        return Handler(ChargeCard.self) { task, context in
            let key = context.idempotencyKey
            try await gateway.charge(task.cents, for: task.order, idempotencyKey: key)
        }
    }

    private func chargingIsIdempotent(_ handler: Handler) async throws {
        let gateway = gateway
        let database = try await ThrowAwayPostgres.shared().makeOutbox()
        try await HandlerProof(handler, database: database).check { transaction, order in
            try await transaction.enqueue(ChargeCard(order: order, cents: 1999))
        } effects: { order in
            await gateway.charges(of: order)
        }
    }

    @Test func theMendedHandlerIsProved() async throws {
        try await chargingIsIdempotent(mended)
    }

    @Test func theFailingHandlersMessageIsTheReadmes() async throws {
        let failure = await #expect(throws: HandlerProofFailure.self) { try await chargingIsIdempotent(failing) }
        var message = try #require(failure?.description)
        for attempt in failure?.observation.attempts ?? [] {
            message = message.replacing(attempt.idempotencyKey, with: "6a3c…")
        }
        #expect(try section().contains(message))
    }

    @Test func theReadmesCodeStandsHere() throws {
        func lines(_ text: some StringProtocol) -> [String] {
            text.split(separator: "\n").map { $0.trimming { $0 == " " } }
        }
        let here = Set(lines(try String(contentsOfFile: #filePath, encoding: .utf8)))
        let blocks = try section().split(separator: "```swift\n").dropFirst().compactMap {
            $0.split(separator: "```").first
        }
        #expect(blocks.count == 2)
        for line in blocks.flatMap(lines) where !line.contains("@Test") && line != "}" {
            // without the remark at its end
            let code = line.split(separator: "  //").first.map { String($0).trimming { $0 == " " } } ?? ""
            #expect(here.contains { $0 == code || $0 == "return \(code)" }, "\(code)")
        }
    }

    /// The README's section about proofs.
    private func section() throws -> String {
        let path = #filePath.replacing("Tests/OutboxTests/ReadmeProofTests.swift", with: "README.md")
        let readme = try String(contentsOfFile: path, encoding: .utf8)
        let begin = try #require(readme.firstRange(of: "### Prove your handler\n"))
        let rest = readme[begin.upperBound...]
        return String(rest[..<(rest.firstRange(of: "\n##")?.lowerBound ?? rest.endIndex)])
    }
}

extension StringProtocol {
    fileprivate func trimming(_ isSpace: (Character) -> Bool) -> String {
        let head = drop(while: isSpace)
        return String(String(head).reversed().drop(while: isSpace).reversed())
    }
}
