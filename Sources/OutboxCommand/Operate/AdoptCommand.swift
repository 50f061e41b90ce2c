// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import ArgumentParser
internal import Foundation
internal import Outbox
internal import OutboxCore
internal import PostgresClient

/// `outbox adopt`: says what becomes of tasks that came with a copy of their database.
struct Adopt: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Say what becomes of the tasks of a restored, cloned or moved database.",
        usage: "outbox adopt [--deliver | --bury] [<options>]",
        discussion: """
            A dump that is restored elsewhere brings its tasks with it. So that none is run
            twice, relays run nothing in a database that the tasks do not belong to.
            Without a choice this shows where they come from and how many there are.

              outbox adopt
              outbox adopt --bury         in a copy: for staging, for a test
              outbox adopt --deliver      in the database that takes the other's place:
                                          after an upgrade, a move, the loss of the other

            Tasks that are buried are open dead letters, reason "restored". To take it
            back: outbox dead replay --reason restored.
            """)

    enum Choice: String, EnumerableFlag {
        case deliver, bury

        static func help(for value: Choice) -> ArgumentHelp? {
            switch value {
            case .deliver: "Run the tasks from here."
            case .bury: "Make dead letters of the tasks; nothing is run, and nothing is lost."
            }
        }
    }

    @Flag var choice: Choice?
    @Option(help: ArgumentHelp("Who says so. Default: the user of this machine.", valueName: "name"))
    var who: String?
    @OptionGroup(title: "Database options") var options: DatabaseOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
        let (report, concerned) = try await options.withSession { session in
            let report = try await AdoptionReport.read(session)
            if choice == .bury, report.origin.isHere {
                throw Problem(
                    .incomplete, "the tasks belong to this database, \(report.origin.here), so none was buried",
                    hint: "check --database; in a copy of the server's files: DELETE FROM \(session.schema).home first")
            }
            guard let choice, !report.origin.isHere else { return (report, nil as Int?) }
            return (report, try await adopt(choice, session))
        }
        if output.json {
            printJSON { json in
                json.object { json in
                    report.write(to: &json)
                    json.member("delivered", choice == .deliver ? concerned : nil)
                    json.member("buried", choice == .bury ? concerned : nil)
                }
            }
        } else {
            Terminal.output.write(report.text)
        }
        if let concerned, let choice {
            if !output.json { say(Self.sentence(choice, concerned)) }
        } else if report.origin.isHere {
            if !output.json { say("the tasks belong here: nothing to adopt") }
        } else {
            throw Problem(
                .incomplete, "nothing is changed: say what becomes of the tasks",
                hint: "outbox adopt --bury makes dead letters of them, outbox adopt --deliver runs them from here")
        }
    }

    private func adopt(_ choice: Choice, _ session: Session) async throws -> Int {
        let statement = Statement(
            "SELECT \(session.schema.quoted).adopt($1, who => $2)",
            binds: [choice.rawValue.bind, (who ?? NSUserName()).bind])
        // all of them in one transaction, however many: half of them adopted is nothing to go on from
        return try await session.database.withConnection { connection in
            try await connection.run([statement], timeout: .seconds(3600))[0][0].decode(Int.self, at: 0)
        }
    }

    private static func sentence(_ choice: Choice, _ count: Int) -> String {
        let tasks = count == 1 ? "1 task" : "\(count) tasks"
        return switch choice {
        case .deliver: "adopted: \(tasks) to run from here"
        case .bury:
            "adopted: \(tasks) buried" + (count > 0 ? "; see outbox dead list --reason restored" : "")
        }
    }
}
