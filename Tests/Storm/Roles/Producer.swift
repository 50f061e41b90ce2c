// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import Outbox
import OutboxCore
import Synchronization

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// A service that does business: in each transaction a row of its own and a task. It insists on every operation until it
/// knows that it is done, and notes which it knows of.
final class Producer: Sendable {
    struct Order: Codable, Sendable {
        var url: String
        /// Where it notes the operations that were acknowledged, each with the time, one a line.
        var acknowledged: String
        var seed: UInt64
        /// Operations in a second, of all clients together.
        var rate = 200.0
        var clients = 8
        /// How many operations; without end until told to stop if `nil`.
        var operations: Int?
        var first = 0
        var kinds = ["storm.http", "storm.swift"]
        /// How long effects take, in milliseconds.
        var shortest = 1
        var longest = 40
        /// One in so many tasks fails before it succeeds, up to so many times; 0: none.
        var failsOneIn = 0
        var mostFailures = 1
        /// One in so many transactions stays open for up to `longestHold` seconds, with its rows written; 0: none.
        var holdsOneIn = 0
        var longestHold = 0.0
        /// One in so many is rolled back after its rows were written, and is no operation; 0: none.
        var rollsBackOneIn = 0
        /// After a failover the other server cannot be asked for a transaction; it has to be looked for the rows.
        var looksForRows = false
    }

    struct Report: Codable, Sendable {
        /// Operations whose business row and task are known to be committed.
        var acknowledged = 0
        /// COMMITs that were not answered, and how many of these turned out to be committed.
        var unanswered = 0
        var committedAllTheSame = 0
        /// Operations that had to be done again from the start.
        var repeated = 0
        var rolledBack = 0
        /// Operations that were given up when it was told to stop.
        var givenUp = 0
        var lastError: String?
    }

    private let order: Order
    private let database: Database
    private let notes: LinesFile
    private let report = Mutex(Report())
    private let next: Atomic<Int>
    private let isStopping = Atomic(false)

    init(_ order: Order) throws {
        self.order = order
        var configuration = try DatabaseConfiguration(url: order.url)
        configuration.maxConnections = order.clients
        configuration.callTimeout = .seconds(5)
        configuration.connectTimeout = .seconds(2)
        configuration.acquireTimeout = .seconds(10)
        configuration.applicationName = "storm producer"
        database = Database(configuration)
        notes = try LinesFile(order.acknowledged)
        next = Atomic(order.first)
    }

    /// Produces until all is done or it is told to stop, and prints its report.
    func run() async throws {
        try Role.obey { [self] line in if line == "stop" { isStopping.store(true, ordering: .relaxed) } }
        let began = Instant.now
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<order.clients { group.addTask { await self.work(since: began) } }
        }
        let report = report.withLock { $0 }
        writeLine(String(decoding: try JSONEncoder().encode(report), as: UTF8.self), to: 1)
        // stays until the input ends, as every role does
        while true { try await Task.sleep(for: .seconds(60)) }
    }

    private func work(since began: Int64) async {
        while !isStopping.load(ordering: .relaxed) {
            let op = next.wrappingAdd(1, ordering: .relaxed).oldValue
            if let operations = order.operations, op >= order.first + operations { return }
            let due = began + Int64(Double(op - order.first) / order.rate * 1e6)
            while Instant.now < due {
                if isStopping.load(ordering: .relaxed) { return }
                try? await Task.sleep(for: .microseconds(min(due - Instant.now, 50_000)))
            }
            await perform(op)
        }
    }

    /// What an operation is: the same in each of its tries, but for the task's identity.
    private struct Plan {
        let op: Int
        let kind: String
        let payload: [UInt8]
        var hold = 0.0
        var rollsBack = false
    }

    private struct RolledBack: Error {}

    private func plan(_ op: Int) -> Plan {
        var random = SeededGenerator(seed: order.seed, for: "operation \(op)")
        func isOne(in count: Int) -> Bool { count > 0 && Int.random(in: 0..<count, using: &random) == 0 }
        var work = Work(op: op, milliseconds: Int.random(in: order.shortest...order.longest, using: &random))
        if isOne(in: order.failsOneIn) {
            work.failures = Int.random(in: 1...max(1, order.mostFailures), using: &random)
        }
        let isHeld = isOne(in: order.holdsOneIn)
        let rollsBack = isOne(in: order.rollsBackOneIn)
        let kind = order.kinds[op % order.kinds.count]
        return Plan(
            op: op, kind: kind, payload: work.payload,
            hold: isHeld ? Double.random(in: 0...order.longestHold, using: &random) : 0, rollsBack: rollsBack)
    }

    private func perform(_ op: Int) async {
        let plan = plan(op)
        var tries = 0
        while true {
            tries += 1
            do {
                try await transact(plan)
                return acknowledge(op)
            } catch is RolledBack {
                return report.withLock { $0.rolledBack += 1 }
            } catch let error as PostgresError where error.code == .commitOutcomeUnknown {
                report.withLock { $0.unanswered += 1 }
                if await isCommitted(op, error.transactionIdentifier) {
                    report.withLock { $0.committedAllTheSame += 1 }
                    return acknowledge(op)
                }
            } catch {
                report.withLock { $0.lastError = "\(error)" }
                try? await Task.sleep(for: .milliseconds(50))
            }
            // it may be that nobody is there to commit anything any more
            if isStopping.load(ordering: .relaxed), tries > 40 { return report.withLock { $0.givenUp += 1 } }
            report.withLock { $0.repeated += 1 }
        }
    }

    private func transact(_ plan: Plan) async throws {
        let id = TaskID.random()
        try await database.transaction { transaction in
            try await transaction.execute(
                """
                INSERT INTO business (op, task, key, payload, at)
                VALUES (\(plan.op), \(PostgresUUID(id)), \(Work.key(plan.op)), \(Work.hash(plan.payload)), \(Instant.now))
                """)
            try await transaction.enqueue(
                kind: plan.kind, payload: plan.payload, options: .init(idempotencyKey: Work.key(plan.op), id: id))
            if plan.hold > 0 { try await Task.sleep(for: .seconds(plan.hold)) }
            if plan.rollsBack { throw RolledBack() }
        }
    }

    private func acknowledge(_ op: Int) {
        notes.append("\(op) \(Instant.now)")
        report.withLock { $0.acknowledged += 1 }
    }

    /// Asks until it knows.
    private func isCommitted(_ op: Int, _ identifier: TransactionIdentifier?) async -> Bool {
        while true {
            do {
                if let identifier, !order.looksForRows {
                    switch try await database.status(ofTransaction: identifier) {
                    case .committed: return true
                    case .aborted: return false
                    case .inProgress: break
                    case .unknown: return try await isThere(op)
                    }
                } else {
                    return try await isThere(op)
                }
            } catch {
                report.withLock { $0.lastError = "\(error)" }
            }
            try? await Task.sleep(for: .milliseconds(20))
        }
    }

    private func isThere(_ op: Int) async throws -> Bool {
        try await database.query("SELECT count(*) FROM business WHERE op = \(op)")[0].decode(Int.self, at: 0) > 0
    }
}
