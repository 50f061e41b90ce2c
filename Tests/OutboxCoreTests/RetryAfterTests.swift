// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import OutboxCore
import Testing

@Suite struct RetryAfterTests {
    /// 1994-11-06T08:49:37Z, the moment of the examples in RFC 9110 section 5.6.7.
    static let example: Int64 = 784_111_777

    @Test(arguments: [
        "Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994",
    ])
    func readsAllThreeDateForms(date: String) {
        #expect(RetryAfter.parse(date, nowSecondsSinceEpoch: Self.example - 90) == .seconds(90))
        #expect(RetryAfter.parse(date, nowSecondsSinceEpoch: Self.example + 90) == .zero)
        #expect(HTTPDate.parse(date, nowSecondsSinceEpoch: Self.example) == Self.example)
    }

    @Test(arguments: [
        ("0", 0), ("7", 7), ("120", 120), (" 7\t", 7), ("007", 7),
        ("31536000", 31_536_000), ("31536001", 31_536_000), (String(repeating: "9", count: 400), 31_536_000),
    ])
    func readsDelays(value: String, seconds: Int) {
        #expect(RetryAfter.parse(value, nowSecondsSinceEpoch: 0) == .seconds(seconds))
    }

    @Test(arguments: [
        "", " ", "-1", "+1", "1.5", "1 2", "1s", "soon", "٣",
        "sun, 06 Nov 1994 08:49:37 GMT", "Sun, 6 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 94 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 UTC", "Sun, 06 Nov 1994 08:49:37 +0000", "Sun, 06 Nov 1994 08:49 GMT",
        "Sun, 31 Nov 1994 08:49:37 GMT", "Sun, 00 Nov 1994 08:49:37 GMT", "Sun, 29 Feb 1900 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT", "Sun, 06 Nov 1994 08:60:37 GMT", "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT+1", "Sunday, 06 Nov 1994 08:49:37 GMT", "Sun Nov 6 08:49:37 1994",
        "1994-11-06T08:49:37Z",
    ])
    func refusesEverythingElse(value: String) {
        #expect(RetryAfter.parse(value, nowSecondsSinceEpoch: 0) == nil)
    }

    @Test func aDateFarAheadIsCapped() {
        #expect(RetryAfter.parse("Fri, 31 Dec 9999 23:59:59 GMT", nowSecondsSinceEpoch: 0) == RetryAfter.longest)
    }

    /// "more than 50 years in the future" is the past: RFC 9110 section 5.6.7.
    @Test(arguments: [
        (2026, "26", 2026), (2026, "75", 2075), (2026, "77", 1977), (2099, "01", 2101), (1970, "69", 1969),
    ])
    func twoDigitYearsLieWithinFiftyYearsAhead(now: Int, digits: String, year: Int) {
        let now = CalendarTime(year: now, month: 1, day: 1).secondsSinceEpoch
        let date = HTTPDate.parse("Monday, 01-Mar-\(digits) 00:00:00 GMT", nowSecondsSinceEpoch: now)
        #expect(date == CalendarTime(year: year, month: 3, day: 1).secondsSinceEpoch)
    }

    @Test func calendarAndSecondsAgreeOverFourCenturies() {
        // A prime number of seconds, so that every time of day comes up: some 20,000 moments from 1900 to 2300.
        var seconds = CalendarTime(year: 1900, month: 1, day: 1).secondsSinceEpoch
        let end = CalendarTime(year: 2300, month: 1, day: 1).secondsSinceEpoch
        while seconds < end {
            let time = CalendarTime(secondsSinceEpoch: seconds)
            #expect(time.isValid && time.secondsSinceEpoch == seconds)
            seconds += 630_023
        }
        #expect(CalendarTime(secondsSinceEpoch: 951_782_400) == CalendarTime(year: 2000, month: 2, day: 29))
    }

    @Test(arguments: [
        (0, "1970-01-01T00:00:00.000000Z"), (-1, "1969-12-31T23:59:59.999999Z"),
        (784_111_777_000_250, "1994-11-06T08:49:37.000250Z"),
    ])
    func writesRFC3339(microseconds: Int, text: String) {
        #expect(CalendarTime.rfc3339(microsecondsSinceEpoch: Int64(microseconds)) == text)
    }
}
