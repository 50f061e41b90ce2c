// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import ArgumentParser
internal import Logging
internal import OutboxRelay

/// `outbox run`: the sidecar.
struct Run: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run tasks: deliver them to HTTP endpoints until told to stop.",
        usage: "outbox run [<options>]",
        discussion: """
            With a configuration file, or without one and a single endpoint for every kind:

              outbox run --config outbox.yaml
              DATABASE_URL=postgresql://… OUTBOX_ENDPOINT_URL=https://… outbox run

            Run as many as you like: they share the work. The log goes to standard
            error, a line each. SIGTERM and SIGINT stop it gracefully: running
            deliveries are finished within stop_grace or given back. A second signal
            ends it at once; its tasks run again when their leases end.
            """)

    @Option(help: ArgumentHelp("The lowest level that is logged. Default: info.", valueName: "level"))
    var logLevel: LogLevel?
    @Option(help: "How log lines are written. Default: text.")
    var logFormat: LogFormat?
    @OptionGroup(title: "Database options") var options: DatabaseOptions

    func run() async throws {
        let environment = DatabaseOptions.environment
        let file = try ConfigurationFile.find(option: options.config, environment: environment)
        var configuration: Configuration
        do {
            configuration = try Configuration.read(file, environment: environment)
        } catch {
            throw error.problem
        }
        configuration.database = try options.settings(from: configuration.database)
        configuration.relay.schema = configuration.database.schema
        let level = (logLevel ?? configuration.logLevel).level
        let format = logFormat ?? configuration.logFormat
        let logger = Logger(label: "outbox") { _ in LineLogHandler(level: level, format: format) }
        try await Sidecar(configuration: configuration, logger: logger).run()
    }
}

extension LogFormat: ExpressibleByArgument {}
extension LogLevel: ExpressibleByArgument {}
