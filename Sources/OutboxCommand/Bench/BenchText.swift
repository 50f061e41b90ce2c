// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import OutboxBench

/// The results of a scenario as a table for people.
enum BenchText {
    static func print(_ results: [ScenarioResult]) { Terminal.output.write(text(results)) }

    static func text(_ results: [ScenarioResult]) -> String {
        guard let first = results.first else { return "" }
        var table = Table(
            "\(first.scenario)", "result", "", "floor", "ratio", "min..max", "relay CPU", "Postgres CPU", "WAL/task",
            "buffers", "memory", right: [1, 3, 4, 5, 6, 7, 8, 9, 10])
        for result in results {
            table.add(
                cells: [
                    result.variant, number(result.value.median), result.unit, number(result.floor?.median),
                    ratio(result.ratio?.median),
                    result.ratio.map { "\(ratio($0.minimum))..\(ratio($0.maximum))" } ?? "",
                ] + cells(of: result.cost))
            if let cost = result.floorCost {
                table.add(cells: ["  its floor", "", "", "", "", ""] + cells(of: cost))
            }
        }
        return table.text + results.compactMap(figures).joined() + "\n"
    }

    /// A line with a result's further figures; those of windows of time in a row.
    private static func figures(_ result: ScenarioResult) -> String? {
        guard let first = result.figures.first else { return nil }
        if first.name == "window 1" {
            return "  \(result.variant), by window: \(result.figures.map { number($0.value) }.joined(separator: " "))\n"
        }
        let texts = result.figures.map { "\($0.name) \(number($0.value))\($0.unit.isEmpty ? "" : " ")\($0.unit)" }
        return "  \(result.variant): \(texts.joined(separator: ", "))\n"
    }

    /// The legend under the last table.
    static let legend = """
        ratio         result over floor: the median of the runs' ratios, and the lowest and highest; for times, less
                      is better
        relay CPU     milliseconds for 1,000 tasks of the process that is the relay, or the floor's loop
        Postgres CPU  the same of the whole server, whoever uses it; empty if it is not on this machine
        WAL/task      bytes
        buffers       shared buffers that a claim touches
        memory        resident

        """

    private static func cells(of cost: Cost) -> [String] {
        [
            number(cost.ownCPU), number(cost.postgresCPU), number(cost.walBytes), number(cost.claimBuffers),
            cost.residentBytes.map { "\(number($0 / 1_048_576)) MB" } ?? "",
        ]
    }

    private static func ratio(_ value: Double?) -> String {
        guard let value, value.isFinite else { return "" }
        return fixed(value, 2)
    }

    /// Three significant digits, or all of those before the point.
    private static func number(_ value: Double?) -> String {
        guard let value else { return "" }
        guard value.isFinite else { return "not known" }
        switch abs(value) {
        case ..<10: return fixed(value, 2)
        case ..<100: return fixed(value, 1)
        default: return fixed(value, 0)
        }
    }

    private static func fixed(_ value: Double, _ digits: Int) -> String {
        var factor = 1
        for _ in 0..<digits { factor *= 10 }
        let scaled = Int((abs(value) * Double(factor)).rounded())
        let sign = value < 0 && scaled > 0 ? "-" : ""
        guard digits > 0 else { return "\(sign)\(scaled)" }
        let fraction = String(scaled % factor)
        return "\(sign)\(scaled / factor)." + String(repeating: "0", count: digits - fraction.count) + fraction
    }
}
