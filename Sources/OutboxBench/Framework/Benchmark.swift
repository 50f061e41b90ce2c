// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Outbox
package import PostgresClient

/// Runs scenarios one after the other, each in a schema of the benchmark's own that is gone afterwards.
package struct Benchmark: Sendable {
    private let configuration: DatabaseConfiguration
    private let url: String
    private let sizes: BenchSizes
    private let note: @Sendable (String) -> Void

    /// - Parameters:
    ///   - url: The same database for libpq, which floors and load processes use bare.
    ///   - note: Told what is going on, for a person who waits.
    package init(
        _ configuration: DatabaseConfiguration, url: String, sizes: BenchSizes = BenchSizes(),
        note: @escaping @Sendable (String) -> Void = { _ in }
    ) {
        self.configuration = configuration
        self.url = url
        self.sizes = sizes
        self.note = note
    }

    /// - Parameter report: Given a scenario's results as soon as there are any.
    /// - Throws: What a scenario throws; the schema is dropped all the same, also if the task is cancelled.
    package func run(
        _ scenarios: [any Scenario], report: ([ScenarioResult]) async throws -> Void
    ) async throws {
        var configuration = configuration
        configuration.callTimeout = .seconds(600)
        configuration.applicationName = "outbox bench"
        let database = Database(configuration)
        do {
            let claim = try await BenchSchema.Claim(database)
            for scenario in scenarios {
                try await report(run(scenario, configuration, database))
            }
            await claim.release()
            await database.close()
        } catch {
            await database.close()
            // a call that ended because the task was cancelled says so in its own way
            throw Task.isCancelled ? CancellationError() : error
        }
    }

    private func run(
        _ scenario: any Scenario, _ configuration: DatabaseConfiguration, _ database: Database
    ) async throws -> [ScenarioResult] {
        let bench = BenchSchema(database)
        do {
            try await bench.make()
            let context = BenchContext(
                url: url, configuration: configuration, database: database, bench: bench, sizes: sizes,
                meter: try await Meter(database), note: { [note] in note("\(scenario.name): \($0)") })
            let results = try await scenario.measure(in: context)
            try await bench.drop()
            return results
        } catch {
            do { try await bench.drop() } catch let second { note("the schema is left as it is: \(second)") }
            throw error
        }
    }
}
