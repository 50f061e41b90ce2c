// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// The content of strings.
extension JSONScanner {
    static func hexadecimal(_ byte: UInt8) -> UInt32? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(byte - UInt8(ascii: "0"))
        case UInt8(ascii: "a")...UInt8(ascii: "f"): UInt32(byte - UInt8(ascii: "a") + 10)
        case UInt8(ascii: "A")...UInt8(ascii: "F"): UInt32(byte - UInt8(ascii: "A") + 10)
        default: nil
        }
    }

    /// The content of a string that was checked; `nil` if half a surrogate pair is in it.
    static func unescaped(_ bytes: ArraySlice<UInt8>) -> String? {
        var text = String.UnicodeScalarView()
        var plain: [UInt8] = []
        var position = bytes.startIndex
        func unit(at start: Int) -> UInt32? {
            guard start + 4 <= bytes.endIndex else { return nil }
            var value: UInt32 = 0
            for byte in bytes[start..<start + 4] {
                guard let digit = hexadecimal(byte) else { return nil }
                value = value << 4 | digit
            }
            return value
        }
        while position < bytes.endIndex {
            guard bytes[position] == UInt8(ascii: "\\") else {
                plain.append(bytes[position])
                position += 1
                continue
            }
            text.append(contentsOf: String(decoding: plain, as: UTF8.self).unicodeScalars)
            plain = []
            position += 2
            guard position <= bytes.endIndex else { return nil }
            switch bytes[position - 1] {
            case UInt8(ascii: "b"): text.append("\u{8}")
            case UInt8(ascii: "f"): text.append("\u{C}")
            case UInt8(ascii: "n"): text.append("\n")
            case UInt8(ascii: "r"): text.append("\r")
            case UInt8(ascii: "t"): text.append("\t")
            case UInt8(ascii: "u"):
                guard var value = unit(at: position) else { return nil }
                position += 4
                if (0xD800..<0xDC00).contains(value) {
                    guard position + 6 <= bytes.endIndex, bytes[position] == UInt8(ascii: "\\"),
                        bytes[position + 1] == UInt8(ascii: "u"), let low = unit(at: position + 2),
                        (0xDC00..<0xE000).contains(low)
                    else { return nil }
                    value = 0x10000 + (value - 0xD800) << 10 + (low - 0xDC00)
                    position += 6
                }
                guard let scalar = Unicode.Scalar(value) else { return nil }
                text.append(scalar)
            case let same: text.append(Unicode.Scalar(same))
            }
        }
        text.append(contentsOf: String(decoding: plain, as: UTF8.self).unicodeScalars)
        return String(text)
    }
}
