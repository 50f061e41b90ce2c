// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Logging
internal import Outbox
internal import OutboxCore
internal import OutboxHTTP
internal import OutboxRelay

/// What the sidecar runs, read and checked: the file `outbox.yaml` and what the environment overrides.
struct Configuration: Sendable {
    /// An endpoint, how deliveries to it are tried again, and which kinds the routes send there.
    struct Delivery: Sendable {
        let endpoint: HTTPEndpoint
        let retry: RetryPolicy
        var kinds: [String] = []
        /// Whether it gets every kind that has no route.
        var otherKinds = false
    }

    enum AlertTarget: Sendable {
        case webhook(HTTPEndpoint)
        case command(CommandChannel)

        var name: String {
            switch self {
            case .webhook(let endpoint): endpoint.name
            case .command(let channel): channel.name
            }
        }
    }

    var database = DatabaseSettings()
    var relay = RelayConfiguration()
    var deliveries: [Delivery] = []
    var alerts: [AlertTarget] = []
    var logLevel = LogLevel.info
    var logFormat = LogFormat.text
}

/// Where the outbox is.
struct DatabaseSettings: Equatable, Sendable {
    /// `nil`: neither the file nor a variable says.
    var url: String?
    var schema = Schema.outbox
}

/// The lowest level that `outbox run` logs, by the names of swift-log.
enum LogLevel: String, CaseIterable, Sendable {
    case trace, debug, info, notice, warning, error, critical

    var level: Logger.Level { Logger.Level(rawValue: rawValue) ?? .info }
}

/// How `outbox run` writes its log.
enum LogFormat: String, CaseIterable, Sendable {
    /// One line for people.
    case text
    /// One JSON object a line.
    case json
}

extension Configuration {
    static let keys = ["database", "relay", "endpoints", "routes", "alerts", "log"]

    /// Reads and checks everything.
    ///
    /// - Throws: ``ConfigurationProblems`` with all that is wrong.
    static func read(_ file: ConfigurationFile, environment: [String: String]) throws(ConfigurationProblems)
        -> Configuration
    {
        var reader = ConfigurationReader(environment: environment)
        let root = reader.root(of: file.text, known: keys)
        var configuration = Configuration()
        configuration.database = reader.database(in: root)
        configuration.deliveries = reader.deliveries(in: root)
        configuration.relay = reader.relay(in: root)
        configuration.relay.schema = configuration.database.schema
        configuration.alerts = reader.alerts(in: root, &configuration.relay)
        let log = reader.section("log", in: root, known: ["level", "format"])
        configuration.logLevel = reader.choice("level", in: log, default: .info)
        configuration.logFormat = reader.choice("format", in: log, default: .text)
        try reader.finish(file)
        return configuration
    }

    /// Reads the part `database` alone, for commands that need nothing else: whoever looks at dead letters need not
    /// have the secrets of the endpoints.
    static func readDatabase(
        _ file: ConfigurationFile, environment: [String: String]
    ) throws(ConfigurationProblems) -> DatabaseSettings {
        var reader = ConfigurationReader(environment: environment)
        let root = reader.root(of: file.text, known: nil)
        let settings = reader.database(in: root)
        try reader.finish(file)
        return settings
    }
}

extension ConfigurationReader {
    func finish(_ file: ConfigurationFile) throws(ConfigurationProblems) {
        guard !problems.isEmpty else { return }
        func line(_ problem: ConfigurationProblem) -> Int {
            if case .line(let line) = problem.origin { line } else { 0 }
        }
        throw ConfigurationProblems(file: file.name, problems: problems.sorted { line($0) < line($1) })
    }

    mutating func database(in root: Section) -> DatabaseSettings {
        let section = section("database", in: root, known: ["url", "schema"])
        var settings = DatabaseSettings()
        settings.url = text("url", in: section, secret: true)?.value
        if let found = text("schema", in: section) {
            do {
                settings.schema = try Schema(found.value)
            } catch {
                report(found.origin, "database.schema \(error.problem)")
            }
        }
        return settings
    }

    mutating func relay(in root: Section) -> RelayConfiguration {
        let section = section(
            "relay", in: root,
            known: [
                "name", "concurrency", "lease", "poll_fastest", "poll_slowest", "nudge_socket", "sweep_interval",
                "stop_grace", "cancellation_grace",
            ])
        var relay = RelayConfiguration()
        if let name = text("name", in: section) { relay.name = name.value }
        relay.concurrency = integer("concurrency", in: section, default: relay.concurrency, bounds: 1...10_000)
        relay.lease = duration("lease", in: section, default: relay.lease, bounds: .seconds(1) ... .seconds(3600))
        let fastest = duration(
            "poll_fastest", in: section, default: relay.poll.lowerBound, bounds: .milliseconds(1) ... .seconds(60))
        let slowest = duration(
            "poll_slowest", in: section, default: max(relay.poll.upperBound, fastest),
            bounds: .milliseconds(1) ... .seconds(60))
        if fastest <= slowest {
            relay.poll = fastest...slowest
        } else {
            report(
                section.origin(of: "poll_slowest"),
                "relay.poll_slowest must not be shorter than relay.poll_fastest")
        }
        if let socket = text("nudge_socket", in: section) {
            do {
                _ = try Nudge(socket: socket.value)
                relay.nudgeSocket = socket.value
            } catch {
                report(socket.origin, "relay.nudge_socket: \(error)")
            }
        }
        let day = Duration.seconds(86_400)
        relay.sweepInterval = duration(
            "sweep_interval", in: section, default: relay.sweepInterval, bounds: .milliseconds(100)...day)
        relay.stopGrace = duration("stop_grace", in: section, default: relay.stopGrace, bounds: .zero...day)
        relay.cancellationGrace = duration(
            "cancellation_grace", in: section, default: relay.cancellationGrace, bounds: .zero...day)
        return relay
    }
}
