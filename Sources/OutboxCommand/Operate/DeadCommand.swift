// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import ArgumentParser
internal import Outbox
internal import OutboxCore
internal import PostgresClient

/// `outbox dead`: what is done with tasks that will not be tried again.
struct Dead: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Look at dead letters, replay or discard them.",
        discussion: """
            A dead letter is a task that will not be tried again until someone replays it.

              outbox dead list --kind orders.created
              outbox dead show 17
              outbox dead replay --incident 4 --dry-run
              outbox dead replay --incident 4 --note "partner is back, see INC-881"
            """,
        subcommands: [List.self, Show.self, Replay.self, Discard.self],
        defaultSubcommand: List.self
    )

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List dead letters, the latest first. The default.",
            usage: "outbox dead [list] [<options>]",
            discussion: """
                  outbox dead list
                  outbox dead list --reason exhausted --all --json
                """)

        @OptionGroup var filter: FilterOptions
        @Option(help: "Those that died for this reason.")
        var reason: Reason?
        @Flag(help: "Also those that were replayed or discarded.")
        var all = false
        @Option(help: ArgumentHelp("How many at most.", valueName: "count"))
        var limit = 50
        @OptionGroup(title: "Database options") var options: DatabaseOptions
        @OptionGroup var output: OutputOptions

        func validate() throws {
            guard limit >= 1 else { throw ValidationError("--limit is 1 or more.") }
        }

        func run() async throws {
            var filter = filter.filter(reason: reason)
            filter.includesResolved = all
            let found = try await options.withSession { [filter] session in
                // one more than shown, to know whether there are more
                try await DeadLetters(session).list(filter, limit: limit < .max ? limit + 1 : limit)
            }
            let letters = found.prefix(limit)
            if output.json {
                return printJSON { json in
                    json.array { json in for letter in letters { json.object { letter.write(to: &$0) } } }
                }
            }
            guard !letters.isEmpty else { return say(all ? "no dead letters" : "no open dead letters") }
            var table = Table(
                "NUMBER", "DIED AT", "KIND", "ENDPOINT", "REASON", "ATTEMPTS", "INCIDENT", "ERROR",
                right: [0, 5, 6])
            for letter in letters {
                let state = letter.resolution.map { " (\($0))" } ?? ""
                table.add(
                    "\(letter.number)", letter.deadAt.shown, letter.kind, letter.endpoint ?? "-",
                    letter.reason + state,
                    "\(letter.attempt)", "\(letter.incident)",
                    // what a receiver answered says more than what its status means in general
                    cut("\(letter.errorType): \(letter.responseExcerpt ?? letter.errorMessage)", to: 60))
            }
            Terminal.output.write(table.text)
            if found.count > letters.count {
                say("… and more: raise --limit, or choose with --kind, --reason, --incident")
            }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show a dead letter, every attempt's error, and its payload.",
            usage: "outbox dead show <number or id> [--full | --raw] [<options>]",
            discussion: """
                  outbox dead show 17
                  outbox dead show 17 --raw > payload.json
                """)

        @Argument(
            help: "The number of a dead letter, or the id of its task.",
            transform: { try DeadLetterName(argument: $0) })
        var name: DeadLetterName
        @OptionGroup var payload: PayloadOptions
        @OptionGroup(title: "Database options") var options: DatabaseOptions
        @OptionGroup var output: OutputOptions

        func run() async throws {
            let (letters, attempts, bytes) = try await options.withSession { session in
                let store = DeadLetters(session)
                let letters = try await store.find(name)
                guard let letter = letters.first else {
                    throw Problem(
                        .incomplete, "there is no such dead letter",
                        hint: "outbox dead list --all shows all there are")
                }
                return (
                    letters, try await store.attempts(of: letter.id),
                    try await store.payload(of: letter.number) ?? []
                )
            }
            let letter = letters[0]
            if payload.raw { return Terminal.output.write(bytes) }
            if output.json {
                return printJSON { json in
                    json.object { json in
                        letter.write(to: &json)
                        json.member("attempts") { json in
                            json.array { json in
                                for attempt in attempts { json.object { attempt.write(to: &$0) } }
                            }
                        }
                        payload.write(bytes, to: &json)
                    }
                }
            }
            Terminal.output.write(letter.page(attempts: attempts))
            Terminal.output.write(payload.page(of: bytes))
            if letters.count > 1 {
                say(
                    "the task has died before: \(letters.dropFirst().map { "\($0.number)" }.joined(separator: ", "))"
                )
            }
        }
    }
}

extension DeadLetterName {
    init(argument: String) throws {
        if let number = Int64(argument), number > 0 {
            self = .number(number)
        } else if let id = TaskID(argument) {
            self = .id(PostgresUUID(id))
        } else {
            throw ValidationError("Give the number of a dead letter, or the id of a task (a UUID).")
        }
    }
}

/// Which dead letters a list or a change is about.
struct FilterOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Those of this kind.", valueName: "kind"))
    var kind: String?
    @Option(help: ArgumentHelp("Those of this incident.", valueName: "number"))
    var incident: Int64?

    func filter(reason: Reason? = nil) -> DeadLetterFilter {
        DeadLetterFilter(kind: kind, reason: reason?.rawValue, incident: incident)
    }
}

/// Why tasks died, as an option names it.
enum Reason: String, CaseIterable, ExpressibleByArgument {
    case rejected, exhausted, expired, crashed, interrupted, restored
}
