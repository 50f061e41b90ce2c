// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Testing

@testable import OutboxCommand

@Suite struct DurationTextTests {
    @Test(arguments: [
        ("500ms", Duration.milliseconds(500)), ("10s", .seconds(10)), ("5m", .seconds(300)),
        ("2h", .seconds(7200)),
        ("1d", .seconds(86_400)), ("0s", .zero), ("1.5s", .milliseconds(1500)), ("0.25ms", .microseconds(250)),
        ("1.5h", .seconds(5400)), ("-3s", .seconds(-3)), ("007s", .seconds(7)), ("0.1d", .seconds(8640)),
        ("366000d", .seconds(366_000 * 86_400)),
    ])
    func whatPeopleWriteIsRead(_ text: String, _ duration: Duration) {
        #expect(DurationText.parse(text) == duration)
    }

    @Test(arguments: [
        "", "s", "10", "10 s", " 10s", "10S", "1w", "1,5s", "1.s", ".5s", "1e3s", "+1s", "--1s", "0x1s", "1s2s",
        "1.2.3s", "٣s",
        "366001d", "99999999999999999999s", "9223372036854775807d", "nan", "1.0000000001s",
    ])
    func anythingElseIsRefused(_ text: String) {
        #expect(DurationText.parse(text) == nil)
    }

    @Test(arguments: ["500ms", "10s", "5m", "2h", "1d", "90s", "0s", "36h"])
    func anExactDurationIsWrittenInItsLargestUnit(_ text: String) throws {
        #expect(DurationText.exact(try #require(DurationText.parse(text))) == text)
    }

    @Test func aGlanceHasTwoUnits() {
        #expect(DurationText.rough(.milliseconds(900)) == "0s")
        #expect(DurationText.rough(.seconds(59)) == "59s")
        #expect(DurationText.rough(.seconds(200)) == "3m 20s")
        #expect(DurationText.rough(.seconds(7260)) == "2h 1m")
        #expect(DurationText.rough(.seconds(90_000)) == "1d 1h")
        #expect(DurationText.rough(.seconds(-5)) == "0s")
    }

    @Test(arguments: [
        ("1970-01-01T00:00:00Z", 0), ("2026-11-24T20:49:15Z", 1_795_553_355_000_000),
        ("2026-11-24T21:49:15+01:00", 1_795_553_355_000_000), ("2026-11-24 20:49:15.25z", 1_795_553_355_250_000),
        ("2026-11-24T19:19:15.123456789-01:30", 1_795_553_355_123_456),
        ("2024-02-29T00:00:00Z", 1_709_164_800_000_000),
    ])
    func instantsAreRead(_ text: String, _ microseconds: Int64) {
        #expect(InstantText.parse(text) == microseconds)
    }

    @Test(arguments: [
        "", "now", "2026-11-24", "2026-11-24T20:49:15", "2026-11-24T20:49Z", "2025-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-11-24T24:00:00Z", "2026-11-24T20:49:15Zx", "2026-11-24T20:49:15.Z", "2026-11-24T20:49:15+1:00",
        "26-11-24T20:49:15Z",
        "2026-11-24T20:49:15+24:00",
    ])
    func anyOtherTimeIsRefused(_ text: String) {
        #expect(InstantText.parse(text) == nil)
    }
}
