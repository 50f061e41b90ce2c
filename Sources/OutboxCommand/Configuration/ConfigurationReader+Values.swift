// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// Values of other types than text, each with its bounds.
extension ConfigurationReader {
    mutating func duration(
        _ key: String, in section: Section, default value: Duration, bounds: ClosedRange<Duration>
    ) -> Duration {
        guard let found = text(key, in: section) else { return value }
        guard let duration = DurationText.parse(found.value) else {
            report(found.origin, "\(section.name(of: key)) is not a duration: \(DurationText.rule)")
            return value
        }
        guard bounds.contains(duration) else {
            let range = "\(DurationText.exact(bounds.lowerBound)) to \(DurationText.exact(bounds.upperBound))"
            report(found.origin, "\(section.name(of: key)) must be \(range), not \(DurationText.exact(duration))")
            return value
        }
        return duration
    }

    mutating func integer(
        _ key: String, in section: Section, default value: Int, bounds: ClosedRange<Int>
    ) -> Int {
        guard let found = text(key, in: section) else { return value }
        guard let integer = Int(found.value), bounds.contains(integer) else {
            report(
                found.origin,
                "\(section.name(of: key)) must be a whole number from \(bounds.lowerBound) to \(bounds.upperBound)"
            )
            return value
        }
        return integer
    }

    mutating func number(
        _ key: String, in section: Section, default value: Double, bounds: ClosedRange<Double>
    ) -> Double {
        guard let found = text(key, in: section) else { return value }
        guard let number = Double(found.value), bounds.contains(number) else {
            report(
                found.origin,
                "\(section.name(of: key)) must be a number from \(bounds.lowerBound) to \(bounds.upperBound)")
            return value
        }
        return number
    }

    mutating func flag(_ key: String, in section: Section, default value: Bool) -> Bool {
        guard let found = text(key, in: section) else { return value }
        guard let flag = Bool(found.value) else {
            report(found.origin, "\(section.name(of: key)) must be true or false")
            return value
        }
        return flag
    }

    mutating func choice<Value: RawRepresentable & CaseIterable>(
        _ key: String, in section: Section, default value: Value
    ) -> Value where Value.RawValue == String {
        guard let found = text(key, in: section) else { return value }
        guard let choice = Value(rawValue: found.value) else {
            let choices = Value.allCases.map(\.rawValue).joined(separator: ", ")
            report(found.origin, "\(section.name(of: key)) must be one of \(choices)")
            return value
        }
        return choice
    }

    /// The members of a mapping of free names to texts that may be secrets, in the order of the file.
    mutating func table(_ key: String, in parent: Section) -> [(name: String, value: String)] {
        let section = section(key, in: parent, known: nil)
        return section.members.compactMap { member in
            text(member.name, in: section, secret: true).map { (member.name, $0.value) }
        }
    }
}
