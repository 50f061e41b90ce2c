// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import FlyingFox
import Foundation
import Stage

/// A payment gateway with books of its own. It charges once for each idempotency key, and it misbehaves:
/// of twenty orders, one is charged and the answer comes too late, and one is turned away at first.
@main
struct PaymentGateway {
    static func main() async throws {
        let ledger = Ledger()
        let server = try Stage.server()
        await server.appendRoute("POST /charges") { request in
            guard let key = request.headers[HTTPHeader("Idempotency-Key")] else {
                return HTTPResponse(statusCode: .badRequest)
            }
            let demand = try JSONDecoder().decode(Demand.self, from: await request.bodyData)
            switch await ledger.charge(demand, key: key) {
            case .busy:
                return try .json(["error": "busy"], .serviceUnavailable, headers: [.retryAfter: "1"])
            case .chargedBefore:
                break
            case .charged:
                // The money has moved; now the caller may be killed.
                try await Task.sleep(for: .milliseconds(150))
                await ledger.answered()
            case .chargedSlowly:
                // Longer than any caller waits.
                try await Task.sleep(for: .seconds(2))
            }
            return try .json(["state": "charged"])
        }
        await server.appendRoute("GET /books") { _ in try .json(await ledger.books) }
        try await Stage.serve(server)
    }
}

extension HTTPHeader {
    static let retryAfter = HTTPHeader("Retry-After")
}

/// What is asked for.
struct Demand: Decodable {
    let order: Int
    let cents: Int
}

/// Who was charged for what.
actor Ledger {
    enum Answer {
        case charged
        case chargedSlowly
        case chargedBefore
        case busy
    }

    private(set) var books = GatewayBooks()
    private var known: Set<Int> = []

    /// Charges, unless that was done before under this key.
    func charge(_ demand: Demand, key: String) -> Answer {
        books.requests += 1
        let isFirst = known.insert(demand.order).inserted
        if isFirst, demand.order % 20 == 7 {
            books.turnedAway += 1
            return .busy
        }
        guard books.charges[key] == nil else {
            books.charges[key]?.repetitions += 1
            return .chargedBefore
        }
        books.charges[key] = GatewayBooks.Charge(order: demand.order, cents: demand.cents)
        if isFirst, demand.order % 20 == 13 {
            books.answeredTooLate += 1
            return .chargedSlowly
        }
        books.inFlight += 1
        return .charged
    }

    func answered() { books.inFlight -= 1 }
}
