// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// What a scenario found out about one variant of its subject: a value for each run, the floor's beside it, and what it
/// cost.
package struct ScenarioResult: Sendable {
    /// One measurement of the subject and, in the same minute, of the floor.
    package struct Run: Sendable {
        package var value: Double
        package var floor: Double?

        package init(value: Double, floor: Double? = nil) {
            self.value = value
            self.floor = floor
        }
    }

    /// A further number, such as the backlog at the end.
    package struct Figure: Sendable {
        package let name: String
        package let value: Double
        package let unit: String

        package init(_ name: String, _ value: Double, _ unit: String = "") {
            self.name = name
            self.value = value
            self.unit = unit
        }
    }

    package let scenario: String
    /// What is varied, such as `4 relays`.
    package let variant: String
    /// Of the values, such as `tasks/s`.
    package let unit: String
    package var runs: [Run]
    package var cost = Cost()
    package var floorCost: Cost?
    package var figures: [Figure] = []

    package init(_ scenario: String, _ variant: String, unit: String, runs: [Run]) {
        self.scenario = scenario
        self.variant = variant
        self.unit = unit
        self.runs = runs
    }

    package var value: Spread { Spread(runs.map(\.value)) }
    package var floor: Spread? { Spread(ofAll: runs.map(\.floor)) }
    /// The runs' own ratios, each of two measurements that were next to each other: their median says more than the
    /// ratio of the medians.
    package var ratio: Spread? {
        Spread(ofAll: runs.map { run in run.floor.flatMap { $0 > 0 ? run.value / $0 : nil } })
    }
}

/// The middle of several measurements, and between which bounds they lie.
package struct Spread: Sendable {
    package let median: Double
    package let minimum: Double
    package let maximum: Double

    package init(_ values: [Double]) {
        median = values.median
        minimum = values.min() ?? .nan
        maximum = values.max() ?? .nan
    }

    /// `nil` if any is missing.
    init?(ofAll values: [Double?]) {
        let known = values.compactMap { $0 }
        guard !known.isEmpty, known.count == values.count else { return nil }
        self.init(known)
    }
}

extension Sequence where Element == Double {
    /// The middle value; of an even number, the mean of the two. Not a number if there is none.
    package var median: Double { percentile(50) }

    /// The value below which so many percent lie, interpolated between neighbours.
    package func percentile(_ percent: Double) -> Double {
        let sorted = sorted()
        guard let last = sorted.last else { return .nan }
        let position = percent / 100 * Double(sorted.count - 1)
        let index = Int(position)
        guard index + 1 < sorted.count else { return last }
        return sorted[index] + (sorted[index + 1] - sorted[index]) * (position - Double(index))
    }
}
