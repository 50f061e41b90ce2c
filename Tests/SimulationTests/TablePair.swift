// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Logging
import Outbox
import PostgresClient
import Testing

@testable import OutboxCore
@testable import OutboxRelay
@testable import OutboxSimulation

/// A fake table and a real one that are told the same, in the words of each: a seq of one is another's in the other.
struct TablePair {
    let database: Database
    var fake: FakeTable
    var random: SeededGenerator
    let relays: [RelayStore]
    let scopes: [FakeTable.Scope]
    /// What was done, for people.
    var history: [String] = []
    /// The first reply, or table, that differs.
    var difference: String?
    var claimed = 0
    var tasks = 0
    /// Every claim that was made: in the fake table's words, and in the real one's.
    var holds: [(fake: Hold, real: Hold, relay: Int)] = []
    var realSeqs: [TaskID: Int64] = [:]
    let lease = Duration.seconds(3600)

    init(seed: UInt64, _ database: Database, mutant: Mutant? = nil) {
        self.database = database
        fake = FakeTable(clock: 1_800_000_000_000_000, mutant: mutant)
        random = SeededGenerator(seed: seed)
        let all = Self.settings(["plain", "early", "loose", "rare"], endpoint: true)
        let some = Self.settings(["plain", "loose"], endpoint: false)
        var any = Self.settings(["early"], endpoint: true)
        any.otherKinds = KindPolicy()
        var configuration = RelayConfiguration()
        configuration.lease = lease
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        relays = [all, some, any].map { settings in
            RelayStore(
                database: database.configuration, relay: RelayIdentity(name: "r"), scope: ClaimScope(settings),
                channels: [], configuration: configuration, poller: .shared, logger: logger)
        }
        scopes = [all, some, any].map(FakeTable.Scope.init)
    }

    private static func settings(_ kinds: [String], endpoint: Bool) -> Engine.Settings {
        var settings = Engine.Settings()
        for kind in kinds {
            settings.kinds[kind] = KindPolicy(acknowledgesEarly: kind == "early", runsAloneAfterCrash: kind != "loose")
        }
        if endpoint { settings.endpoints["ep"] = KindPolicy() }
        return settings
    }

    func close() async { for relay in relays { await relay.close() } }

    mutating func differ(_ what: String, _ fake: some Equatable, _ real: some Equatable) {
        let (fake, real) = ("\(fake)", "\(real)")
        if difference == nil, fake != real { difference = "\(what) is \(fake) in the fake table, and really \(real)" }
    }

    // MARK: - Operations

    /// One operation on both; false: they differ.
    mutating func step() async throws -> Bool {
        // which leaf it is must not be the time's to say
        if history.isEmpty { try await moveToNextSlot() }
        fake.clock += 1000
        switch random.next() % 16 {
        case 0..<4: try await enqueue()
        case 4..<10: try await exchange()
        case 10: try await renew()
        case 11, 12: try await endLease()
        case 13, 14: try await becomeDue()
        default: try await moveToNextSlot()
        }
        return difference == nil
    }

    private mutating func enqueue() async throws {
        tasks += 1
        let id = TaskID(high: 0x4000, low: 1 << 63 | UInt64(tasks))
        let kind = ["plain", "plain", "early", "loose", "rare", "unknown"][Int(random.next() % 6)]
        let queue = ["a", "b"][Int(random.next() % 2)]
        let priority = [0, 5][Int(random.next() % 2)]
        let endpoint = random.chance(20) ? random.chance(80) ? "ep" : "other" : nil
        let most: Int? = random.chance(20) ? 3 : nil
        let delay: Duration? = random.chance(20) ? .seconds(3600) : nil
        history.append(
            "enqueue \(tasks): \(kind), \(priority):\(queue), \(endpoint ?? "-"), \(delay.map { "\($0)" } ?? "now")")
        _ = try await database.query(
            """
            SELECT outbox.enqueue(\(kind), '{}'::text, queue => \(queue), priority => \(priority)::int, delay => \(delay)::interval,
                endpoint => \(endpoint), max_attempts => \(most)::int, id => \(PostgresUUID(id)))
            """)
        var row = FakeTable.Row(
            id: id, lane: "\(priority):\(queue)\(endpoint.map { ":e=\($0)" } ?? "")", kind: kind, endpoint: endpoint,
            maxAttempts: most, enqueuedAt: fake.clock, dueAt: delay.map { fake.clock + $0.inMicroseconds })
        row.seq = fake.nextSeq()
        row.slot = fake.currentSlot
        row.runAt = fake.clock + (delay?.inMicroseconds ?? 0)
        fake.commit(row, isLater: delay != nil)
    }

    /// Holds of different tasks, most of them current, some of them stale.
    private mutating func someHolds(_ most: UInt64) -> [(fake: Hold, real: Hold, relay: Int)] {
        var chosen: [(fake: Hold, real: Hold, relay: Int)] = []
        for _ in 0..<random.next() % (most + 1) {
            let recent = random.chance(80) ? holds.suffix(8) : holds[...]
            guard let hold = recent.randomElement(using: &random) else { break }
            if !chosen.contains(where: { $0.fake.id == hold.fake.id }) { chosen.append(hold) }
        }
        return chosen
    }

    private mutating func exchange() async throws {
        let relay = Int(random.next() % 3)
        let settled = someHolds(6)
        var (fakeExchange, realExchange) = (Self.empty, Self.empty)
        for hold in settled {
            if random.chance(40) {
                fakeExchange.succeeded.append(hold.fake)
                realExchange.succeeded.append(hold.real)
                continue
            }
            let targets: [Move.Target] = [.later(.seconds(3600)), .ready, .dead(.exhausted), .dead(.rejected)]
            let target = targets[Int(random.next() % 4)]
            let isCharged = random.chance(60)
            func move(_ hold: Hold) -> Move {
                Move(
                    hold: hold, target: target, failure: target == .ready ? nil : Failure(type: "t", message: "m"),
                    charged: isCharged, took: .zero, endpoint: nil)
            }
            fakeExchange.failed.append(move(hold.fake))
            realExchange.failed.append(move(hold.real))
        }
        if random.chance(80) {
            let (fakeRound, realRound) = try await round(relay)
            fakeExchange.round = fakeRound
            realExchange.round = realRound
        }
        history.append(Self.told(fakeExchange, relay))
        let answer = fake.perform(fakeExchange, relay: relay, lease: lease.inMicroseconds, scope: scopes[relay])
        guard case .answered(let real, _) = await relays[relay].perform(realExchange) else {
            difference = "the real table gave no answer"
            return
        }
        compare(answer, real, fakeExchange, realExchange, relay)
    }

    private static let empty = Exchange(
        succeeded: [], failed: [], round: nil, kindsOfSucceeded: [], kindsOfFailed: [])

    private mutating func round(_ relay: Int) async throws -> (Round, Round) {
        let rows = try await database.query("SELECT id, seq FROM outbox.ready")
        realSeqs = [:]
        for row in rows {
            realSeqs[TaskID(try row.decode(PostgresUUID.self, at: 0))] = try row.decode(Int64.self, at: 1)
        }
        let names = Set(fake.ready.map(\.lane) + ["0:a", "5:b:!"]).sorted()
        var (fakeAsks, realAsks): ([Round.Ask], [Round.Ask]) = ([], [])
        for name in names {
            for slot in Int16(0)..<4 where random.chance(60) {
                let lane = LaneKey(slot: slot, name: name)
                let limit = Int(random.next() % 4)
                // a place in the order of seqs is that of a task, the same one in both
                let (floor, ceiling) = (
                    random.chance(30) ? someSeq() : (0, 0), random.chance(20) ? someSeq() : (.max, .max)
                )
                fakeAsks.append(.init(lane: lane, floor: floor.0, limit: limit, ceiling: ceiling.0))
                realAsks.append(.init(lane: lane, floor: floor.1, limit: limit, ceiling: ceiling.1))
            }
        }
        let total = Int(random.next() % 6)
        let discover = random.chance(40)
        let promote: Round.Promotion? = [nil, .recent, .all][Int(random.next() % 3)]
        let rescue = random.chance(50)
        var fakeRound = Round(asks: fakeAsks, total: total, discover: discover, promote: promote, rescue: rescue)
        var realRound = Round(asks: realAsks, total: total, discover: discover, promote: promote, rescue: rescue)
        if rescue, random.chance(40) {
            let known = holds.suffix(10).filter { $0.relay == relay && random.chance(70) }
            fakeRound.held = known.map(\.fake.seq)
            realRound.held = known.map(\.real.seq)
        }
        return (fakeRound, realRound)
    }

    private mutating func someSeq() -> (Int64, Int64) {
        guard let row = fake.ready.randomElement(using: &random), let real = realSeqs[row.id] else { return (0, 0) }
        return (row.seq, real)
    }

    private mutating func renew() async throws {
        let chosen = someHolds(5)
        guard let relay = chosen.first?.relay else { return }
        history.append("renew \(chosen.map { "\($0.fake.id.number)" })")
        let renewed = fake.renew(chosen.map(\.fake), lease: lease.inMicroseconds)
        let really = try await relays[relay].renew(chosen.map(\.real))
        differ(
            "what is renewed", chosen.filter { renewed.contains($0.fake.seq) }.map(\.fake.id.number),
            chosen.filter { really.contains($0.real.seq) }.map(\.real.id.number))
    }

    // MARK: - Time

    /// A lease ends, or seems to have been written before the clock was set back.
    private mutating func endLease() async throws {
        guard let id = fake.ready.filter({ $0.relay != nil }).map(\.id).randomElement(using: &random) else { return }
        let offset = random.chance(80) ? -60 : 2 * 86400
        history.append("lease of \(id.number) ends in \(offset) s")
        let until = fake.clock + Int64(offset) * 1_000_000
        fake.change(id) { $0.leaseUntil = until }
        _ = try await database.query(
            "UPDATE outbox.ready SET lease_until = clock_timestamp() + \(Duration.seconds(offset)) WHERE id = \(PostgresUUID(id))"
        )
    }

    private mutating func becomeDue() async throws {
        guard let id = fake.later.map(\.id).randomElement(using: &random) else { return }
        // no two at once, so that the order of promotion is not chance; a few so long ago that only a full look finds them
        let ago = Int64(history.count % 100) + (random.chance(20) ? 1000 : 1)
        history.append("\(id.number) is due since \(ago) s")
        let at = fake.clock - ago * 1_000_000
        fake.change(id) { $0.runAt = at }
        _ = try await database.query(
            "UPDATE outbox.later SET run_at = clock_timestamp() - \(Duration.seconds(ago)) WHERE id = \(PostgresUUID(id))"
        )
    }

    private mutating func moveToNextSlot() async throws {
        let slot = Int16(random.next() % 4)
        history.append("the leaf is \(slot)")
        fake.currentSlotOverride = slot
        _ = try await database.query(Statement(Self.slotFunction(slot), binds: []))
    }

    static func slotFunction(_ slot: Int16) -> String {
        """
        CREATE OR REPLACE FUNCTION outbox.slot_at(at timestamptz) RETURNS smallint LANGUAGE sql STABLE PARALLEL SAFE AS
        'SELECT \(slot)::smallint'
        """
    }
}

extension TaskID {
    var number: UInt64 { low & ~(1 << 63) }
}
