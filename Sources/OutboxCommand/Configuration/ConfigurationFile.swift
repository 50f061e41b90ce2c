// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Foundation

/// The text of a configuration file, and the name by which messages call it.
struct ConfigurationFile: Equatable, Sendable {
    let name: String
    let text: String

    /// No file: everything has its default, or comes from the environment.
    static let none = ConfigurationFile(name: "no file", text: "")
    /// The file that is read where nothing else is said and it exists.
    static let usual = "outbox.yaml"

    init(name: String, text: String) {
        self.name = name
        self.text = text
    }

    /// Reads a file.
    init(readingAt path: String) throws(Problem) {
        guard let bytes = FileManager.default.contents(atPath: path) else {
            throw Problem(
                .misconfigured, "the configuration file \(printable(path)) cannot be read",
                hint: "check the path and its permissions; --config and OUTBOX_CONFIG name another file")
        }
        guard let text = String(bytes: bytes, encoding: .utf8) else {
            throw Problem(.misconfigured, "the configuration file \(printable(path)) is not UTF-8 text")
        }
        self.init(name: path, text: text)
    }

    /// The file that the options and the environment name, or the usual one where it exists.
    static func find(option: String?, environment: [String: String]) throws(Problem) -> ConfigurationFile {
        if let path = option ?? environment["OUTBOX_CONFIG"].flatMap({ $0.isEmpty ? nil : $0 }) {
            return try ConfigurationFile(readingAt: path)
        }
        return FileManager.default.fileExists(atPath: usual) ? try ConfigurationFile(readingAt: usual) : .none
    }
}
