// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// The identity of a task: a UUID made when the task is enqueued and never changed after.
///
/// It is the default idempotency key and the `webhook-id` of a delivery. It is random, never a sequence number: after
/// a failover to an asynchronous standby a database issues sequence numbers again, and a receiver that remembers
/// keys would then drop a new task.
public struct TaskID: Hashable, Sendable {
    package let high: UInt64
    package let low: UInt64

    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// Makes a random identity (UUID version 4, RFC 9562 section 5.4).
    public static func random(using generator: inout some RandomNumberGenerator) -> TaskID {
        TaskID(
            high: generator.next() & ~0xF000 | 0x4000,
            low: generator.next() & ~(0b11 << 62) | 0b10 << 62
        )
    }

    /// Makes a random identity from the system's generator.
    public static func random() -> TaskID {
        var generator = SystemRandomNumberGenerator()
        return random(using: &generator)
    }

    /// Reads the canonical text form, 32 hexadecimal digits in five groups; `nil` for anything else.
    public init?(_ text: some StringProtocol) {
        var halves: (UInt64, UInt64) = (0, 0)
        var digits = 0
        for (position, byte) in text.utf8.enumerated() {
            if position == 8 || position == 13 || position == 18 || position == 23 {
                guard byte == UInt8(ascii: "-") else { return nil }
                continue
            }
            guard digits < 32, let value = hexadecimalValue(byte) else { return nil }
            if digits < 16 { halves.0 = halves.0 << 4 | value } else { halves.1 = halves.1 << 4 | value }
            digits += 1
        }
        guard digits == 32 else { return nil }
        self.init(high: halves.0, low: halves.1)
    }
}

extension TaskID: CustomStringConvertible {
    /// The canonical text form in lower case.
    public var description: String {
        String(unsafeUninitializedCapacity: 36) { buffer in
            let digits: StaticString = "0123456789abcdef"
            var position = 0
            for (half, first) in [(high, 0), (low, 16)] {
                for digit in 0..<16 {
                    switch first + digit {
                    case 8, 12, 16, 20:
                        buffer[position] = UInt8(ascii: "-")
                        position += 1
                    default: break
                    }
                    buffer[position] = digits.utf8Start[Int(half >> UInt64(60 - 4 * digit) & 0xF)]
                    position += 1
                }
            }
            return position
        }
    }
}

private func hexadecimalValue(_ byte: UInt8) -> UInt64? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt64(byte - UInt8(ascii: "0"))
    case UInt8(ascii: "a")...UInt8(ascii: "f"): UInt64(byte - UInt8(ascii: "a") + 10)
    case UInt8(ascii: "A")...UInt8(ascii: "F"): UInt64(byte - UInt8(ascii: "A") + 10)
    default: nil
    }
}
