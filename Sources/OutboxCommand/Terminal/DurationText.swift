// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// Durations as people write them: `500ms`, `10s`, `5m`, `2h`, `1d`, and with a fraction `1.5s`. The unit is never left out.
enum DurationText {
    static let rule = "write a number and a unit, such as 500ms, 10s, 5m, 2h or 1d"

    private static let milliseconds: [(unit: String, factor: Int64)] = [
        ("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000),
    ]

    /// Reads a duration; negative ones too, so that whoever wants none can say so. `nil` for anything else.
    static func parse(_ text: String) -> Duration? {
        var rest = text[...]
        let isNegative = rest.first == "-"
        if isNegative { rest = rest.dropFirst() }
        guard let unit = milliseconds.first(where: { rest.hasSuffix($0.unit) }) else { return nil }
        rest = rest.dropLast(unit.unit.count)
        let parts = rest.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
        guard let whole = parts.first, isDigits(whole), let count = Int64(whole) else { return nil }
        var (total, overflow) = count.multipliedReportingOverflow(by: unit.factor * 1000)
        if parts.count == 2 {
            // microseconds: a fraction below them is nothing that anyone can mean
            guard isDigits(parts[1]), parts[1].utf8.count <= 9 else { return nil }
            var factor = unit.factor * 1000 * 1000
            var fraction: Int64 = 0
            for digit in parts[1].utf8 {
                factor /= 10
                fraction += Int64(digit - UInt8(ascii: "0")) * factor
            }
            (total, overflow) = (total.addingReportingOverflow(fraction / 1000).partialValue, overflow)
        }
        // a thousand years is more than anything here can mean, and far from the bounds of what Duration holds
        guard !overflow, total <= 1000 * 366 * 86_400 * 1_000_000 else { return nil }
        return .microseconds(isNegative ? -total : total)
    }

    private static func isDigits(_ text: Substring) -> Bool {
        !text.isEmpty && text.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
    }

    /// A duration in the largest unit that shows it without a fraction.
    static func exact(_ duration: Duration) -> String {
        let (seconds, attoseconds) = duration.components
        let total = seconds * 1000 + attoseconds / 1_000_000_000_000_000
        let unit = milliseconds.last { total != 0 && total % $0.factor == 0 } ?? milliseconds[1]
        return "\(total / unit.factor)\(unit.unit)"
    }

    /// A duration for a glance: its largest unit and the next, such as `3m 20s`.
    static func rough(_ duration: Duration) -> String {
        let total = max(0, duration.components.seconds)
        switch total {
        case ..<60: return "\(total)s"
        case ..<3600: return "\(total / 60)m \(total % 60)s"
        case ..<86_400: return "\(total / 3600)h \(total % 3600 / 60)m"
        default: return "\(total / 86_400)d \(total % 86_400 / 3600)h"
        }
    }
}
