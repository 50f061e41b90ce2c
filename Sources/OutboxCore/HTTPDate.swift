// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// Reads the three date forms that RFC 9110 section 5.6.7 obliges a recipient to accept.
///
///     Sun, 06 Nov 1994 08:49:37 GMT    IMF-fixdate, what senders must produce
///     Sunday, 06-Nov-94 08:49:37 GMT   RFC 850, obsolete, with a year of two digits
///     Sun Nov  6 08:49:37 1994         the C library's asctime(), obsolete
///
/// The grammar is case-sensitive. The name of the day must be one; whether it fits the date is not checked.
/// <https://www.rfc-editor.org/rfc/rfc9110#section-5.6.7>
package enum HTTPDate {
    /// Seconds since the Unix epoch, or `nil` if the text has none of the three forms or names no real moment.
    ///
    /// `now` decides the century of a year of two digits: a date that would be more than 50 years ahead is the most
    /// recent past year with those digits.
    package static func parse(_ text: some StringProtocol, nowSecondsSinceEpoch now: Int64) -> Int64? {
        var cursor = Cursor(rest: Array(text.utf8)[...])
        guard let time = cursor.date(now: now), cursor.rest.isEmpty, time.isValid else { return nil }
        return time.secondsSinceEpoch
    }

    fileprivate static let shortDays = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
    fileprivate static let longDays = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
    fileprivate static let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]
}

/// What has not been read yet. Every reader consumes what it recognises or returns `nil`.
private struct Cursor {
    var rest: ArraySlice<UInt8>

    mutating func date(now: Int64) -> CalendarTime? {
        if name(HTTPDate.longDays) != nil { return rfc850(now: now) }
        guard name(HTTPDate.shortDays) != nil else { return nil }
        return rest.first == UInt8(ascii: ",") ? fixdate() : asctime()
    }

    private mutating func fixdate() -> CalendarTime? {
        guard literal(", "), let day = digits(2), literal(" "), let month = name(HTTPDate.months), literal(" "),
            let year = digits(4), literal(" "), let clock = clock(), literal(" GMT")
        else { return nil }
        return time(year, month, day, clock)
    }

    private mutating func rfc850(now: Int64) -> CalendarTime? {
        guard literal(", "), let day = digits(2), literal("-"), let month = name(HTTPDate.months), literal("-"),
            let shortYear = digits(2), literal(" "), let clock = clock(), literal(" GMT")
        else { return nil }
        let century = CalendarTime(secondsSinceEpoch: now).year / 100 * 100
        let fiftyYears: Int64 = 50 * 31_556_952
        var candidate = time(century + 100 + shortYear, month, day, clock)
        while candidate.secondsSinceEpoch > now + fiftyYears { candidate.year -= 100 }
        return candidate
    }

    private mutating func asctime() -> CalendarTime? {
        guard literal(" "), let month = name(HTTPDate.months), literal(" "),
            let day = literal(" ") ? digits(1) : digits(2), literal(" "), let clock = clock(), literal(" "),
            let year = digits(4)
        else { return nil }
        return time(year, month, day, clock)
    }

    private mutating func clock() -> (hour: Int, minute: Int, second: Int)? {
        guard let hour = digits(2), literal(":"), let minute = digits(2), literal(":"), let second = digits(2) else {
            return nil
        }
        return (hour, minute, second)
    }

    private func time(_ year: Int, _ month: Int, _ day: Int, _ clock: (Int, Int, Int)) -> CalendarTime {
        CalendarTime(year: year, month: month + 1, day: day, hour: clock.0, minute: clock.1, second: clock.2)
    }

    private mutating func literal(_ text: StaticString) -> Bool {
        guard rest.starts(with: UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)) else {
            return false
        }
        rest = rest.dropFirst(text.utf8CodeUnitCount)
        return true
    }

    private mutating func name(_ names: [String]) -> Int? {
        guard let index = names.firstIndex(where: { rest.starts(with: $0.utf8) }) else { return nil }
        rest = rest.dropFirst(names[index].utf8.count)
        return index
    }

    private mutating func digits(_ count: Int) -> Int? {
        guard rest.count >= count else { return nil }
        var number = 0
        for byte in rest.prefix(count) {
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else { return nil }
            number = number * 10 + Int(byte - UInt8(ascii: "0"))
        }
        rest = rest.dropFirst(count)
        return number
    }
}
