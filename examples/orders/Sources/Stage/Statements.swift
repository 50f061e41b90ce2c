// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

public import Foundation

/// What the orders service answers: the number of the order, and why it was refused.
public struct PlacedOrder: Codable, Sendable {
    public let order: Int
    public let error: String?

    public init(order: Int, error: String? = nil) {
        self.order = order
        self.error = error
    }
}

/// The payment gateway's books.
public struct GatewayBooks: Codable, Sendable {
    public struct Charge: Codable, Sendable {
        public let order: Int
        public let cents: Int
        /// How often the gateway was asked for it in vain, since it had charged already.
        public var repetitions = 0

        public init(order: Int, cents: Int) {
            self.order = order
            self.cents = cents
        }
    }

    /// Every charge, by its idempotency key.
    public var charges: [String: Charge] = [:]
    public var requests = 0
    /// Requests that were turned away with 503.
    public var turnedAway = 0
    /// Charges whose answer came after the caller had given up.
    public var answeredTooLate = 0
    /// Charges that are made and will be answered in time, but are not answered yet at this moment.
    public var inFlight = 0

    public init() {}
}

/// What the partner remembers of its webhooks.
public struct PartnerMemory: Codable, Sendable {
    public struct Delivery: Codable, Sendable {
        public let order: Int
        public let webhookID: String
        public let body: Data
        /// The numbers of the attempts, in the order in which they came.
        public var attempts: [Int]
        /// The partner answered 422 once.
        public var wasRefused = false
        /// The partner answered 2xx.
        public var isAccepted = false

        public init(order: Int, webhookID: String, body: Data, attempt: Int) {
            self.order = order
            self.webhookID = webhookID
            self.body = body
            attempts = [attempt]
        }
    }

    /// Every order that the partner was told of, by the idempotency key.
    public var deliveries: [String: Delivery] = [:]
    public var requests = 0
    /// Requests that were turned away with 503.
    public var turnedAway = 0
    /// Requests that were refused with 422.
    public var refused = 0
    /// Repetitions that differed from the first in their webhook-id or body, or whose attempt was not higher.
    public var violations: [String] = []
    /// Whether the fault is mended that makes it refuse.
    public var isFixed = false

    public init() {}
}

/// An alert as it was received.
public struct ReceivedAlert: Codable, Sendable {
    public let idempotencyKey: String
    public let body: String

    public init(idempotencyKey: String, body: String) {
        self.idempotencyKey = idempotencyKey
        self.body = body
    }
}
