// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import ArgumentParser
internal import OutboxBench
internal import OutboxRelay
internal import PostgresClient

#if canImport(Darwin)
internal import Darwin
#else
internal import Glibc
#endif

/// `outbox bench`: what this database and this machine make of it.
struct Bench: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Measure, in a schema of its own, what this database makes of it.",
        discussion: """
            It makes a schema outbox_bench in the database, fills and drains it, and
            drops it; nothing else is touched. Each scenario measures its subject and a
            floor in turn, on the same machine in the same minute: read the ratios, with
            the lowest and the highest run beside the median. Absolute figures are the
            machine's. CPU and write-ahead log are those of the whole server, so that
            what others do there meanwhile counts as well.

              outbox bench drain --database postgresql://localhost/scratch

            \(Self.scenarioList)
            Without a name, all run but the long ones, which takes a quarter of an hour.
            outbox bench --list says more.
            """)

    /// A line for each scenario: its name and how long it takes.
    private static var scenarioList: String {
        let width = Scenarios.all.map(\.name.count).max() ?? 0
        return Scenarios.all.map { scenario in
            "  \(scenario.name)\(String(repeating: " ", count: width - scenario.name.count))  "
                + "\(scenario.takes)\(scenario.isLong ? " (long)" : "")\n"
        }.joined()
    }

    @Argument(help: ArgumentHelp("What to measure.", valueName: "scenario")) var scenarios: [String] = []
    @Flag(help: "List the scenarios, their floors and their sizes.") var list = false
    @OptionGroup var sizes: SizeOptions
    @OptionGroup var options: DatabaseOptions
    @OptionGroup var output: OutputOptions

    func validate() throws {
        _ = try chosen()
        guard options.schema == nil else {
            throw ValidationError("The benchmark has a schema of its own; leave --schema out.")
        }
    }

    /// The scenarios that are named, or all that are not long.
    private func chosen() throws -> [any Scenario] {
        guard !scenarios.isEmpty else { return Scenarios.all.filter { !$0.isLong } }
        return try scenarios.map { name in
            guard let scenario = Scenarios.all.first(where: { $0.name == name }) else {
                throw ValidationError(
                    "There is no scenario '\(name)'. There are: \(Scenarios.all.map(\.name).joined(separator: ", ")).")
            }
            return scenario
        }
    }

    func run() async throws {
        if list { return listScenarios() }
        let settings = try options.settings()
        let configuration = try settings.configuration()
        let isJSON = output.json
        let showsProgress = Terminal.error.isTerminal
        let benchmark = Benchmark(configuration, url: settings.url ?? "", sizes: sizes.sizes) { line in
            if showsProgress { Terminal.error.write("\(line)\n") }
        }
        let scenarios = try chosen()
        // The schema is to go whatever happens: a signal ends the measurement, and not the process; nor does a reader of
        // the output, or a load process, that has gone away.
        signal(SIGPIPE, SIG_IGN)
        let running = Task {
            var results: [ScenarioResult] = []
            try await benchmark.run(scenarios) { found in
                results += found
                if !isJSON { BenchText.print(found) }
            }
            return results
        }
        let signals = SignalSources([SIGINT, SIGTERM]) { _ in running.cancel() }
        defer { signals.cancel() }
        let results: [ScenarioResult]
        do {
            results = try await running.value
        } catch let failure as BenchFailure {
            throw Problem(.failed, failure.description, hint: failure.hint)
        } catch is CancellationError {
            throw Problem(.failed, "interrupted; the schema outbox_bench is dropped")
        }
        if isJSON { BenchJSON.print(results) } else { Terminal.output.write(BenchText.legend) }
    }

    private func listScenarios() {
        for scenario in Scenarios.all {
            say("\(scenario.name)  (\(scenario.takes)\(scenario.isLong ? ", only when named" : ""))")
            say("  measures  \(scenario.summary)")
            say("  floor     \(scenario.floor)")
            say("  default   \(scenario.defaults)")
        }
    }
}
