// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Logging
internal import Outbox
internal import OutboxCore
internal import PostgresClient

/// The relay's side of the database: the only place of this target that speaks SQL.
///
/// Three connections at most: for claims and settlements, for upkeep and alerts, and for leases, which cannot wait behind
/// anything; the last is opened when the first lease is to be renewed. Every call has a deadline, after which it is
/// cancelled on the server.
struct RelayStore: Sendable {
    let relay: RelayIdentity
    let schema: Schema
    let lease: Duration
    let scope: ClaimScope
    let claimBytes: Int
    let channels: [String]
    let groupWait: Duration
    let logger: Logger
    private let observe: (@Sendable (ExchangeNote) -> Void)?
    private let work: Line
    private let upkeep: Line
    private let leases: Line

    init(
        database: DatabaseConfiguration, relay: RelayIdentity, scope: ClaimScope, channels: [String],
        configuration: RelayConfiguration, poller: Poller, logger: Logger
    ) {
        self.relay = relay
        self.scope = scope
        self.channels = channels
        self.logger = logger
        schema = configuration.schema
        lease = configuration.lease
        claimBytes = configuration.claimBytes
        groupWait = configuration.groupWait
        observe = configuration.observe
        // A standby takes no claims: with several hosts, find the primary; with one, fail clearly.
        let database = database.writable(applicationName: "outbox relay \(relay.name)")
        let timeout = max(.seconds(2), min(.seconds(15), configuration.lease / 2))
        let home = Statement("SELECT \(schema.quoted).home_v1()", binds: [])
        func line() -> Line {
            Line(database, timeout: timeout, poller: poller, asking: home, every: configuration.sweepInterval)
        }
        (work, upkeep, leases) = (line(), line(), line())
    }

    func close() async {
        await work.close()
        await upkeep.close()
        await leases.close()
    }

    // MARK: - The exchange

    /// What became of an exchange.
    enum Result: Sendable {
        case answered(Answer, [ClaimedTask])
        /// `mayBeExecuted`: only the reply is missing.
        case failed(PostgresError, mayBeExecuted: Bool)
    }

    /// - Parameter meanwhile: Done while the database works, or at once if it cannot.
    func perform(_ exchange: Exchange, meanwhile: @escaping @Sendable () -> Void = {}) async -> Result {
        let errand = Errand(meanwhile)
        defer { errand.run() }
        var attempts = 0
        while true {
            do {
                return try await send(exchange, meanwhile: errand)
            } catch let error as PostgresError {
                errand.run()
                attempts += 1
                // a deadlock or serialization failure rolled back and says: again
                if error.sqlState?.asksForRetry == true, attempts < 3 { continue }
                if exchange.settlements > 0, error.isOfOneSettlement {
                    return await sendSettlementsOneByOne(exchange, after: error)
                }
                return .failed(error, mayBeExecuted: error.leavesExecutionOpen)
            } catch {
                return .failed(PostgresError(unexpected: error), mayBeExecuted: true)
            }
        }
    }

    private func send(_ exchange: Exchange, meanwhile: Errand) async throws -> Result {
        var batch: [Statement] = []
        if !exchange.succeeded.isEmpty { batch.append(settle(exchange.succeeded)) }
        if !exchange.failed.isEmpty { batch.append(fail(exchange.failed)) }
        let claim = exchange.round.map(claim(_:))
        if let claim { batch.append(claim) }
        let sentAt = ContinuousClock.now
        var results = try await work.run(batch, meanwhile: meanwhile)[...]
        var answer = Answer()
        if !exchange.succeeded.isEmpty, let result = results.popFirst() { answer.settled += try result.seqs() }
        if !exchange.failed.isEmpty, let result = results.popFirst() { answer.settled += try result.seqs() }
        var tasks: [ClaimedTask] = []
        if exchange.round != nil, let result = results.popFirst() {
            let claims = try ClaimReader(result: result).read()
            answer.claimed = claims.claimed
            answer.news = claims.news
            answer.stoppedAtBytes = claims.bytes >= claimBytes
            tasks = claims.tasks
        }
        observe?(
            ExchangeNote(
                claim: claim, hasUpkeep: exchange.round.map { $0.rescue || $0.discover || $0.promote != nil } ?? false,
                settled: answer.settled.count, claimed: tasks.count, took: .now - sentAt))
        return .answered(answer, tasks)
    }

    /// The server refused the batch, and one of its settlements is at fault: it cannot be recorded, or somebody holds its
    /// row, as a handler's transaction that completed the task and does not end. It must not hold up the others, so it is
    /// left to its lease: that counts as a crash, and the task ends as a dead letter if it goes on like this.
    private func sendSettlementsOneByOne(_ exchange: Exchange, after error: PostgresError) async -> Result {
        logger.error("settlements were refused; sending them one by one", metadata: ["error": "\(error)"])
        var answer = Answer()
        // Whoever holds an incident, as an operator who has replayed a dead letter and not committed yet, holds up every
        // further one of its cause: that wait is had once.
        var held: Set<Cause> = []
        let statements =
            exchange.succeeded.map { (seq: $0.seq, cause: nil as Cause?, statement: settle([$0])) }
            + zip(exchange.failed, exchange.kindsOfFailed).map { move, kind in
                (seq: move.hold.seq, cause: Cause(move, kind: kind), statement: fail([move]))
            }
        for (seq, cause, statement) in statements {
            if let cause, held.contains(cause) {
                noteUnrecordable(seq, error)
                continue
            }
            do {
                answer.settled += try await work.run([statement])[0].seqs()
            } catch let error as PostgresError where error.isOfOneSettlement {
                if let cause, error.sqlState == .lockNotAvailable { held.insert(cause) }
                noteUnrecordable(seq, error)
            } catch {
                // what is settled already is refused the next time, and that is taken for done
                return .failed(error as? PostgresError ?? PostgresError(unexpected: error), mayBeExecuted: true)
            }
        }
        return .answered(answer, [])
    }

    private func noteUnrecordable(_ seq: Int64, _ error: PostgresError) {
        logger.critical(
            "a settlement cannot be recorded; the task is left to its lease",
            metadata: ["seq": "\(seq)", "error": "\(error)"])
    }

    /// What dead letters of one incident have in common.
    private struct Cause: Hashable {
        let kind: Int
        let endpoint: String?
        let fingerprint: String

        /// `nil` for what touches no incident.
        init?(_ move: Move, kind: Int) {
            guard case .dead = move.target, let failure = move.failure else { return nil }
            self.kind = kind
            endpoint = move.endpoint
            fingerprint = Fingerprint.of(failure)
        }
    }

    // MARK: - Upkeep

    /// The seq of each lease that was renewed.
    func renew(_ holds: [Hold]) async throws -> [Int64] {
        try await leases.run([renewal(of: holds)])[0].seqs()
    }

    func heartbeat(_ done: [String: Tally], isStopping: Bool) async throws {
        var json = JSONWriter()
        json.object { json in
            for (kind, tally) in done.sorted(by: { $0.key < $1.key }) {
                json.member(kind) { json in
                    json.object { json in for (outcome, count) in tally.counts { json.member(outcome, count) } }
                }
            }
        }
        try await callUpkeep(
            "SELECT \(schema.quoted).heartbeat_v1($1, $2, $3, $4, $5, $6, $7::jsonb, $8)",
            relay.id, relay.name, RelayIdentity.version, scope.kinds, scope.endpoints, channels, json.text, isStopping)
    }

    /// Kinds, and endpoints that producers named, whose tasks wait although no relay can run them: an incident is open
    /// for each.
    func findUnhandled(after delay: Duration) async throws -> [(kind: String, endpoint: String?)] {
        try await callUpkeep(
            "SELECT kind, endpoint FROM \(schema.quoted).unhandled_v1($1, $2, $3)", delay, channels, groupWait
        )
        .map { (kind: try $0.decode(String.self, at: 0), endpoint: try $0.decode(String?.self, at: 1)) }
    }

    /// Gives the space of drained leaves back.
    func trim() async throws -> Int {
        try await callUpkeep("SELECT \(schema.quoted).trim_v1()")[0].decode(Int.self, at: 0)
    }

    /// The latest migration that is applied; `nil` if the schema has no outbox.
    func schemaVersion() async throws -> Int? {
        do {
            // before its version is known nobody knows whether it can tell where it belongs
            return try await upkeep.run(
                [Statement("SELECT max(version) FROM \(schema.quoted).schema_version", binds: [])], asking: false)[0][0]
                .decode(Int?.self, at: 0)
        } catch let error as PostgresError where error.sqlState == .undefinedTable {
            return nil
        }
    }

    /// Sees whether the tasks belong to this database.
    ///
    /// - Throws: ``RelayError/Code/tasksOfAnotherDatabase``, with what was found and the commands to choose from.
    func checkHome() async throws {
        do {
            _ = try await upkeep.run([])
        } catch let error as PostgresError where error.sqlState == .tasksOfAnotherDatabase {
            throw RelayError(.tasksOfAnotherDatabase, error.message, hint: error.hint ?? "see outbox adopt")
        }
    }

    @discardableResult
    func callUpkeep(_ text: String, _ values: (any PostgresEncodable)...) async throws -> QueryResult {
        try await upkeep.run([Statement(text, binds: values.map(\.bind))])[0]
    }
}

extension QueryResult {
    /// The single column of a settlement or renewal: which rows it took effect on.
    func seqs() throws -> [Int64] {
        try (0..<count).map { try int64(row: $0, column: 0) }
    }
}

extension PostgresError {
    /// Whether the statements may have been executed although the call failed.
    var leavesExecutionOpen: Bool {
        if nothingWasSent || code == .connectionFailed || code == .invalidBind { return false }
        // an error that the server answered with rolled the transaction back, unless the session ended with it
        if code == .server { return !isConnectionUsable }
        return true
    }

    /// Whether one settlement of a batch is at fault, and not the database as it is now: a function that is missing or
    /// may not be called (class 42) is missing for all, and comes back; in another database none is recorded.
    var isOfOneSettlement: Bool {
        guard code == .server, sqlState != .tasksOfAnotherDatabase else { return false }
        return !isTransient && sqlState?.classCode != "42" || sqlState == .lockNotAvailable
    }

    /// An error of another type, which nothing here is known to throw.
    init(unexpected error: any Error) {
        self.init(.decoding, "The answer could not be read.", underlying: error)
    }
}
