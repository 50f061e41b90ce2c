// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import Stage

/// The customers, and what each wants.
struct Crowd {
    struct Wish: Encodable, Sendable {
        let item: String
        let cents: Int
    }

    /// What became of the wishes.
    struct Orders: Sendable {
        var accepted: Set<Int> = []
        /// The numbers that the orders had in the transactions that were rolled back.
        var refused: Set<Int> = []
        var otherAnswers = 0
    }

    /// How many teapots the shop has; more are wanted.
    static let teapots = 10

    let wishes: [Wish]

    init(customers: Int) {
        wishes = (0..<customers).map { number in
            let item =
                number < 60 && number % 12 == 6
                ? "samovar" : number % 13 == 0 ? "teapot" : ["tea", "coffee", "cup"][number % 3]
            return Wish(item: item, cents: 1000 + number)
        }
    }

    func count(of item: String) -> Int { wishes.count { $0.item == item } }

    /// Places all orders over HTTP, 32 at a time.
    func place(at shop: URL) async throws -> Orders {
        let client = Client(connections: 32)
        let url = shop.appending(path: "orders")
        var orders = Orders()
        try await withThrowingTaskGroup(of: (status: Int, body: Data).self) { group in
            for (number, wish) in wishes.enumerated() {
                if number >= 32, let answer = try await group.next() { try orders.note(answer) }
                group.addTask { try await client.post(wish, to: url) }
            }
            for try await answer in group { try orders.note(answer) }
        }
        return orders
    }
}

extension Crowd.Orders {
    fileprivate mutating func note(_ answer: (status: Int, body: Data)) throws {
        guard answer.status == 201 || answer.status == 409 else {
            otherAnswers += 1
            return
        }
        let order = try JSONDecoder().decode(PlacedOrder.self, from: answer.body).order
        if answer.status == 201 { accepted.insert(order) } else { refused.insert(order) }
    }
}
