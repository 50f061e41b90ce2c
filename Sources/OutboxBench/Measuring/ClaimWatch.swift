// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import OutboxRelay
package import PostgresClient
internal import Synchronization

/// Watches a relay's exchanges with the database: how long they take, and what the last claim was, with its floors.
package final class ClaimWatch: Sendable {
    package struct Seen: Sendable {
        /// Milliseconds of each exchange that claimed something.
        package var milliseconds: [Double] = []
        package var claimed = 0
    }
    private struct State {
        var seen = Seen()
        var last: Statement?
        var first: (sent: Int64, answered: Int64)?
    }
    private let state = Mutex(State())

    package init() {}

    func note(_ exchange: ExchangeNote) {
        guard exchange.claimed > 0, let claim = exchange.claim else { return }
        state.withLock { state in
            let now = Monotonic.now
            state.first = state.first ?? (now - Int64(exchange.took / .nanoseconds(1)), now)
            state.seen.milliseconds.append(exchange.took.inMilliseconds)
            state.seen.claimed += exchange.claimed
            // upkeep comes every few hundred milliseconds; what counts is the claim of every few
            if !exchange.hasUpkeep { state.last = claim }
        }
    }

    /// What was seen since this was last called.
    package func take() -> Seen {
        state.withLock { state in
            defer { state.seen = Seen() }
            return state.seen
        }
    }

    /// When the first claim that found something was answered, by ``Monotonic``.
    package var firstClaim: Int64? { state.withLock { $0.first?.answered } }
    /// When it was sent.
    package var firstSent: Int64? { state.withLock { $0.first?.sent } }

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

extension Duration {
    var inMilliseconds: Double { self / .milliseconds(1) }
}
