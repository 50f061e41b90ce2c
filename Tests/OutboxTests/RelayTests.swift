// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Outbox
import OutboxRelay
import Testing

@Suite struct RelayTests {
    struct Charge: OutboxTask, Codable, Equatable {
        static let kind = "payments.charge"
        var order: Int
    }

    @Test func runsWhatIsCommittedAndNothingElse() async throws {
        try await withOutbox { database in
            let seen = Recorder<Int>()
            try await withRelay(database, [Handler(Charge.self) { task, _ in seen.record(task.order) }]) { _ in
                struct RuledOut: Error {}
                for order in 0..<200 {
                    do {
                        try await database.transaction { transaction in
                            try await transaction.enqueue(Charge(order: order))
                            if order % 4 == 0 { throw RuledOut() }
                        }
                    } catch is RuledOut {}
                }
                await seen.wait(for: 150)
                try await eventually { try await database.tasksLeft() == 0 }
            }
            #expect(seen.values.sorted() == (0..<200).filter { $0 % 4 != 0 })
        }
    }
}
