// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Foundation
internal import Logging
internal import OutboxCore

/// Writes each log message as one line to standard error: for people
/// `2026-11-24T20:49:15.123Z warning a lease was lost  kind=orders.created task=…`, or as a JSON object.
///
/// Values that hold spaces or quotation marks are quoted, and line breaks escaped, so that a line stays a line and
/// can be taken apart again.
struct LineLogHandler: LogHandler {
    var metadata: Logger.Metadata = [:]
    var logLevel: Logger.Level
    private let format: LogFormat
    private let write: @Sendable ([UInt8]) -> Void

    init(
        level: Logger.Level, format: LogFormat,
        write: @escaping @Sendable ([UInt8]) -> Void = { Terminal.error.write($0) }
    ) {
        logLevel = level
        self.format = format
        self.write = write
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let all = metadata.merging(event.metadata ?? [:]) { _, last in last }.sorted { $0.key < $1.key }
        let time = Int64(Date().timeIntervalSince1970 * 1_000_000)
        switch format {
        case .text: write(Array(Self.text(event, all, time).utf8))
        case .json: write(Self.json(event, all, time))
        }
    }

    private static func text(
        _ event: LogEvent, _ metadata: [(key: String, value: Logger.Metadata.Value)], _ time: Int64
    ) -> String {
        // to the millisecond
        var line =
            CalendarTime.rfc3339(microsecondsSinceEpoch: time).prefix(23)
            + "Z \(event.level.rawValue) \(printable("\(event.message)"))"
        if !metadata.isEmpty { line += " " }
        for (key, value) in metadata { line += " \(key)=\(quoted("\(value)"))" }
        return line + "\n"
    }

    private static func json(
        _ event: LogEvent, _ metadata: [(key: String, value: Logger.Metadata.Value)], _ time: Int64
    ) -> [UInt8] {
        var json = JSONWriter()
        json.object { json in
            json.member("time", CalendarTime.rfc3339(microsecondsSinceEpoch: time))
            json.member("level", event.level.rawValue)
            json.member("message", "\(event.message)")
            // the three above are the line's own
            for (key, value) in metadata {
                json.member(["time", "level", "message"].contains(key) ? key + "_" : key, "\(value)")
            }
        }
        return json.bytes + [UInt8(ascii: "\n")]
    }

    private static func quoted(_ value: String) -> String {
        let isPlain =
            !value.isEmpty && value.utf8.allSatisfy { $0 > 0x20 && $0 != UInt8(ascii: "\"") && $0 != 0x7F }
        guard !isPlain else { return printable(value) }
        return "\"" + printable(value.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"")) + "\""
    }
}
