// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Logging
import Outbox
import OutboxRelay
import OutboxTesting
import Synchronization
import Testing

/// Runs a test's body on a database of its own with the outbox in it.
func withOutbox(_ body: (Database) async throws -> Void) async throws {
    let database = Database(try await ThrowAwayPostgres.shared().makeOutbox())
    do {
        try await body(database)
    } catch {
        await database.close()
        throw error
    }
    await database.close()
}

/// Runs a relay beside the test's body, and stops it when the body is done.
func withRelay(
    _ database: Database, _ handlers: [Handler], alerts: [any AlertChannel] = [],
    configuration: RelayConfiguration = .quick, _ body: (Relay) async throws -> Void
) async throws {
    let relay = try Relay(
        database: database.configuration, handlers: handlers, alerts: alerts, configuration: configuration,
        logger: .quiet)
    let running = Task { try await relay.run() }
    do {
        try await body(relay)
    } catch {
        relay.stop()
        try? await running.value
        throw error
    }
    relay.stop()
    try await running.value
}

extension RelayConfiguration {
    /// Short times, so that tests that wait for them are over soon; but for the lease, which must not end because the
    /// machine is busy.
    static let quick = RelayConfiguration(
        concurrency: 16, lease: .seconds(20), poll: .milliseconds(5) ... .milliseconds(20),
        sweepInterval: .milliseconds(100),
        stopGrace: .seconds(10), cancellationGrace: .milliseconds(200), groupWait: .zero,
        groupInterval: .milliseconds(50))

    /// The same, with leases that end within a test's patience.
    static var shortLeases: RelayConfiguration {
        var configuration = quick
        configuration.lease = .seconds(1)
        return configuration
    }
}

extension Logger {
    static var quiet: Logger { Logger(label: "test") { _ in SwiftLogNoOpLogHandler() } }
}

/// A log that a test reads: each line's message, and the error in its metadata.
struct RecordingLog: LogHandler {
    let lines: Recorder<String>
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.info

    init(lines: Recorder<String>) { self.lines = lines }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        lines.record("\(event.message) \(event.metadata?["error"].map { "\($0)" } ?? "")")
    }
}

extension RetryPolicy {
    /// Retries at once, or nearly.
    static func quick(maxAttempts: Int = 20) -> RetryPolicy {
        RetryPolicy(maxAttempts: maxAttempts, backoff: .constant(.milliseconds(1)))
    }
}

/// Collects values from several tasks and lets a test wait for them.
final class Recorder<Value: Sendable>: Sendable {
    private struct State {
        var values: [Value] = []
        var waiters: [(count: Int, continuation: CheckedContinuation<Void, Never>)] = []
    }
    private let state = Mutex(State())

    var values: [Value] { state.withLock { $0.values } }

    func record(_ value: Value) {
        let ready = state.withLock { state in
            state.values.append(value)
            let ready = state.waiters.filter { $0.count <= state.values.count }
            state.waiters.removeAll { $0.count <= state.values.count }
            return ready
        }
        for waiter in ready { waiter.continuation.resume() }
    }

    /// Waits until there are so many values, or the test's time is over, which fails it.
    func wait(for count: Int) async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isReady = state.withLock { state in
                    let isReady = state.values.count >= count || Task.isCancelled
                    if !isReady { state.waiters.append((count, continuation)) }
                    return isReady
                }
                if isReady { continuation.resume() }
            }
        } onCancel: {
            let waiters = state.withLock { state in
                defer { state.waiters = [] }
                return state.waiters
            }
            for waiter in waiters { waiter.continuation.resume() }
        }
    }
}

/// A door that handlers wait at until the test opens it. Waiting heeds cancellation.
final class Gate: Sendable {
    private let stream: AsyncStream<Void>
    private let continuation: AsyncStream<Void>.Continuation

    init() { (stream, continuation) = AsyncStream.makeStream() }

    func open() { continuation.finish() }

    func pass() async throws {
        for await _ in stream {}
        try Task.checkCancellation()
    }
}

extension Database {
    func count(_ what: Statement) async throws -> Int {
        try await query(what)[0].decode(Int.self, at: 0)
    }

    /// How many tasks are left, in whatever state.
    func tasksLeft() async throws -> Int { try await count("SELECT count(*) FROM outbox.tasks") }
}

/// Waits until `condition` holds; a limit keeps a broken test from hanging. It asks again after a moment: the database does
/// not tell of a change, and asking without end would take the machine from those who are to make it.
func eventually(
    _ condition: () async throws -> Bool, sourceLocation: SourceLocation = #_sourceLocation
) async throws {
    let limit = ContinuousClock.now + .seconds(60)
    while ContinuousClock.now < limit {
        if try await condition() { return }
        try await Task.sleep(for: .milliseconds(5))
    }
    Issue.record("the condition did not come true", sourceLocation: sourceLocation)
}
