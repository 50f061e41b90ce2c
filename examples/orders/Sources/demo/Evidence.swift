// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import Outbox
import Stage

/// What everyone's books say, and what has to be true of them.
struct Evidence {
    let crowd: Crowd
    let orders: Crowd.Orders
    let shop: ShopBooks
    /// Open dead letters before the replay.
    let dead: Int
    let gateway: GatewayBooks
    let partner: PartnerMemory
    let alerts: [ReceivedAlert]
    let inFlight: Int
    let relayStatus: Int32

    func present(in report: Report) {
        let teapots = crowd.count(of: "teapot")
        let samovars = crowd.count(of: "samovar")

        report.topic("A task exists if and only if its transaction committed")
        report.claim(
            "customers who were answered: order placed, or refused", orders.accepted.count + orders.refused.count,
            is: crowd.wishes.count)
        report.claim(
            "orders refused after their tasks were enqueued: rolled back", orders.refused.count,
            is: teapots - Crowd.teapots)
        report.claim("orders in the shop's table, the same that were placed", shop.orders, are: orders.accepted)
        report.claim("charges of refused orders", chargedOrders.filter(orders.refused.contains).count, is: 0)
        report.claim("webhooks of refused orders", toldOrders.filter(orders.refused.contains).count, is: 0)

        report.topic("Each card is charged once, whatever happened on the way")
        report.note(
            """
            The gateway got \(gateway.requests) requests: \(gateway.charges.count) that it charged, \(repetitions) that \
            repeated a key that was charged already, \(gateway.turnedAway) that it turned away. Of the charges, \
            \(gateway.answeredTooLate) were answered too late, and \(inFlight) were in flight when the relay was killed.
            """)
        report.claim("charges in flight when the relay was killed", inFlight, atLeast: 1)
        report.claim(
            "repeated keys: all charges that the relay did not hear of", repetitions,
            atLeast: gateway.answeredTooLate + inFlight)
        report.claim("orders charged", Set(chargedOrders), are: orders.accepted)
        report.claim("charges, so none was charged twice", chargedOrders.count, is: orders.accepted.count)
        report.claim(
            "cents charged, by the sum of the shop's orders", gateway.charges.values.reduce(0) { $0 + $1.cents },
            is: shop.cents)

        report.topic("Each order is told to the partner, and every repetition can be told as one")
        report.note(
            """
            The partner got \(partner.requests) webhooks: \(partner.turnedAway) that it turned away, \(partner.refused) that \
            it refused; \(partner.requests - partner.deliveries.count) of them repeated an earlier one.
            """)
        report.claim("orders of which the partner took the webhook", Set(takenOrders), are: orders.accepted)
        report.claim("repetitions with another id or body, or no higher attempt", partner.violations.count, is: 0)

        report.topic("What cannot succeed is told to a person, once, and can be replayed")
        report.claim("dead letters, one for each samovar", dead, is: samovars)
        report.claim("alerts for all of them together", alerts.count, is: 1)
        report.claim("webhooks that were taken after the replay, at a higher attempt", replayed.count, is: samovars)
        if let (key, delivery) = replayed.first {
            let attempts = delivery.attempts.map(String.init).joined(separator: ", ")
            report.note("For example \(key): attempts \(attempts), each with the webhook-id \(delivery.webhookID).")
        }
        report.claim("dead letters open at the end", shop.openDeadLetters, is: 0)
        report.claim("tasks left at the end", shop.tasks, is: 0)
        report.claim("exit status of the second relay after SIGTERM", Int(relayStatus), is: 0)
        report.verdict()
    }

    private var chargedOrders: [Int] { gateway.charges.values.map(\.order) }
    private var toldOrders: [Int] { partner.deliveries.values.map(\.order) }
    private var takenOrders: [Int] { partner.deliveries.values.filter(\.isAccepted).map(\.order) }
    private var repetitions: Int { gateway.charges.values.reduce(0) { $0 + $1.repetitions } }
    /// Those that were refused, and then taken.
    private var replayed: [(key: String, value: PartnerMemory.Delivery)] {
        partner.deliveries.sorted { $0.value.order < $1.value.order }.filter {
            $0.value.wasRefused && $0.value.isAccepted
        }
    }
}

/// What the shop's database says at the end.
struct ShopBooks {
    let orders: Set<Int>
    let cents: Int
    let tasks: Int
    let openDeadLetters: Int

    init(reading database: Database) async throws {
        orders = Set(try await database.query("SELECT id FROM orders").map { try $0.decode(Int.self, at: 0) })
        cents = try await database.count("SELECT coalesce(sum(cents), 0)::bigint FROM orders")
        tasks = try await database.count("SELECT count(*) FROM outbox.tasks")
        openDeadLetters = try await database.count("SELECT count(*) FROM outbox.dead_letters WHERE resolution IS NULL")
    }
}
