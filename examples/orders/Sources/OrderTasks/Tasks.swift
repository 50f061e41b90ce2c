// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

public import Outbox

/// Charge the customer's card for an order: what the service enqueues and the relay's handler receives.
public struct ChargeCard: OutboxTask, Codable {
    public static let kind = "payments.charge"
    public let order: Int
    public let cents: Int

    public init(order: Int, cents: Int) {
        self.order = order
        self.cents = cents
    }
}

/// Tell the partner that there is an order: its JSON is the body of the webhook, byte for byte, on every attempt.
public struct OrderCreated: OutboxTask, Codable {
    public static let kind = "orders.created"
    public let order: Int
    public let item: String
    public let cents: Int

    public init(order: Int, item: String, cents: Int) {
        self.order = order
        self.item = item
        self.cents = cents
    }
}
