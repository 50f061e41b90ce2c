// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import ArgumentParser
internal import Outbox
internal import OutboxCore
internal import OutboxRelay
internal import Synchronization

#if canImport(Darwin)
internal import Darwin
#else
internal import Glibc
#endif

/// `outbox enqueue`: one task, or the lines of a file.
struct EnqueueCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "enqueue",
        abstract: "Enqueue a task, or one for each line of a file.",
        usage: """
            outbox enqueue <kind> [<payload>] [<options>]
            outbox enqueue --file <file> (--kind <kind> | --kind-field <name>)
            """,
        discussion: """
            One task; prints its id:

              outbox enqueue orders.created '{"order": 42}'
              outbox enqueue mail.send - --delay 10m --idempotency-key mail-42 < mail.json

            A file with a JSON object a line. The payload is the whole line, or the value
            of a member, byte for byte as it stands there:

              outbox enqueue --file orders.ndjson --kind orders.created
              outbox enqueue --file hooks.ndjson --kind-field event --payload-field payload

            It stops at a bad line, writes nothing of that line's batch, and says how to
            go on.
            """)

    @Argument(help: "The kind of the task, such as orders.created.")
    var kind: String?
    @Argument(help: "The payload, stored and sent as it is; - reads standard input. Default: {}.")
    var payload: String?

    @OptionGroup(title: "Task options") var task: TaskOptions
    @OptionGroup(title: "File options") var file: FileOptions
    @OptionGroup(title: "Database options") var options: DatabaseOptions
    @OptionGroup var output: OutputOptions

    func validate() throws {
        if file.file == nil {
            guard kind != nil else {
                throw ValidationError(
                    "Give a kind, or a file with --file. For example: outbox enqueue orders.created '{}'")
            }
            try file.refuseWithoutFile()
        } else {
            guard kind == nil else {
                throw ValidationError(
                    "With --file the kind is given by --kind or --kind-field, not as an argument.")
            }
            guard task.id == nil, task.idempotencyKey == nil else {
                throw ValidationError("--id and --idempotency-key are for one task, not for a file.")
            }
            _ = try file.rules()
        }
    }

    func run() async throws {
        let enqueueOptions = try task.options()
        if let path = file.file {
            try await enqueueFile(path, enqueueOptions)
        } else if let kind {
            try await enqueueOne(kind, enqueueOptions)
        }
    }

    private func enqueueOne(_ kind: String, _ enqueueOptions: EnqueueOptions) async throws {
        let payload = self.payload == "-" ? try standardInput() : Array((self.payload ?? "{}").utf8)
        if task.contentType == TaskOptions.json, (try? JSONScanner.check(payload)) == nil {
            Terminal.error.write(
                "outbox: note: the payload is not JSON, although its content type says so; see --content-type\n")
        }
        let id = try await options.withSession { session in
            try await session.database.transaction { transaction in
                try await transaction.enqueue(
                    kind: kind, payload: payload, contentType: task.contentType, options: enqueueOptions,
                    schema: session.schema)
            }
        }
        guard output.json else { return say(id.description) }
        printJSON { $0.object { $0.member("id", id.description) } }
    }

    private func standardInput() throws -> [UInt8] {
        do {
            return try LineReader(path: "-").all(atMost: Enqueue.maxPayloadBytes)
        } catch {
            throw Problem(.failed, "standard input cannot be read")
        }
    }

    private func enqueueFile(_ path: String, _ enqueueOptions: EnqueueOptions) async throws {
        let rules = try file.rules()
        let progress = try await options.withSession { session in
            let writer = BatchWriter(
                database: session.database, schema: session.schema, contentType: task.contentType,
                options: enqueueOptions)
            let stop = Flag()
            // so that whoever interrupts a long run learns where it stopped; a second signal ends it at once
            let signals = SignalSources([SIGINT, SIGTERM]) { _ in stop.raise() }
            defer { signals.cancel() }
            await signals.registered()
            var run = Import(
                rules: rules, batch: file.batch, firstLine: file.fromLine, write: writer.write,
                isStopped: { stop.isRaised })
            if Terminal.error.isTerminal {
                run.tell = { Terminal.error.write("\rline \($0.lines): \($0.tasks) tasks, \($0.bytes >> 20) MiB") }
            }
            let reader = try file.open(path)
            do {
                let progress = try await run.run(reader)
                if Terminal.error.isTerminal { Terminal.error.write("\r\u{1B}[K") }
                return progress
            } catch {
                if Terminal.error.isTerminal { Terminal.error.write("\n") }
                throw error
            }
        }
        guard output.json else {
            let tasks = progress.tasks == 1 ? "1 task" : "\(progress.tasks) tasks"
            return say(
                "enqueued \(tasks) from \(path == "-" ? "standard input" : path), through line \(progress.lines)")
        }
        printJSON { json in
            json.object { json in
                json.member("tasks", progress.tasks)
                json.member("lines", progress.lines)
                json.member("payload_bytes", progress.bytes)
            }
        }
    }
}

/// Something that has happened or not.
private final class Flag: Sendable {
    private let value = Mutex(false)
    var isRaised: Bool { value.withLock { $0 } }
    func raise() { value.withLock { $0 = true } }
}
