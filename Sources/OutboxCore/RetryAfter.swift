// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// The `Retry-After` field of an HTTP answer, RFC 9110 section 10.2.3: a number of seconds or a date.
///
/// <https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3>
package enum RetryAfter {
    /// The longest wait that is ever returned. A receiver that asks for more is asking never to be called again.
    package static let longest = Duration.seconds(365 * 86_400)

    /// How long the receiver asks to wait, from zero to ``longest``; `nil` if the value is neither form.
    ///
    /// `delay-seconds` is `1*DIGIT`: no sign and no fraction. A date may have any of the three forms that a recipient
    /// must accept (section 5.6.7); one that has passed asks for no wait.
    package static func parse(_ value: String, nowSecondsSinceEpoch now: Int64) -> Duration? {
        let text = Substring(value).trimmingBlanks()
        guard let first = text.utf8.first else { return nil }
        if (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first) {
            return delay(text.utf8)
        }
        guard let date = HTTPDate.parse(text, nowSecondsSinceEpoch: now) else { return nil }
        let wait = date.subtractingReportingOverflow(now)
        return wait.overflow ? nil : min(.seconds(max(0, wait.partialValue)), longest)
    }

    private static func delay(_ digits: Substring.UTF8View) -> Duration? {
        var seconds: Int64 = 0
        for byte in digits {
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else { return nil }
            // Clamped at every digit: a hundred nines must not overflow.
            seconds = min(seconds * 10 + Int64(byte - UInt8(ascii: "0")), longest.components.seconds)
        }
        return .seconds(seconds)
    }
}

extension Substring {
    /// The text without spaces and tabs at its ends: the optional white space around an HTTP field value.
    package func trimmingBlanks() -> Substring {
        var text = self
        while let last = text.utf8.last, last == 0x20 || last == 0x09 { text.removeLast() }
        return text.drop { $0 == " " || $0 == "\t" }
    }
}
