// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// One question that `outbox bench` answers, with the way to answer it.
///
/// A scenario measures its subject and a floor in turn, several times, so that both see the same machine: what can be
/// compared between machines, and between days, is the ratio. It enqueues and drains in the benchmark's own schema and
/// fails if a task was lost or run twice: a wrong answer is never a fast one.
package protocol Scenario: Sendable {
    /// What the command line calls it.
    var name: String { get }
    /// What it measures, in a line.
    var summary: String { get }
    /// What its figures are compared with, in a line.
    var floor: String { get }
    /// Its sizes where no option says otherwise, in a line.
    var defaults: String { get }
    /// How long it takes with these, as people say it.
    var takes: String { get }
    /// Whether it runs only when it is named.
    var isLong: Bool { get }

    /// Measures. Called once, on a schema that is empty and freshly made; it may leave it in any state.
    ///
    /// - Throws: ``BenchFailure`` if the outcome is not what it must be; `CancellationError`.
    func measure(in context: BenchContext) async throws -> [ScenarioResult]
}

extension Scenario {
    package var isLong: Bool { false }
}

/// Every scenario, in the order in which they run.
package enum Scenarios {
    package static let all: [any Scenario] = [
        DrainScenario(), SteadyScenario(), EnqueueScenario(), LatencyScenario(), HeldHorizonScenario(),
        LateCommitsScenario(), BacklogScenario(), HTTPScenario(), RetryStormScenario(),
    ]
}

/// A measurement that must not be believed, or that could not be taken.
package struct BenchFailure: Error, CustomStringConvertible {
    package let description: String
    /// What to do about it.
    package let hint: String?

    package init(_ description: String, hint: String? = nil) {
        self.description = description
        self.hint = hint
    }
}
