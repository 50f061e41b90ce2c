// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import ArgumentParser

/// `outbox config`: looks at the configuration.
struct ConfigCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "config",
        abstract: "Check the configuration.",
        subcommands: [Check.self]
    )

    struct Check: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Check a configuration file as outbox run would, and say everything that is wrong.",
            discussion: """
                References to variables and files are resolved; nothing is dialled.

                  outbox config check
                  outbox config check deploy/outbox.yaml
                """)

        @Argument(help: "The file. Default: OUTBOX_CONFIG, or outbox.yaml.")
        var file: String?

        func run() async throws {
            let environment = DatabaseOptions.environment
            let file = try ConfigurationFile.find(option: file, environment: environment)
            do {
                let summary = try Configuration.read(file, environment: environment).summary
                say(summary + (file == .none ? " (there is no file; the environment alone was checked)" : ""))
            } catch {
                for line in error.lines { Terminal.error.write(line + "\n") }
                throw ExitCode(ExitStatus.misconfigured.rawValue)
            }
        }
    }
}

extension Configuration {
    /// One line on what it comes to.
    var summary: String {
        func count(_ count: Int, _ noun: String) -> String { "\(count) \(noun)\(count == 1 ? "" : "s")" }
        let routes = deliveries.reduce(0) { $0 + $1.kinds.count + ($1.otherKinds ? 1 : 0) }
        return "ok: \(count(deliveries.count, "endpoint")), \(count(routes, "route")), "
            + "\(count(alerts.count, "alert channel")) besides the log"
    }
}
