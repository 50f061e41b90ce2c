// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import OutboxRelay
package import PostgresClient
internal import Synchronization

/// Watches a relay's exchanges with the database: how long they take, and what the last claim was, with its floors.
package final class ClaimWatch: Sendable {
    /// An exchange, with times by ``Monotonic``.
    struct Exchange: Sendable {
        let sent: Int64
        let answered: Int64
        let claimed: Int
        let settled: Int
    }
    private struct State {
        var exchanges: [Exchange] = []
        var last: Statement?
        var first: Exchange?
    }
    private let state = Mutex(State())

    package init() {}

    func note(_ note: ExchangeNote) {
        guard note.claimed > 0 || note.settled > 0 else { return }
        let now = Monotonic.now
        let exchange = Exchange(
            sent: now - Int64(note.took / .nanoseconds(1)), answered: now, claimed: note.claimed,
            settled: note.settled)
        state.withLock { state in
            state.exchanges.append(exchange)
            guard note.claimed > 0 else { return }
            state.first = state.first ?? exchange
            // upkeep comes every few hundred milliseconds; what counts is the claim of every few
            if !note.hasUpkeep || state.last == nil { state.last = note.claim }
        }
    }

    /// The exchanges that claimed or settled something since this was last called.
    func take() -> [Exchange] {
        state.withLock { state in
            defer { state.exchanges = [] }
            return state.exchanges
        }
    }

    /// The first exchange that claimed something.
    var first: Exchange? { state.withLock(\.first) }

    /// How many shared buffers the relay's last claim, made once more with the same floors, touches now.
    ///
    /// By EXPLAIN (ANALYZE, BUFFERS) in a transaction that is rolled back: it runs, and changes nothing. `nil` if no claim
    /// has found anything yet.
    package func buffers(in database: Database) async throws -> Double? {
        guard let claim = state.withLock(\.last) else { return nil }
        let explain = Statement("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) \(claim.text)", binds: claim.binds)
        return try await database.withConnection { connection in
            // one round trip: an error rolls the transaction back as well
            let answers = try await connection.run(["BEGIN", explain, "ROLLBACK"])
            let plan = try answers[1][0].decode(String.self, at: 0)
            guard let hit = Self.number(after: "\"Shared Hit Blocks\":", in: plan),
                let read = Self.number(after: "\"Shared Read Blocks\":", in: plan)
            else { return nil }
            return hit + read
        }
    }

    /// The first number after a key: the outermost node comes first, and includes what is below it.
    private static func number(after key: String, in json: String) -> Double? {
        guard let range = json.firstRange(of: key) else { return nil }
        return Double(json[range.upperBound...].drop { $0 == " " }.prefix { $0.isNumber })
    }
}

extension Sequence where Element == ClaimWatch.Exchange {
    /// Milliseconds of those that claimed something.
    var claimMilliseconds: [Double] {
        filter { $0.claimed > 0 }.map { Double($0.answered - $0.sent) / 1e6 }
    }
}
