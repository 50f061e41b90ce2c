// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import FlyingFox
import Foundation
import OrderTasks
import Outbox
import Stage

/// Takes orders over HTTP, and writes each with its tasks in one transaction.
@main
struct OrdersService {
    static func main() async throws {
        let database = Database(try DatabaseConfiguration(url: Stage.variable("OUTBOX_DATABASE_URL")))
        try await Shop.open(in: database)

        let server = try Stage.server()
        await server.appendRoute("POST /orders") { request in
            let wish = try JSONDecoder().decode(Wish.self, from: await request.bodyData)
            do {
                let order = try await Shop.place(wish, in: database)
                return try .json(PlacedOrder(order: order), .created)
            } catch let soldOut as SoldOut {
                return try .json(PlacedOrder(order: soldOut.order, error: "\(soldOut)"), .conflict)
            }
        }
        try await Stage.serve(server)
    }
}

/// What a customer wants.
struct Wish: Decodable {
    let item: String
    let cents: Int
}

/// The rule of the business that an order can break: there is not enough of everything.
struct SoldOut: Error, CustomStringConvertible {
    let order: Int
    let item: String
    var description: String { "\(item) is sold out" }
}

enum Shop {
    /// Writes the order and enqueues its tasks: all of it happens, or none.
    static func place(_ wish: Wish, in database: Database) async throws -> Int {
        try await database.transaction { transaction in
            let order = try await transaction.query(
                "INSERT INTO orders (item, cents) VALUES (\(wish.item), \(wish.cents)) RETURNING id"
            )[0].decode(Int.self, at: 0)

            // The key names the operation, not the attempt: whoever performs it can tell a repetition by it.
            try await transaction.enqueue(
                ChargeCard(order: order, cents: wish.cents), options: .init(idempotencyKey: "order-\(order)-charge"))
            try await transaction.enqueue(
                OrderCreated(order: order, item: wish.item, cents: wish.cents),
                options: .init(idempotencyKey: "order-\(order)-created"))

            // Last, to show the point: throwing rolls back the order and with it the tasks, as if they had never been.
            let taken = try await transaction.execute(
                "UPDATE stock SET pieces = pieces - 1 WHERE item = \(wish.item) AND pieces > 0")
            guard taken == 1 else { throw SoldOut(order: order, item: wish.item) }
            return order
        }
    }

    /// The tables of the business. Outbox has its own, in a schema of its own: see `migrations/`.
    static func open(in database: Database) async throws {
        try await database.run([
            """
            CREATE TABLE IF NOT EXISTS orders (
                id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                item  text NOT NULL,
                cents bigint NOT NULL
            )
            """,
            "CREATE TABLE IF NOT EXISTS stock (item text PRIMARY KEY, pieces int NOT NULL)",
            """
            INSERT INTO stock VALUES ('tea', 1000), ('coffee', 1000), ('cup', 1000), ('samovar', 1000), ('teapot', 10)
            ON CONFLICT DO NOTHING
            """,
        ])
    }
}
