// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import FlyingFox
import Foundation
import Stage

/// A partner who wants to hear of orders by webhook. One order in twelve is turned away at first, and those of samovars
/// are refused for good, until somebody mends that.
@main
struct Partner {
    static func main() async throws {
        let desk = Desk()
        let server = try Stage.server()
        await server.appendRoute("POST /hooks") { request in
            let order = try JSONDecoder().decode(Order.self, from: await request.bodyData)
            guard let webhook = try await Webhook(request) else { return HTTPResponse(statusCode: .badRequest) }
            switch await desk.receive(order, webhook) {
            case .accepted: return HTTPResponse(statusCode: .noContent)
            case .busy:
                return try .json(["error": "busy"], .serviceUnavailable, headers: [HTTPHeader("Retry-After"): "1"])
            case .refused: return try .json(["error": "no such item: \(order.item)"], .unprocessableContent)
            }
        }
        await server.appendRoute("POST /fix") { _ in
            await desk.fix()
            return HTTPResponse(statusCode: .noContent)
        }
        await server.appendRoute("GET /memory") { _ in try .json(await desk.memory) }
        try await Stage.serve(server)
    }
}

struct Order: Decodable {
    let order: Int
    let item: String
}

/// What a receiver can tell a repetition by.
struct Webhook: Sendable {
    let id: String
    let key: String
    let attempt: Int
    let body: Data

    init?(_ request: HTTPRequest) async throws {
        guard let id = request.headers[HTTPHeader("webhook-id")],
            let key = request.headers[HTTPHeader("Idempotency-Key")],
            let attempt = request.headers[HTTPHeader("outbox-attempt")].flatMap(Int.init)
        else { return nil }
        self.id = id
        self.key = key.trimmingCharacters(in: ["\""])  // the header's specification has it in quotes
        self.attempt = attempt
        body = try await request.bodyData
    }
}

/// Takes webhooks, and checks that a repetition is one.
actor Desk {
    enum Answer { case accepted, busy, refused }

    private(set) var memory = PartnerMemory()

    func receive(_ order: Order, _ webhook: Webhook) -> Answer {
        memory.requests += 1
        var delivery: PartnerMemory.Delivery
        if let known = memory.deliveries[webhook.key] {
            delivery = known
            if webhook.id != known.webhookID { memory.violations.append("\(webhook.key): another webhook-id") }
            if webhook.body != known.body { memory.violations.append("\(webhook.key): another body") }
            if webhook.attempt <= known.attempts.last ?? 0 {
                memory.violations.append("\(webhook.key): no higher attempt")
            }
            delivery.attempts.append(webhook.attempt)
        } else {
            delivery = .init(order: order.order, webhookID: webhook.id, body: webhook.body, attempt: webhook.attempt)
        }
        defer { memory.deliveries[webhook.key] = delivery }

        if order.item == "samovar", !memory.isFixed {
            memory.refused += 1
            delivery.wasRefused = true
            return .refused
        }
        if delivery.attempts.count == 1, order.order % 12 == 5 {
            memory.turnedAway += 1
            return .busy
        }
        delivery.isAccepted = true
        return .accepted
    }

    func fix() { memory.isFixed = true }
}
