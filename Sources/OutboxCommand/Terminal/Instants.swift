// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import OutboxCore
internal import PostgresClient

extension PostgresTimestamp {
    /// RFC 3339 in UTC with microseconds, for programs.
    var rfc3339: String {
        switch microsecondsSinceEpoch {
        case .max: "infinity"
        case .min: "-infinity"
        default: CalendarTime.rfc3339(microsecondsSinceEpoch: microsecondsSinceEpoch)
        }
    }

    /// RFC 3339 in UTC to the second, for people.
    var shown: String {
        let text = rfc3339
        return text.hasSuffix("Z") && text.count == 27 ? text.prefix(19) + "Z" : text
    }
}

/// A moment as RFC 3339 writes it: `2026-11-24T20:49:15Z`, with a fraction or an offset if need be.
enum InstantText {
    static let rule = "write a time as RFC 3339 does, such as 2026-11-24T20:49:15Z or 2026-11-24T21:49:15+01:00"

    /// Microseconds since the Unix epoch; `nil` for anything that is not such a time.
    static func parse(_ text: String) -> Int64? {
        let bytes = Array(text.utf8)
        func number(_ range: Range<Int>) -> Int? {
            guard range.upperBound <= bytes.count else { return nil }
            var value = 0
            for byte in bytes[range] {
                guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else { return nil }
                value = value * 10 + Int(byte - UInt8(ascii: "0"))
            }
            return value
        }
        func stands(_ characters: String, at position: Int) -> Bool {
            position < bytes.count && characters.utf8.contains(bytes[position])
        }
        guard let year = number(0..<4), let month = number(5..<7), let day = number(8..<10),
            let hour = number(11..<13), let minute = number(14..<16), let second = number(17..<19),
            stands("-", at: 4), stands("-", at: 7), stands("Tt ", at: 10), stands(":", at: 13), stands(":", at: 16)
        else { return nil }
        let time = CalendarTime(year: year, month: month, day: day, hour: hour, minute: minute, second: second)
        guard time.isValid else { return nil }
        var position = 19
        var fraction = 0
        if stands(".", at: position) {
            let start = position + 1
            position = start
            while stands("0123456789", at: position) { position += 1 }
            guard position > start, let value = number(start..<min(position, start + 6)) else { return nil }
            fraction = (0..<max(0, 6 - (position - start))).reduce(value) { value, _ in value * 10 }
        }
        var offset = 0
        if stands("Zz", at: position) {
            position += 1
        } else if stands("+-", at: position), stands(":", at: position + 3),
            let hours = number(position + 1..<position + 3),
            let minutes = number(position + 4..<position + 6), hours < 24, minutes < 60
        {
            offset = (hours * 60 + minutes) * (bytes[position] == UInt8(ascii: "-") ? -60 : 60)
            position += 6
        } else {
            return nil
        }
        guard position == bytes.count else { return nil }
        return (time.secondsSinceEpoch - Int64(offset)) * 1_000_000 + Int64(fraction)
    }
}
