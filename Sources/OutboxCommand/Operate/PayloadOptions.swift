// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import ArgumentParser
internal import Foundation
internal import OutboxCore

/// How much of a payload is shown, and in which form.
struct PayloadOptions: ParsableArguments {
    @Flag(help: "Show the whole payload.")
    var full = false
    @Flag(help: "Write the payload's bytes and nothing else.")
    var raw = false

    /// How many bytes are shown unless all are asked for.
    private static let most = 2000

    /// The payload for people: text as it is, other bytes in hexadecimal.
    func page(of bytes: [UInt8]) -> String {
        let shown = full ? bytes[...] : bytes.prefix(Self.most)
        var text: String
        if String(validating: bytes, as: UTF8.self) != nil {
            // a cut in the middle of a character shows as a replacement character
            text = String(decoding: shown, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
                .map { printable(String($0)) }.joined(separator: "\n")
        } else {
            text = shown.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: " ")
        }
        if shown.count < bytes.count {
            text += "\n… \(bytes.count - shown.count) more bytes: --full shows them, --raw writes them"
        }
        return "\npayload, \(bytes.count) bytes\n\(text)\n"
    }

    /// The payload for programs: a string where it is text, else Base64. Always whole.
    func write(_ bytes: [UInt8], to json: inout JSONWriter) {
        let text = String(validating: bytes, as: UTF8.self)
        json.member("payload", text)
        if text == nil { json.member("payload_base64", Data(bytes).base64EncodedString()) }
    }
}
