// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// A moment of the Gregorian calendar in UTC, taken apart and put together without a calendar library.
///
/// Both directions are the day-counting algorithms of Howard Hinnant, exact for every year of the proleptic calendar:
/// <https://howardhinnant.github.io/date_algorithms.html>.
package struct CalendarTime: Hashable, Sendable {
    package var year: Int
    /// 1 to 12.
    package var month: Int
    /// 1 to 31.
    package var day: Int
    package var hour = 0
    package var minute = 0
    /// 0 to 60: a leap second counts as the first second of the next minute.
    package var second = 0

    package init(year: Int, month: Int, day: Int, hour: Int = 0, minute: Int = 0, second: Int = 0) {
        self.year = year
        self.month = month
        self.day = day
        self.hour = hour
        self.minute = minute
        self.second = second
    }

    /// Takes a moment apart.
    package init(secondsSinceEpoch seconds: Int64) {
        let (days, rest) = floorDivision(seconds, by: 86_400)
        // Days are counted from March 1st, so that a leap day is the last day of its year.
        let (era, dayOfEra) = floorDivision(days + 719_468, by: 146_097)
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthFromMarch = (5 * dayOfYear + 2) / 153
        let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
        self.init(
            year: Int(yearOfEra + era * 400 + (month <= 2 ? 1 : 0)),
            month: Int(month),
            day: Int(dayOfYear - (153 * monthFromMarch + 2) / 5 + 1),
            hour: Int(rest / 3600), minute: Int(rest / 60 % 60), second: Int(rest % 60)
        )
    }

    /// Whether the fields name a moment that exists.
    package var isValid: Bool {
        guard (1...12).contains(month), day >= 1, (0...23).contains(hour), (0...59).contains(minute) else {
            return false
        }
        let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
        let length = [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1]
        return day <= length && (0...60).contains(second)
    }

    /// The moment as seconds since 1970-01-01T00:00:00Z.
    package var secondsSinceEpoch: Int64 {
        let (era, yearOfEra) = floorDivision(Int64(month <= 2 ? year - 1 : year), by: 400)
        let dayOfYear = Int64((153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1)
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        let days = era * 146_097 + dayOfEra - 719_468
        return days * 86_400 + Int64(hour * 3600 + minute * 60 + second)
    }

    /// A moment in microseconds since the Unix epoch as RFC 3339 text in UTC, such as `2026-11-24T20:49:15.000250Z`.
    package static func rfc3339(microsecondsSinceEpoch microseconds: Int64) -> String {
        let (seconds, fraction) = floorDivision(microseconds, by: 1_000_000)
        let time = CalendarTime(secondsSinceEpoch: seconds)
        let date = "\(padded(time.year, to: 4))-\(padded(time.month, to: 2))-\(padded(time.day, to: 2))"
        let clock = "\(padded(time.hour, to: 2)):\(padded(time.minute, to: 2)):\(padded(time.second, to: 2))"
        return "\(date)T\(clock).\(padded(Int(fraction), to: 6))Z"
    }
}

/// Division that rounds towards minus infinity, so that moments before 1970 come out right.
private func floorDivision(_ dividend: Int64, by divisor: Int64) -> (quotient: Int64, remainder: Int64) {
    let (quotient, remainder) = dividend.quotientAndRemainder(dividingBy: divisor)
    return remainder < 0 ? (quotient - 1, remainder + divisor) : (quotient, remainder)
}

private func padded(_ number: Int, to width: Int) -> String {
    let digits = String(number)
    return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
}
