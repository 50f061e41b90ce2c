// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Outbox
import PostgresClient

@testable import OutboxCore
@testable import OutboxRelay
@testable import OutboxSimulation

// What is compared: every reply, and the tables at the end, by the tasks' identities.

extension TablePair {
    mutating func compare(
        _ answer: Answer, _ real: Answer, _ fakeExchange: Exchange, _ realExchange: Exchange, _ relay: Int
    ) {
        func accepted(_ answer: Answer, _ exchange: Exchange) -> [UInt64] {
            (exchange.succeeded + exchange.failed.map(\.hold)).filter { answer.settled.contains($0.seq) }.map(
                \.id.number)
        }
        differ("what is settled", accepted(answer, fakeExchange), accepted(real, realExchange))
        differ("what is claimed", Self.told(answer.claimed), Self.told(real.claimed))
        if let news = answer.news, let realNews = real.news {
            differ("the current leaf", news.currentSlot, realNews.currentSlot)
            differ("how many were promoted", news.promoted, realNews.promoted)
            differ("how many were rescued", news.rescued, realNews.rescued)
            differ("what lanes are found", news.found.map(Self.told), realNews.found.map(Self.told))
        } else {
            differ("whether there is news", answer.news == nil, real.news == nil)
        }
        for claim in answer.claimed {
            guard let other = real.claimed.first(where: { $0.hold.id == claim.hold.id }) else { continue }
            holds.append((claim.hold, other.hold, relay))
            claimed += 1
        }
    }

    mutating func compareTables() async throws {
        let identities = relays.map { TaskID($0.relay.id) }
        let rows = try await database.query(
            """
            SELECT id, slot, lane, attempt, charged, crashed, acknowledged, relay, max_attempts FROM outbox.ready
            ORDER BY slot, lane, seq
            """)
        let real = try rows.map { row in
            let relay = try row.decode(PostgresUUID?.self, at: 7).flatMap { identities.firstIndex(of: TaskID($0)) }
            return "\(TaskID(try row.decode(PostgresUUID.self, at: 0)).number) \(try row.decode(Int.self, at: 1)) "
                + "\(try row.decode(String.self, at: 2)) \(try row.decode(Int.self, at: 3)) "
                + "\(try row.decode(Int.self, at: 4)) \(try row.decode(Int.self, at: 5)) "
                + "\(try row.decode(Bool.self, at: 6)) \(relay ?? -1) \(try row.decode(Int?.self, at: 8) ?? 0)"
        }
        let ready = fake.ready.sorted { ($0.slot, $0.lane, $0.seq) < ($1.slot, $1.lane, $1.seq) }.map {
            "\($0.id.number) \($0.slot) \($0.lane) \($0.attempt) \($0.charged) \($0.crashed) \($0.acknowledged) "
                + "\($0.relay ?? -1) \($0.maxAttempts ?? 0)"
        }
        differ("ready", ready, real)
        differ(
            "later",
            fake.later.map { "\($0.id.number) \($0.lane) \($0.attempt) \($0.charged) \($0.crashed)" }.sorted(),
            try await counts("SELECT id, lane, attempt, charged, crashed FROM outbox.later"))
        differ(
            "dead",
            fake.dead.map {
                "\($0.row.id.number) \($0.reason.rawValue) \($0.row.lane) \($0.row.attempt) \($0.row.charged) \($0.row.crashed)"
            }.sorted(),
            try await counts("SELECT id, reason || ' ' || lane, attempt, charged, crashed FROM outbox.dead"))
    }

    private func counts(_ query: Statement) async throws -> [String] {
        try await database.query(query).map { row in
            "\(TaskID(try row.decode(PostgresUUID.self, at: 0)).number) \(try row.decode(String.self, at: 1)) "
                + "\(try row.decode(Int.self, at: 2)) \(try row.decode(Int.self, at: 3)) \(try row.decode(Int.self, at: 4))"
        }.sorted()
    }

    // MARK: - Words

    static func told(_ lane: LaneKey) -> String { "\(lane.name)/\(lane.slot)" }

    static func told(_ claimed: [Claimed]) -> [String] {
        claimed.map {
            "\($0.hold.id.number) \(told($0.hold.lane)) attempt \($0.hold.attempt), \($0.charged) charged, \($0.crashed) crashed"
                + "\($0.acknowledged ? ", acknowledged" : ""), \($0.kind), \($0.endpoint ?? "-"), \($0.maxAttempts ?? 0)"
        }.sorted()
    }

    static func told(_ exchange: Exchange, _ relay: Int) -> String {
        var text = "relay \(relay): \(exchange.succeeded.map { "\($0.id.number) succeeded" })"
        text += " \(exchange.failed.map { "\($0.hold.id.number) \($0.target)\($0.charged ? ", charged" : "")" })"
        guard let round = exchange.round else { return text }
        text += " claims \(round.total), discovers \(round.discover), promotes \(round.promote.map { "\($0)" } ?? "-")"
        text += ", rescues \(round.rescue), holds \(round.held.map { "\($0)" } ?? "-"): "
        return text
            + round.asks.map {
                "\(told($0.lane)) from \($0.floor) \($0.limit)\($0.ceiling == .max ? "" : " to \($0.ceiling)")"
            }
            .joined(separator: "; ")
    }
}
