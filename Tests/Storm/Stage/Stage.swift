// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import Outbox
import OutboxCore
import OutboxTesting
import PostgresClient
import Synchronization

/// Where a scenario plays: a Postgres of its own with the outbox and a business table, the receiver, and a directory of
/// ledgers. Everything ends with it.
final class Stage: Sendable {
    let seed: UInt64
    /// A few seconds instead of half a minute.
    let isShort: Bool
    let cluster: ThrowAwayPostgres
    let children: Children
    /// For looking and counting.
    let database: Database
    let databaseName: String
    /// The rate of the undisturbed run.
    let calm: Double?
    let ledgers: Mutex<Director> = Mutex(Director())

    /// What the director of the storm knows, because it did it.
    struct Director {
        var pauses: [(by: String, from: Int64, until: Int64)] = []
        var faults: [Int64] = []
        var producers = 0
    }

    var directory: String { children.directory }

    init(seed: UInt64, isShort: Bool, calm: Double?) async throws {
        self.seed = seed
        self.isShort = isShort
        self.calm = calm
        var path = Array("/tmp/outbox-storm-XXXXXX".utf8CString)
        guard mkdtemp(&path) != nil else { throw StormError("no directory can be made in /tmp") }
        let directory = String(decoding: path.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        chmod(directory, 0o755)
        children = try Children(directory: directory)
        cluster = try await ThrowAwayPostgres.start()
        var configuration = try await cluster.makeOutbox()
        databaseName = configuration.parameters["dbname"] ?? ""
        configuration.maxConnections = 4
        configuration.applicationName = "storm"
        database = Database(configuration)
        // op is not unique: if an operation is done twice, that is to be seen
        try await database.execute(
            "CREATE TABLE business (op bigint NOT NULL, task uuid NOT NULL, key text NOT NULL, payload text NOT NULL, at bigint NOT NULL)"
        )
        try await database.execute("CREATE INDEX business_op ON business (op)")
    }

    /// The directory of the cluster's socket and log.
    var clusterDirectory: String { database.configuration.parameters["host"] ?? "" }
    var socket: String { "\(clusterDirectory)/.s.PGSQL.5432" }
    var url: String { cluster.url(database: databaseName) }

    /// A duration of the long form, or the one of the short.
    func seconds(_ long: Double, short: Double) -> Double { isShort ? short : long }

    /// A generator for what a scenario does.
    func random(_ purpose: String) -> SeededGenerator { SeededGenerator(seed: seed, for: purpose) }

    func pause(_ seconds: Double) async throws { try await Task.sleep(for: .microseconds(Instant.seconds(seconds))) }

    /// Notes that something was done to the others just now.
    func fault(_ count: Int = 1) {
        ledgers.withLock { $0.faults += Array(repeating: Instant.now, count: count) }
    }

    /// Starts the receiver and returns its URL.
    func receiver() async throws -> String {
        let receiver = try children.start(
            "receiver", role: "receiver", Receiver.Order(ledger: "\(directory)/receiver.ledger"))
        return "http://127.0.0.1:\(try await receiver.line())/"
    }

    /// Starts business.
    func producer(
        url: String? = nil, _ change: (inout Producer.Order) -> Void = { _ in }
    ) throws -> Business {
        let number = ledgers.withLock { director in
            director.producers += 1
            return director.producers
        }
        let file = "\(directory)/producer-\(number).acknowledged"
        var order = Producer.Order(url: url ?? self.url, acknowledged: file, seed: seed)
        order.first = number * 10_000_000
        change(&order)
        return Business(
            child: try children.start("producer-\(number)", role: "producer", order), acknowledged: file,
            began: Instant.now, hasLimit: order.operations != nil)
    }

    /// A number that a statement returns.
    func count(_ statement: Statement) async throws -> Int {
        try await database.query(statement)[0].decode(Int.self, at: 0)
    }

    /// How many tasks are held by leases.
    func held() async throws -> Int {
        try await count("SELECT count(*) FROM outbox.ready WHERE lease_until > clock_timestamp()")
    }

    /// Makes roles that are no superusers, for which the server keeps no connection in reserve.
    func letIn(_ roles: String...) async throws {
        for role in roles {
            for statement in [
                "CREATE ROLE \(identifier: role) LOGIN",
                "GRANT ALL ON business TO \(identifier: role)",
                "GRANT USAGE ON SCHEMA outbox TO \(identifier: role)",
                "GRANT SELECT ON outbox.schema_version TO \(identifier: role)",
                "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA outbox TO \(identifier: role)",
            ] as [Statement] { try await database.execute(statement) }
        }
    }

    /// How many connections the server has refused for want of room, from its log.
    func refusals() -> Int {
        let log = (try? String(contentsOfFile: "\(clusterDirectory)/log", encoding: .utf8)) ?? ""
        return log.split(separator: "\n").count { $0.contains("connection slots") || $0.contains("too many clients") }
    }

    /// Waits until nothing waits and nothing runs; false if it is not so within the time.
    func drained(within limit: Double = 60) async throws -> Bool {
        try await eventually(within: limit) {
            try await self.count("SELECT (SELECT count(*) FROM outbox.ready) + (SELECT count(*) FROM outbox.later)")
                == 0
        }
    }

    /// Looks again and again until it is so; an error of the database is no answer.
    func eventually(within limit: Double, every pause: Double = 0.05, _ isSo: () async throws -> Bool) async throws
        -> Bool
    {
        let end = Instant.now + Instant.seconds(limit)
        while true {
            do {
                if try await isSo() { return true }
            } catch is PostgresError {
                // it may be away
            }
            guard Instant.now < end else { return false }
            try await self.pause(pause)
        }
    }

    /// Ends everything, and removes the directory unless somebody wants to look into it.
    func end(keepingFiles: Bool) async throws {
        await database.close()
        try await children.end()
        #if os(Linux)
        // what a scenario mounted and did not come to take away
        umount2("\(directory)/disk", 2)
        #endif
        if !keepingFiles { try? FileManager.default.removeItem(atPath: directory) }
    }
}

/// A producer that runs, as the scenario sees it.
struct Business: Sendable {
    let child: Child
    let acknowledged: String
    let began: Int64
    let hasLimit: Bool

    /// Has it finish what it began, and returns its report.
    func finished() async throws -> Producer.Report {
        if !hasLimit { child.tell("stop") }
        return try JSONDecoder().decode(Producer.Report.self, from: Data(try await child.line().utf8))
    }

    /// The operations that it knows are done.
    func operations() -> [Int] { acknowledgements().map(\.op) }

    /// The same, each with the time at which it knew.
    func acknowledgements() -> [(op: Int, at: Int64)] {
        ((try? String(contentsOfFile: acknowledged, encoding: .utf8)) ?? "").split(separator: "\n").compactMap { line in
            let words = line.split(separator: " ").compactMap { Int64($0) }
            return words.count == 2 ? (Int(words[0]), words[1]) : nil
        }
    }
}
