// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import ArgumentParser
internal import Outbox
internal import OutboxCore
internal import PostgresClient

/// `outbox tasks`: what waits and runs.
struct Tasks: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Look at tasks that wait or run, or cancel them.",
        discussion: """
            A task that succeeded is gone; one that will not be tried again is a dead
            letter: see outbox dead.

              outbox tasks list --kind orders.created --state waiting
              outbox tasks show 1c3a5b1e-52cb-4a3c-9d5c-6c0f6a4f2f5d
            """,
        subcommands: [List.self, Show.self, Cancel.self],
        defaultSubcommand: List.self
    )

    enum State: String, CaseIterable, ExpressibleByArgument {
        case ready, running, waiting
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List tasks. The default.",
            usage: "outbox tasks [list] [<options>]",
            discussion: """
                It shows those that it finds first, as many as --limit says: a large backlog
                is not read through for a list. outbox status counts.

                  outbox tasks list --state running
                """)

        @Option(help: ArgumentHelp("Those of this kind.", valueName: "kind"))
        var kind: String?
        @Option(help: ArgumentHelp("Those of this queue.", valueName: "name"))
        var queue: String?
        @Option(help: "Those that may run now, run, or wait for a time.")
        var state: State?
        @Option(help: ArgumentHelp("How many at most.", valueName: "count"))
        var limit = 50
        @OptionGroup(title: "Database options") var options: DatabaseOptions
        @OptionGroup var output: OutputOptions

        func validate() throws {
            guard limit >= 1 else { throw ValidationError("--limit is 1 or more.") }
        }

        func run() async throws {
            let found = try await options.withSession { session in
                try await TaskList(session).list(kind: kind, queue: queue, state: state?.rawValue, limit: limit)
            }
            if output.json {
                return printJSON { json in
                    json.array { json in for task in found { json.object { task.write(to: &$0) } } }
                }
            }
            guard !found.isEmpty else { return say("no tasks") }
            var table = Table(
                "ID", "KIND", "QUEUE", "PRIORITY", "STATE", "ATTEMPT", "ENQUEUED AT", "RUNS AT", right: [3, 5])
            for task in found {
                table.add(
                    task.id, task.kind, task.queue, "\(task.priority)", task.state, "\(task.attempt)",
                    task.enqueuedAt.shown,
                    task.runAt?.shown ?? "")
            }
            Terminal.output.write(table.text)
            if found.count == limit { say("… the first \(limit) that were found; --limit shows more") }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show a task, the errors of its attempts, and its payload.",
            usage: "outbox tasks show <id> [--full | --raw] [<options>]",
            discussion: """
                  outbox tasks show 1c3a5b1e-52cb-4a3c-9d5c-6c0f6a4f2f5d
                """)

        @Argument(help: "The id of the task.", transform: { try TaskID(argument: $0) })
        var id: TaskID
        @OptionGroup var payload: PayloadOptions
        @OptionGroup(title: "Database options") var options: DatabaseOptions
        @OptionGroup var output: OutputOptions

        func run() async throws {
            let (task, attempts, bytes) = try await options.withSession { session in
                let tasks = TaskList(session)
                guard let found = try await tasks.find(id) else { throw try await absent(session) }
                let attempts = try await DeadLetters(session).attempts(of: found.task.id)
                if let text = found.payload { return (found.task, attempts, Array(text.utf8)) }
                return (found.task, attempts, try await tasks.payload(of: id) ?? [])
            }
            if payload.raw { return Terminal.output.write(bytes) }
            if output.json {
                return printJSON { json in
                    json.object { json in
                        task.write(to: &json)
                        json.member("attempts") { json in
                            json.array { json in
                                for attempt in attempts { json.object { attempt.write(to: &$0) } }
                            }
                        }
                        payload.write(bytes, to: &json)
                    }
                }
            }
            Terminal.output.write(task.page(attempts: attempts) + payload.page(of: bytes))
        }

        private func absent(_ session: Session) async throws -> Problem {
            guard let letter = try await DeadLetters(session).find(.id(PostgresUUID(id))).first else {
                return Problem(
                    .incomplete, "there is no task \(id)",
                    hint: "it succeeded, was cancelled, or was never committed")
            }
            return Problem(
                .incomplete, "the task \(id) is a dead letter" + (letter.resolution.map { ", \($0)" } ?? ""),
                hint: "outbox dead show \(letter.number)")
        }
    }

    struct Cancel: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Cancel tasks that no relay is running.",
            usage: "outbox tasks cancel <id> ... [<options>]",
            discussion: """
                  outbox tasks cancel 1c3a5b1e-52cb-4a3c-9d5c-6c0f6a4f2f5d
                """)

        @Argument(help: "The ids of the tasks.", transform: { try TaskID(argument: $0) })
        var ids: [TaskID]
        @OptionGroup(title: "Database options") var options: DatabaseOptions

        func run() async throws {
            let missed = try await options.withSession { session in
                var missed: [TaskID] = []
                for id in ids {
                    if try await TaskList(session).cancel(id) { say("cancelled \(id)") } else { missed.append(id) }
                }
                return missed
            }
            guard missed.isEmpty else {
                throw Problem(
                    .incomplete, "not cancelled: \(missed.map(\.description).joined(separator: ", "))",
                    hint:
                        "a task that runs, has succeeded or is a dead letter cannot be cancelled; see outbox tasks show"
                )
            }
        }
    }
}

extension TaskID {
    init(argument: String) throws {
        guard let id = TaskID(argument) else { throw ValidationError("The id of a task is a UUID.") }
        self = id
    }
}
