// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// Which HTTP headers a producer or an endpoint's configuration may add to a delivery.
///
/// libcurl sends header lines as they are given, so a line break in a value would be a header of the attacker's
/// choice: <https://curl.se/libcurl/c/libcurl-security.html>. These rules are therefore checked where headers come in
/// and once more before every request.
package enum HeaderRules {
    /// The most that the names and values of one list may hold together, in bytes.
    package static let maximumTotalBytes = 4096

    /// Names that the delivery itself sets, or that steer the connection; in lower case.
    package static let reservedNames: Set<String> = [
        "accept-encoding", "connection", "content-length", "content-type", "expect", "forwarded", "host",
        "idempotency-key", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "user-agent",
        "traceparent", "tracestate", "baggage",
    ]
    /// Beginnings of reserved names; in lower case.
    package static let reservedPrefixes = ["ce-", "outbox-", "proxy-", "webhook-", "x-forwarded-"]

    /// What is wrong with the first header that breaks a rule, naming it and saying what to do; `nil` if none does.
    ///
    /// The message never holds a value: values may be secrets.
    package static func problem(in headers: [(name: String, value: String)]) -> String? {
        var seen: Set<String> = []
        var total = 0
        for (name, value) in headers {
            guard isToken(name) else {
                return "The header name \(quoted(name)) is not a token: use letters, digits and - _ . only."
            }
            let lowercased = name.lowercased()
            if isReserved(lowercased) {
                return "The header \(quoted(name)) is reserved: the delivery sets it itself. Use another name."
            }
            guard isValue(value) else {
                return "The value of the header \(quoted(name)) holds a line break, a control character or a character "
                    + "outside ASCII. Encode it, for example with percent signs or Base64."
            }
            guard seen.insert(lowercased).inserted else {
                return "The header \(quoted(name)) is given twice. Join the values with commas into one."
            }
            total += name.utf8.count + value.utf8.count
            if total > maximumTotalBytes {
                return "The headers up to \(quoted(name)) hold \(total) bytes, more than \(maximumTotalBytes). "
                    + "Move data into the payload."
            }
        }
        return nil
    }

    /// Whether the text is an RFC 9110 token (section 5.6.2), as every header name must be.
    package static func isToken(_ text: String) -> Bool {
        !text.isEmpty
            && text.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "a")...UInt8(ascii: "z"):
                    true
                default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
                }
            }
    }

    /// Whether the text holds only visible ASCII, spaces and tabs.
    package static func isValue(_ text: String) -> Bool {
        text.utf8.allSatisfy { (0x20...0x7E).contains($0) || $0 == 0x09 }
    }

    /// Whether a name, given in lower case, is one that only the delivery sets.
    package static func isReserved(_ lowercasedName: String) -> Bool {
        reservedNames.contains(lowercasedName) || reservedPrefixes.contains { lowercasedName.hasPrefix($0) }
    }

    /// A name as a message shows it: at most 64 characters, escaped, so that it cannot break the line it stands in.
    private static func quoted(_ name: String) -> String {
        String(reflecting: String(name.prefix(64)))
    }
}
