// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// Writes compact JSON (RFC 8259) piece by piece into bytes.
///
/// What may stand where is the shape of the calls: members are written inside ``object(_:)``, elements inside
/// ``array(_:)``, and the commas and colons come by themselves. Strings keep every character: only the quotation mark,
/// the reverse solidus and the control characters are escaped, as section 7 demands.
///
///     var json = JSONWriter()
///     json.object {
///         $0.member("kind", "send-invoice")
///         $0.member("attempts") { $0.array { $0.value(1); $0.value(2) } }
///     }
///     json.bytes   // {"kind":"send-invoice","attempts":[1,2]}
package struct JSONWriter: Sendable {
    /// What has been written so far.
    package private(set) var bytes: [UInt8] = []
    /// Whether the next value or member follows another one of the same list.
    private var needsComma = false

    package init() {}

    /// What has been written so far, as text.
    package var text: String { String(decoding: bytes, as: UTF8.self) }

    /// Writes an object whose members are what `body` writes.
    package mutating func object(_ body: (inout JSONWriter) throws -> Void) rethrows {
        try enclosed("{", "}", body)
    }

    /// Writes an array whose elements are what `body` writes.
    package mutating func array(_ body: (inout JSONWriter) throws -> Void) rethrows {
        try enclosed("[", "]", body)
    }

    /// Writes a member of an object; `body` writes exactly one value.
    package mutating func member(_ name: String, _ body: (inout JSONWriter) throws -> Void) rethrows {
        separate()
        quote(name)
        bytes.append(UInt8(ascii: ":"))
        needsComma = false
        try body(&self)
    }

    package mutating func member(_ name: String, _ value: String?) { member(name) { $0.value(value) } }
    package mutating func member(_ name: String, _ value: (some BinaryInteger)?) { member(name) { $0.value(value) } }
    package mutating func member(_ name: String, _ value: Double) { member(name) { $0.value(value) } }
    package mutating func member(_ name: String, _ value: Bool) { member(name) { $0.value(value) } }

    /// Writes a string, or `null`.
    package mutating func value(_ string: String?) {
        guard let string else { return null() }
        separate()
        quote(string)
    }

    /// Writes an integer of any size, or `null`.
    package mutating func value(_ integer: (some BinaryInteger)?) {
        guard let integer else { return null() }
        literal(integer.description)
    }

    /// Writes a number; one that JSON has no form for (infinite, not a number) becomes `null`.
    package mutating func value(_ number: Double) {
        number.isFinite ? literal(number.description) : null()
    }

    package mutating func value(_ bool: Bool) { literal(bool ? "true" : "false") }

    package mutating func null() { literal("null") }

    /// Writes bytes that are a JSON value already, such as a stored payload that was checked when it came in.
    package mutating func raw(_ json: some Sequence<UInt8>) {
        separate()
        bytes.append(contentsOf: json)
    }

    private mutating func enclosed(
        _ opening: Unicode.Scalar, _ closing: Unicode.Scalar, _ body: (inout JSONWriter) throws -> Void
    ) rethrows {
        separate()
        bytes.append(UInt8(ascii: opening))
        needsComma = false
        try body(&self)
        bytes.append(UInt8(ascii: closing))
        needsComma = true
    }

    private mutating func literal(_ text: String) {
        separate()
        bytes.append(contentsOf: text.utf8)
    }

    private mutating func separate() {
        if needsComma { bytes.append(UInt8(ascii: ",")) }
        needsComma = true
    }

    private mutating func quote(_ string: String) {
        bytes.append(UInt8(ascii: "\""))
        for byte in string.utf8 {
            switch byte {
            case UInt8(ascii: "\""): bytes.append(contentsOf: #"\""#.utf8)
            case UInt8(ascii: "\\"): bytes.append(contentsOf: #"\\"#.utf8)
            case 0x08: bytes.append(contentsOf: #"\b"#.utf8)
            case 0x09: bytes.append(contentsOf: #"\t"#.utf8)
            case 0x0A: bytes.append(contentsOf: #"\n"#.utf8)
            case 0x0C: bytes.append(contentsOf: #"\f"#.utf8)
            case 0x0D: bytes.append(contentsOf: #"\r"#.utf8)
            case 0..<0x20:
                bytes.append(contentsOf: byte < 0x10 ? #"\u000"#.utf8 : #"\u001"#.utf8)
                bytes.append(contentsOf: String(byte & 0xF, radix: 16).utf8)
            default: bytes.append(byte)
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }
}
