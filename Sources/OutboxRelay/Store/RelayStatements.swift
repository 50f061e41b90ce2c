// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Outbox
internal import OutboxCore
internal import PostgresClient

// The statements of the hot path: texts that never change, and their parameters.

extension RelayStore {
    func settle(_ holds: [Hold]) -> Statement {
        Statement("SELECT \(schema.quoted).settle_v1($1, $2, $3, $4, $5)", binds: Self.binds(of: holds))
    }

    func renewal(of holds: [Hold]) -> Statement {
        Statement(
            "SELECT \(schema.quoted).renew_v1($1, $2, $3, $4, $5, $6)", binds: Self.binds(of: holds) + [lease.bind])
    }

    private static func binds(of holds: [Hold]) -> [Bind] {
        [
            holds.map(\.lane.slot).bind, holds.map(\.lane.name).bind, holds.map(\.seq).bind, holds.map(\.attempt).bind,
            holds.map { PostgresUUID($0.id) }.bind,
        ]
    }

    func claim(_ round: Round) -> Statement {
        let promoteWithin: Duration? = round.promote == .recent ? .seconds(120) : nil
        let most = round.promote == nil ? 0 : Engine.mostPromotions
        let values: [any PostgresEncodable] = [
            relay.id, lease, scope.kinds, scope.endpoints, scope.early,
            round.asks.map(\.lane.slot), round.asks.map(\.lane.name), round.asks.map(\.floor),
            round.asks.map { Int32(clamping: $0.limit) }, Int32(clamping: round.total), claimBytes,
            round.discover ? Int32(clamping: max(round.total, 1)) : nil as Int32?,
            promoteWithin, Int32(most),
            round.rescue ? round.asks.map(\.ceiling) : nil as [Int64]?, scope.isolated,
            round.promote == nil ? nil as [String]? : channels, round.held,
        ]
        return Statement(
            """
            SELECT * FROM \(schema.quoted).claim_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
            """, binds: values.map(\.bind))
    }

    func fail(_ moves: [Move]) -> Statement {
        var json = JSONWriter()
        json.array { json in for move in moves { json.object { Self.write(move, to: &$0) } } }
        return Statement(
            "SELECT \(schema.quoted).fail_v1($1::jsonb, $2, $3)",
            binds: [json.text.bind, channels.bind, groupWait.bind])
    }

    private static func write(_ move: Move, to json: inout JSONWriter) {
        json.member("slot", move.hold.lane.slot)
        json.member("lane", move.hold.lane.name)
        json.member("seq", move.hold.seq)
        json.member("attempt", move.hold.attempt)
        json.member("id", move.hold.id.description)
        switch move.target {
        case .later(let delay):
            json.member("move", "later")
            json.member("delay", delay.inMicroseconds)
        case .dead(let reason):
            json.member("move", "dead")
            json.member("reason", reason.rawValue)
        case .ready:
            json.member("move", "ready")
        }
        json.member("charged", move.charged)
        json.member("took", move.took.inMicroseconds)
        json.member("endpoint", move.endpoint)
        guard let failure = move.failure else { return }
        json.member("type", storable(failure.type, 200))
        json.member("message", storable(failure.message, 1000))
        json.member("detail", failure.detail.map { storable($0, 4000) })
        json.member("status", failure.httpStatus)
        json.member("excerpt", failure.responseExcerpt.map { storable($0, 4096) })
        json.member("fingerprint", storable(Fingerprint.of(failure), 500))
    }

    /// Text as Postgres can hold it, without NUL, cut to a number of characters.
    static func storable(_ text: String, _ most: Int) -> String {
        let cut = String(text.prefix(most))
        return cut.utf8.contains(0) ? cut.replacing("\0", with: "\u{2400}") : cut
    }
}
