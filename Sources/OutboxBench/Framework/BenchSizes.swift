// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// How much to measure, as far as the command line says; what is `nil` is the scenario's own default.
package struct BenchSizes: Sendable {
    /// How often floor and subject are measured, in turn.
    package var runs: Int?
    /// How many tasks a run drains.
    package var tasks: Int?
    /// The bytes of each payload.
    package var payload = 200
    /// How many tasks a relay runs at once.
    package var concurrency = 1000
    /// How long each part of a scenario that goes by time lasts.
    package var seconds: Double?
    /// How many tasks are enqueued in a second.
    package var rate: Double?
    /// How many clients enqueue at once.
    package var clients: [Int]?

    package init() {}
}
