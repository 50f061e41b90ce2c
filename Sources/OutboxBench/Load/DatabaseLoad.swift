// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Outbox
internal import OutboxCore
internal import Synchronization

#if canImport(Darwin)
internal import Darwin
#else
internal import Glibc
#endif

/// Makes the load of a ``DatabaseJob`` with blocking calls, on a thread and a connection for each client.
struct DatabaseLoad: Load {
    private let url: String

    init(url: String) { self.url = url }

    func run(_ job: DatabaseJob) async throws -> DatabaseReport {
        let start = StartLine(job.clients)
        let results = try await onThreads(job.clients) { [url] client in
            do {
                return try DatabaseClient(url, job, client: client).produce(from: start)
            } catch {
                // nobody is to wait for one that does not come
                start.arrive()
                throw error
            }
        }
        var report = DatabaseReport()
        for result in results {
            report.transactions += result.transactions
            report.numbers += result.numbers
            report.times += result.times
            report.wasLong += result.wasLong
            report.seconds = max(report.seconds, result.seconds)
        }
        return report
    }
}

/// Where clients wait for each other, so that all begin at once and connecting is not measured.
final class StartLine: Sendable {
    private let missing: Atomic<Int>
    private let began = Atomic<Int64>(0)

    init(_ clients: Int) { missing = Atomic(clients) }

    func arrive() {
        if missing.subtract(1, ordering: .acquiringAndReleasing).newValue == 0 {
            began.store(Monotonic.now, ordering: .releasing)
        }
    }

    /// Returns when all have arrived, with the time of the start.
    func wait() -> Int64 {
        while true {
            let time = began.load(ordering: .acquiring)
            if time != 0 { return time }
            usleep(200)
        }
    }
}

/// One client: its connection, and what it prepared there.
private final class DatabaseClient {
    private let connection: BareConnection
    private let job: DatabaseJob
    private let client: Int
    private let filling: String
    private let nudge: Nudge?
    private var random: SeededGenerator
    private var number: Int

    init(_ url: String, _ job: DatabaseJob, client: Int) throws {
        connection = try BareConnection(url)
        self.job = job
        self.client = client
        random = SeededGenerator(seed: UInt64(client + 1))
        nudge = try job.nudgeSocket.map { try Nudge(socket: $0) }
        filling = String(repeating: "x", count: job.payload)
        number = job.first + client
        for (name, text) in Self.statements(job.schema) { try connection.prepare(name, text) }
    }

    /// Both sides of a comparison are offered the same: prepared statements with the payload as text, the id returned.
    private static func statements(_ schema: String) -> [(String, String)] {
        [
            ("begin", "BEGIN"), ("commit", "COMMIT"), ("rollback", "ROLLBACK"),
            ("business", "INSERT INTO \(schema).orders (note) VALUES ($1)"),
            (
                "insert",
                """
                INSERT INTO \(schema).bare (slot, id, lane, kind, payload)
                VALUES (0, gen_random_uuid(), '5:default', 'bench.task', convert_to($1, 'UTF8')) RETURNING id
                """
            ),
            ("enqueue", "SELECT \(schema).enqueue('bench.task', $1::text)"),
            (
                "insertMany",
                """
                INSERT INTO \(schema).bare (slot, id, lane, kind, payload)
                SELECT 0, gen_random_uuid(), '5:default', 'bench.task', convert_to(p, 'UTF8')
                FROM unnest($1::text[]) p RETURNING id
                """
            ),
            ("enqueueMany", "SELECT \(schema).enqueue_many(ARRAY['bench.task'], $1::text[])"),
            ("notify", "SELECT pg_notify('bench_floor', '')"),
        ]
    }

    func produce(from start: StartLine) throws -> DatabaseReport {
        // plans are made once a connection; PL/pgSQL settles on them with the sixth call
        for _ in 0..<8 {
            try connection.execute("begin")
            try write(number)
            try connection.execute("rollback")
        }
        start.arrive()
        let began = start.wait()
        let end = began + Int64(job.seconds * 1e9)
        let interval = job.rate.map { Double(job.clients) / $0 * 1e9 }
        var report = DatabaseReport()
        var beat = Double(client) / Double(job.clients)
        while report.transactions < job.mostTransactions ?? .max, Monotonic.now < end {
            if let interval {
                let due = began + Int64(interval * beat)
                if due >= end { break }
                let late = Double(Monotonic.now - due) / interval
                if late < 0 { usleep(UInt32(-late * interval / 1000)) }
                // By the timetable, also after a delay: producers do not wait for the database to recover. But who kept a
                // transaction open on purpose does not make up for it.
                beat += job.longEvery > 0 ? max(1, late.rounded(.up)) : 1
            }
            try commit(&report)
        }
        report.seconds = Double(Monotonic.now - began) / 1e9
        return report
    }

    private func commit(_ report: inout DatabaseReport) throws {
        let first = number
        try connection.execute("begin")
        try write(first)
        let isLong = job.longEvery > 0 && Int.random(in: 0..<job.longEvery, using: &random) == 0
        if isLong {
            usleep(UInt32(Double.random(in: 0...job.longest, using: &random) * 1e6))
        }
        let time = Monotonic.now
        try connection.execute("commit")
        number += job.batch * job.clients
        report.transactions += 1
        nudge?.send()
        if job.keepsTimes {
            report.numbers.append(first)
            report.times.append(time)
            report.wasLong.append(isLong)
        }
    }

    /// What a transaction of this job does between BEGIN and COMMIT.
    private func write(_ number: Int) throws {
        switch job.work {
        case .business, .insert, .enqueue, .enqueueAndNotify:
            try connection.execute("business", ["an order of the benchmark"])
        case .insertMany, .enqueueMany: break
        }
        switch job.work {
        case .business: break
        case .insert, .enqueue: try connection.execute(job.work.rawValue, [payload(number)])
        case .insertMany, .enqueueMany:
            let payloads = (0..<job.batch).map { "\"\(payload(number + $0 * job.clients))\"" }
            try connection.execute(job.work.rawValue, ["{\(payloads.joined(separator: ","))}"])
        case .enqueueAndNotify:
            try connection.execute("enqueue", [payload(number)])
            try connection.execute("notify")
        }
    }

    /// Begins with the task's number, and is as long as asked.
    private func payload(_ number: Int) -> String {
        let text = "\(number) "
        return text + filling.dropFirst(text.utf8.count)
    }
}
