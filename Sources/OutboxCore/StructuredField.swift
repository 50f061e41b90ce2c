// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// Serialises values of structured HTTP fields, RFC 8941.
package enum StructuredField {
    /// The text as an sf-string: in double quotes, with `"` and `\` escaped.
    ///
    /// `nil` if it holds anything but printable ASCII, which a structured string cannot carry:
    /// <https://www.rfc-editor.org/rfc/rfc8941#section-4.1.6>.
    package static func string(_ text: String) -> String? {
        var field = [UInt8(ascii: "\"")]
        field.reserveCapacity(text.utf8.count + 2)
        for byte in text.utf8 {
            guard (0x20...0x7E).contains(byte) else { return nil }
            if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") { field.append(UInt8(ascii: "\\")) }
            field.append(byte)
        }
        field.append(UInt8(ascii: "\""))
        return String(decoding: field, as: UTF8.self)
    }
}
