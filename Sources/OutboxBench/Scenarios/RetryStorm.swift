// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Outbox
internal import OutboxCore
internal import OutboxHTTP
internal import OutboxRelay
internal import PostgresClient
internal import Synchronization

/// One storm: the streams of tasks, the endpoint that fails for a while, and when each task was done.
struct RetryStorm: Sendable {
    enum Kind: String, CaseIterable {
        case failing = "bench.failing"
        case healthy = "bench.healthy"
        case handler = "bench.handler"

        var title: String {
            switch self {
            case .failing: "the failing endpoint"
            case .healthy: "a healthy endpoint"
            case .handler: "a Swift handler"
            }
        }
        fileprivate var path: String { self == .failing ? "/failing" : "/healthy" }
    }

    struct Report: Sendable {
        /// For each kind, the milliseconds from the enqueue to the end of every task that ended in a phase.
        var calm: [Kind: [Double]] = [:]
        var storm: [Kind: [Double]] = [:]
        var recovery: [Kind: [Double]] = [:]
        var calmLength = Duration.zero
        var stormLength = Duration.zero
        /// Until the last of the failed tasks was delivered.
        var recoveryLength = Duration.zero
        /// What came to the failing endpoint from the storm's beginning on.
        var failing = ReceiverLoad.Seen(path: "")
    }

    let context: BenchContext
    let receiver: LoadProcess
    let length: Duration
    /// Tasks of each kind in a second.
    let rate: Double
    /// How many further tasks for the failing endpoint come at the moment in which it begins to fail.
    let burst: Int
    private let done = Done()

    init(context: BenchContext, receiver: LoadProcess, length: Duration, rate: Double, burst: Int) {
        self.context = context
        self.receiver = receiver
        self.length = length
        self.rate = rate
        self.burst = burst
    }

    func handlers(_ transport: HTTPTransport, url: String) throws -> [Handler] {
        let endpoints = try [Kind.failing, .healthy].flatMap { kind in
            let endpoint = try HTTPEndpoint(name: kind.path, url: url + kind.path)
            return transport.handlers(deliveringTo: endpoint, kinds: [kind.rawValue]).map { handler in
                handler.watched { [done] task, outcome in if outcome == .succeeded { done.note(task, kind) } }
            }
        }
        return endpoints + [Handler(kind: Kind.handler.rawValue) { [done] task, _ in done.note(task, .handler) }]
    }

    func run() async throws -> Report {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await produce() }
            let report = try await goThrough()
            group.cancelAll()
            return report
        }
    }

    private func goThrough() async throws -> Report {
        let clock = ContinuousClock()
        var report = Report()
        _ = done.take()
        report.calmLength = try await clock.measure { try await Task.sleep(for: length) }
        report.calm = done.take()
        context.note("calm is over")

        let path = Kind.failing.path
        try await receiver.receiver(answer: [path: 503], remember: [path])
        report.stormLength = try await clock.measure {
            try await enqueue(.failing, burst)
            try await Task.sleep(for: length)
        }
        report.storm = done.take()
        context.note("the storm is over")

        try await receiver.receiver(answer: [path: 200])
        done.isRecovering.raise()
        report.recoveryLength = try await clock.measure { try await waitUntilDelivered(.failing) }
        report.recovery = done.take()
        done.isOver.raise()
        for kind in Kind.allCases { try await waitUntilDelivered(kind) }
        report.failing = try await receiver.receiver().seen(at: path)
        let dead = try await context.database.query(
            Statement("SELECT count(*) FROM \(context.schema.quoted).dead", binds: []))[0].decode(Int.self, at: 0)
        guard dead == 0 else {
            throw BenchFailure("\(dead) tasks became dead letters before their attempts were used up")
        }
        guard report.failing.acceptedKeys == report.failing.keys else {
            throw BenchFailure("\(report.failing.keys - report.failing.acceptedKeys) tasks were never delivered")
        }
        return report
    }

    /// Waits until no task of a kind is left. The backoff of one that failed until the end of the storm is about as long
    /// as the storm at most.
    private func waitUntilDelivered(_ kind: Kind) async throws {
        let schema = context.schema.quoted
        let count = Statement(
            """
            SELECT (SELECT count(*) FROM \(schema).ready WHERE kind = $1)
                 + (SELECT count(*) FROM \(schema).later WHERE kind = $1)
            """, binds: [kind.rawValue.bind])
        let end = ContinuousClock.now + length * 3 + .seconds(60)
        while case let left = try await context.database.query(count)[0].decode(Int.self, at: 0), left > 0 {
            guard ContinuousClock.now < end else { throw BenchFailure("\(left) tasks are not delivered") }
            try await Task.sleep(for: .milliseconds(50))
        }
    }

    // MARK: - Enqueueing

    /// Enqueues tasks at the rate, a few at a time: those for the failing endpoint until it answers again, the others until
    /// all of these are delivered.
    private func produce() async throws {
        let began = ContinuousClock.now
        var sent = 0
        while !done.isOver.isRaised {
            let due = Int((ContinuousClock.now - began).inSeconds * rate)
            if due > sent {
                for kind in Kind.allCases where kind != .failing || !done.isRecovering.isRaised {
                    try await enqueue(kind, due - sent)
                }
                sent = due
            }
            try await Task.sleep(for: .milliseconds(5))
        }
    }

    private func enqueue(_ kind: Kind, _ count: Int) async throws {
        guard count > 0 else { return }
        try await context.database.execute(
            Statement(
                """
                SELECT count(*) FROM \(context.schema.quoted).enqueue_many(ARRAY[$1],
                    ARRAY(SELECT $2 FROM generate_series(1, $3::int)))
                """, binds: [kind.rawValue.bind, "\(Monotonic.now)".bind, Int32(clamping: count).bind]))
    }
}

/// How long tasks took, noted as they end.
private final class Done: Sendable {
    private let delays = Mutex<[RetryStorm.Kind: [Double]]>([:])
    /// Raised when no more tasks for the failing endpoint are to come, and when no more of any kind.
    let isRecovering = Flag()
    let isOver = Flag()

    func note(_ task: ClaimedTask, _ kind: RetryStorm.Kind) {
        let delay = Double(Monotonic.now - Int64(Ledger.number(task.payload))) / 1e6
        delays.withLock { $0[kind, default: []].append(delay) }
    }

    /// What was noted since this was last called.
    func take() -> [RetryStorm.Kind: [Double]] {
        delays.withLock { delays in
            defer { delays = [:] }
            return delays
        }
    }
}
