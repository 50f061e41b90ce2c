// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import ArgumentParser
internal import Foundation
internal import OutboxCore

extension Dead {
    struct Replay: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Replay dead letters: each becomes a task again.",
            usage: "outbox dead replay (<number> ... | --all | --kind <kind>) [<options>]",
            discussion: """
                It keeps its id, its idempotency key and its history, and gets a new retry
                budget. A task that dies again is a new dead letter.

                  outbox dead replay 17 18
                  outbox dead replay --kind orders.created --limit 10
                  outbox dead replay --all --dry-run
                """)

        @OptionGroup var choice: ChoiceOptions
        @Option(help: "Those that died for this reason.")
        var reason: Reason?
        @Option(help: ArgumentHelp("What the next person should know.", valueName: "text"))
        var note: String?
        @OptionGroup(title: "Database options") var options: DatabaseOptions
        @OptionGroup var output: OutputOptions

        func validate() throws { try choice.check(reason) }

        func run() async throws {
            try await choice.change(choice.filter.filter(reason: reason), options, output, ("replay", "replayed")) {
                store, numbers in
                try await store.replay(numbers, who: choice.person, note: note)
            }
        }
    }

    struct Discard: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Discard dead letters, with a reason; the rows stay as evidence.",
            usage: "outbox dead discard (<number> ... | --all | --kind <kind>) --reason …",
            discussion: """
                  outbox dead discard 17 --reason "test order, see INC-881"
                  outbox dead discard --kind reports.weekly --reason "too old to matter"
                """)

        @OptionGroup var choice: ChoiceOptions
        @Option(
            help: ArgumentHelp("Why nobody will need these tasks; the next person reads it.", valueName: "text"))
        var reason: String
        @OptionGroup(title: "Database options") var options: DatabaseOptions
        @OptionGroup var output: OutputOptions

        func validate() throws {
            guard reason.contains(where: { !$0.isWhitespace }) else {
                throw ValidationError("--reason needs a text.")
            }
            try choice.check(nil)
        }

        func run() async throws {
            try await choice.change(choice.filter.filter(), options, output, ("discard", "discarded")) {
                store, numbers in
                try await store.discard(numbers, who: choice.person, reason: reason)
            }
        }
    }
}

/// Which dead letters are to be changed, and who says so.
struct ChoiceOptions: ParsableArguments {
    @Argument(help: "The numbers of dead letters, as outbox dead list shows them.")
    var numbers: [Int64] = []
    @OptionGroup var filter: FilterOptions
    @Flag(help: "Every open dead letter.")
    var all = false
    @Option(help: ArgumentHelp("How many at most, the oldest first.", valueName: "count"))
    var limit: Int?
    @Flag(help: "Only say which they would be.")
    var dryRun = false
    @Option(help: ArgumentHelp("Who says so. Default: the user of this machine.", valueName: "name"))
    var who: String?

    var person: String { who ?? NSUserName() }

    func check(_ reason: Reason?) throws {
        let isChoice = filter.kind != nil || filter.incident != nil || reason != nil
        let ways = [!numbers.isEmpty, isChoice, all].filter(\.self).count
        guard ways == 1 else {
            throw ValidationError(
                ways == 0
                    ? "Say which: numbers, --kind, --incident and the like, or --all for every open dead letter."
                    : "Give numbers, or a choice by --kind, --incident and the like, or --all; not several of them."
            )
        }
        if let limit, limit < 1 { throw ValidationError("--limit is 1 or more.") }
    }

    /// Does it, and says how many there were; numbers that are not open, or a choice that matches none, exit with 2.
    func change(
        _ filter: DeadLetterFilter, _ options: DatabaseOptions, _ output: OutputOptions,
        _ verb: (present: String, past: String),
        _ act: (DeadLetters, [Int64]) async throws -> [Int64]
    ) async throws {
        let (chosen, done) = try await options.withSession { session in
            let store = DeadLetters(session)
            let chosen =
                numbers.isEmpty
                ? try await store.numbers(filter, limit: limit)
                : Array(Set(numbers).sorted().prefix(limit ?? .max))
            let done = dryRun ? try await store.open(of: chosen) : try await act(store, chosen)
            return (chosen, done)
        }
        let missed = Set(chosen).subtracting(done).sorted()
        if output.json {
            printJSON { json in
                json.object { json in
                    json.member("dry_run", dryRun)
                    json.member(verb.past) { $0.array { json in for value in done { json.value(value) } } }
                    json.member("not_open") { $0.array { json in for value in missed { json.value(value) } } }
                }
            }
        } else if !chosen.isEmpty {
            let letters = done.count == 1 ? "1 dead letter" : "\(done.count) dead letters"
            let which = done.isEmpty || done.count > 20 ? "" : ": " + list(done)
            say((dryRun ? "would \(verb.present) \(letters)" : "\(verb.past) \(letters)") + which)
        }
        guard !chosen.isEmpty else {
            throw Problem(
                .incomplete, "no open dead letter matches", hint: "outbox dead list shows those that are open")
        }
        guard missed.isEmpty else {
            throw Problem(
                .incomplete,
                "not open, or not there: \(list(Array(missed.prefix(20))))" + (missed.count > 20 ? " …" : ""),
                hint: "outbox dead show NUMBER says what became of it")
        }
    }

    private func list(_ numbers: [Int64]) -> String { numbers.map(String.init).joined(separator: ", ") }
}
