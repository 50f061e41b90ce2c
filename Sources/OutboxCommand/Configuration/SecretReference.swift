// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Foundation

/// A value that stands elsewhere, so that a file under version control or a command line holds no secret:
/// `env:NAME` is the variable's value, `file:/path` the file's content without its last line feed.
enum SecretReference {
    /// Why a reference leads nowhere.
    struct Missing: Error, Equatable {
        let message: String
    }

    /// The value that a text stands for: itself, unless it is a reference.
    static func resolve(_ text: String, environment: [String: String]) throws(Missing) -> String {
        if text.hasPrefix("env:") {
            let name = String(text.dropFirst(4))
            guard let value = environment[name], !value.isEmpty else {
                throw Missing(message: "the variable \(printable(name)) is not set in the environment")
            }
            return value
        }
        guard text.hasPrefix("file:") else { return text }
        let path = String(text.dropFirst(5))
        guard let bytes = FileManager.default.contents(atPath: path) else {
            throw Missing(message: "the file \(printable(path)) cannot be read")
        }
        guard var value = String(bytes: bytes, encoding: .utf8) else {
            throw Missing(message: "the file \(printable(path)) is not UTF-8 text")
        }
        if value.hasSuffix("\r\n") || value.hasSuffix("\n") { value.removeLast() }
        guard !value.isEmpty else { throw Missing(message: "the file \(printable(path)) is empty") }
        return value
    }
}
