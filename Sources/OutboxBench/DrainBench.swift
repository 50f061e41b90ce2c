// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Logging
internal import Outbox
internal import OutboxCore
internal import OutboxRelay
package import PostgresClient
internal import Synchronization

/// How fast a relay drains tasks that are there already, beside the floor of the same run.
package struct DrainBench: Sendable {
    package var tasks = 100_000
    package var payloadBytes = 200
    package var runs = 3
    package var concurrency = 1000

    package init() {}

    package struct Run: Sendable {
        /// Tasks in a second.
        package let floor: Double
        package let relay: Double
        /// CPU time of this process for a thousand tasks.
        package let relayCPU: Duration
        package var ratio: Double { relay / floor }
    }

    /// Measures floor and relay in turn, so that both see the same machine.
    package func measure(
        _ configuration: DatabaseConfiguration, connectionString: String, report: @Sendable (Run) -> Void
    ) async throws -> [Run] {
        let database = Database(configuration)
        let bench = try await BenchSchema(database)
        var results: [Run] = []
        do {
            for _ in 0..<runs {
                try await bench.preload(tasks, payloadBytes: payloadBytes)
                let floor = FloorLoop(connectionString: connectionString, schema: bench.schema, batch: 500)
                var done = 0
                let floorTime = try ContinuousClock().measure { done = try floor.run() }
                guard done == tasks else {
                    throw FloorLoop.Failed(description: "the floor drained \(done) of \(tasks)")
                }

                try await bench.preload(tasks, payloadBytes: payloadBytes)
                let cpu = CPUTime.now
                let time = try await drain(configuration, bench.schema)
                guard try await bench.isEmpty() else {
                    throw FloorLoop.Failed(description: "the relay left tasks behind")
                }
                let run = Run(
                    floor: Double(tasks) / floorTime.inSeconds, relay: Double(tasks) / time.inSeconds,
                    relayCPU: (CPUTime.now - cpu) / (Double(tasks) / 1000))
                report(run)
                results.append(run)
            }
        } catch {
            try await bench.drop()
            throw error
        }
        try await bench.drop()
        await database.close()
        return results
    }

    private func drain(_ configuration: DatabaseConfiguration, _ schema: Schema) async throws -> Duration {
        let left = Atomic(tasks)
        let finished = AsyncStream<Void>.makeStream()
        let handler = Handler(kind: "bench.task") { _, _ in
            if left.subtract(1, ordering: .relaxed).newValue == 0 { finished.continuation.finish() }
        }
        let relay = try Relay(
            database: configuration, handlers: [handler],
            configuration: RelayConfiguration(schema: schema, concurrency: concurrency),
            logger: Logger(label: "bench") { _ in SwiftLogNoOpLogHandler() })
        let began = ContinuousClock.now
        let running = Task { try await relay.run() }
        for await _ in finished.stream {}
        relay.stop()
        try await running.value
        return ContinuousClock.now - began
    }
}

extension Sequence where Element == Double {
    /// The middle value; of an even number, the lower of the two.
    package var median: Double {
        let sorted = sorted()
        return sorted.isEmpty ? .nan : sorted[(sorted.count - 1) / 2]
    }
}
