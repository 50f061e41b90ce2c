// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import ArgumentParser

/// `outbox status`: the one screen.
struct Status: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show backlog, relays, attempts, incidents and dead letters.",
        usage: "outbox status [<options>]",
        discussion: """
            All of it is read from statistics that are kept as work is done, and the
            backlog is counted up to \(StatusReport.countedUpTo) tasks a lane: looking costs the
            database little at any size.

              outbox status
              watch -n 5 outbox status
            """)

    @Option(help: ArgumentHelp("How far back attempts are counted.", valueName: "minutes"))
    var minutes = 10
    @OptionGroup(title: "Database options") var options: DatabaseOptions
    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard (1...10_080).contains(minutes) else { throw ValidationError("--minutes is 1 to 10080, a week.") }
    }

    func run() async throws {
        let report = try await options.withSession { try await StatusReport.read($0, minutes: minutes) }
        if output.json { printJSON { report.write(to: &$0) } } else { Terminal.output.write(report.text) }
    }
}
