// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Logging
package import Outbox
package import OutboxRelay
package import PostgresClient

/// What a scenario has to work with: the database, the benchmark's schema in it, sizes and instruments.
package struct BenchContext: Sendable {
    /// The database for libpq.
    package let url: String
    package let configuration: DatabaseConfiguration
    /// For what is not measured: filling, counting, probing.
    package let database: Database
    let bench: BenchSchema
    package let sizes: BenchSizes
    package let meter: Meter
    /// Tells a person who waits what is going on.
    package let note: @Sendable (String) -> Void

    package var schema: Schema { bench.schema }

    /// A relay on the benchmark's schema that logs nothing.
    ///
    /// - Parameter watch: Told of every exchange with the database.
    package func relay(
        _ handlers: [Handler], concurrency: Int? = nil, nudgeSocket: String? = nil, watch: ClaimWatch? = nil
    ) throws -> Relay {
        var settings = RelayConfiguration(schema: schema, concurrency: concurrency ?? sizes.concurrency)
        settings.nudgeSocket = nudgeSocket
        if let watch { settings.observe = { watch.note($0) } }
        return try Relay(
            database: configuration, handlers: handlers, configuration: settings,
            logger: Logger(label: "bench") { _ in SwiftLogNoOpLogHandler() })
    }

    /// Runs relays until `body` returns, and then until everything that they hold is settled.
    ///
    /// - Throws: What `body` throws, or a relay that could not go on, whichever comes first.
    package func running<R: Sendable>(
        _ relays: [Relay], _ body: @escaping @Sendable () async throws -> R
    ) async throws -> R {
        try await withThrowingTaskGroup(of: R?.self) { group in
            for relay in relays {
                group.addTask {
                    try await relay.run()
                    return nil
                }
            }
            group.addTask { try await body() }
            var result: R?
            while let ended = try await group.next() {
                guard let ended else { continue }
                result = ended
                for relay in relays { relay.stop() }
            }
            guard let result else { throw CancellationError() }
            return result
        }
    }
}
