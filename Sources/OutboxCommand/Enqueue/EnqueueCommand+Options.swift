// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import ArgumentParser
internal import Foundation
internal import Outbox
internal import OutboxCore

extension EnqueueCommand {
    /// How the tasks are to be run.
    struct TaskOptions: ParsableArguments {
        static let json = "application/json"

        @Option(help: ArgumentHelp("The queue.", valueName: "name"))
        var queue = "default"
        @Option(help: ArgumentHelp("0 runs first, 9 last.", valueName: "0-9"))
        var priority = 5
        @Option(help: ArgumentHelp("Not before so long from now, such as 10s, 5m, 2h.", valueName: "duration"))
        var delay: String?
        @Option(help: ArgumentHelp("Not before this time, such as 2026-11-24T20:49:15Z.", valueName: "time"))
        var runAt: String?
        @Option(help: ArgumentHelp("A dead letter if not done by this time.", valueName: "time"))
        var expiresAt: String?
        @Option(
            help: ArgumentHelp(
                "The name of the operation, sent on every attempt. Default: the id.", valueName: "key"))
        var idempotencyKey: String?
        @Option(
            help: ArgumentHelp("A header for the HTTP endpoint, name:value; may be repeated.", valueName: "header")
        )
        var header: [String] = []
        @Option(
            help: ArgumentHelp(
                "The endpoint to deliver to. Default: the relay's routes decide.", valueName: "name"))
        var endpoint: String?
        @Option(help: ArgumentHelp("How many attempts may be charged.", valueName: "count"))
        var maxAttempts: Int?
        @Option(help: ArgumentHelp("The media type of the payload.", valueName: "type"))
        var contentType = TaskOptions.json
        @Option(help: ArgumentHelp("The task's identity, a UUID. Default: a random one.", valueName: "uuid"))
        var id: String?

        func validate() throws { _ = try options() }

        func options() throws -> EnqueueOptions {
            var options = EnqueueOptions(
                queue: queue, priority: priority, idempotencyKey: idempotencyKey, endpoint: endpoint,
                maxAttempts: maxAttempts)
            guard delay == nil || runAt == nil else {
                throw ValidationError("Give --delay or --run-at, not both.")
            }
            if let delay {
                guard let duration = DurationText.parse(delay), duration >= .zero else {
                    throw ValidationError("--delay: \(DurationText.rule).")
                }
                options.start = .after(duration)
            }
            if let runAt { options.start = .at(try Self.date(runAt, "--run-at")) }
            if let expiresAt { options.expiresAt = try Self.date(expiresAt, "--expires-at") }
            for header in header {
                guard let colon = header.firstIndex(of: ":"), colon > header.startIndex else {
                    throw ValidationError("--header: write name:value, such as x-tenant:a.")
                }
                let value = header[header.index(after: colon)...].drop { $0 == " " }
                guard options.headers.updateValue(String(value), forKey: String(header[..<colon])) == nil else {
                    throw ValidationError("--header: \(printable(String(header[..<colon]))) is given twice.")
                }
            }
            if let id {
                guard let taskID = TaskID(id) else {
                    throw ValidationError("--id: write a UUID, such as 1c3a5b1e-52cb-4a3c-9d5c-6c0f6a4f2f5d.")
                }
                options.id = taskID
            }
            return options
        }

        private static func date(_ text: String, _ option: String) throws -> Date {
            guard let microseconds = InstantText.parse(text) else {
                throw ValidationError("\(option): \(InstantText.rule).")
            }
            return Date(timeIntervalSince1970: Double(microseconds) / 1_000_000)
        }
    }

    /// Where many tasks come from.
    struct FileOptions: ParsableArguments {
        @Option(help: ArgumentHelp("A file with a JSON object a line; - reads standard input.", valueName: "file"))
        var file: String?
        @Option(help: ArgumentHelp("One kind for every line.", valueName: "kind"))
        var kind: String?
        @Option(help: ArgumentHelp("The member of each line that names its kind.", valueName: "name"))
        var kindField: String?
        @Option(
            help: ArgumentHelp("What goes before the kind that a line names, such as github.", valueName: "text"))
        var kindPrefix: String?
        @Option(
            help: ArgumentHelp(
                "The member whose value is the payload. Default: the whole line.", valueName: "name"))
        var payloadField: String?
        @Option(help: ArgumentHelp("Lines per transaction.", valueName: "count"))
        var batch = 500
        @Option(help: ArgumentHelp("The first line to enqueue, to go on after a failure.", valueName: "line"))
        var fromLine = 1

        func validate() throws {
            guard (1...10_000).contains(batch) else { throw ValidationError("--batch is 1 to 10000.") }
            guard fromLine >= 1 else { throw ValidationError("--from-line is 1 or more.") }
        }

        func refuseWithoutFile() throws {
            guard kind == nil, kindField == nil, kindPrefix == nil, payloadField == nil, fromLine == 1 else {
                throw ValidationError(
                    "--kind, --kind-field, --kind-prefix, --payload-field and --from-line are for --file.")
            }
        }

        func rules() throws -> LineRules {
            switch (kind, kindField) {
            case (let kind?, nil):
                guard kindPrefix == nil else { throw ValidationError("--kind-prefix goes with --kind-field.") }
                guard Names.isKind(kind) else {
                    throw ValidationError("--kind: use letters, digits, _ and - in parts joined by \".\".")
                }
                return LineRules(kind: .fixed(kind), payloadField: payloadField)
            case (nil, let field?):
                return LineRules(kind: .field(field, prefix: kindPrefix ?? ""), payloadField: payloadField)
            default: throw ValidationError("With --file give either --kind or --kind-field.")
            }
        }

        func open(_ path: String) throws -> LineReader {
            do {
                return try LineReader(path: path)
            } catch {
                let reason = if case .unreadable(let text) = error { text } else { "" }
                throw Problem(
                    .failed, "\(printable(path)) cannot be read: \(reason)",
                    hint: "check the path and its permissions")
            }
        }
    }
}
