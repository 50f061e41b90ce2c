// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import ArgumentParser
internal import OutboxBench
internal import OutboxCore
internal import PostgresClient

/// `outbox bench`: what this database and this machine make of it.
struct Bench: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Measure how fast a relay drains tasks, beside the floor of the same run.",
        discussion: """
            It makes a schema outbox_bench in the database, fills it, drains it, and drops it; nothing
            else is touched. The floor is a bare loop over libpq that sends the relay's own claims and
            settlements and does nothing with the tasks: what a relay takes longer is the relay's own.
            Absolute figures are the machine's; compare the ratios.

              outbox bench --database postgresql://localhost/scratch
            """)

    @Option(help: ArgumentHelp("How many tasks a run drains.", valueName: "count")) var tasks = 100_000
    @Option(help: ArgumentHelp("The size of each payload.", valueName: "bytes")) var payload = 200
    @Option(help: ArgumentHelp("How many runs; the median counts.", valueName: "count")) var runs = 5
    @Option(help: ArgumentHelp("How many tasks the relay runs at once.", valueName: "count")) var concurrency = 1000
    @OptionGroup var options: DatabaseOptions
    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard tasks > 0, runs > 0, (0...1_048_576).contains(payload), (1...10_000).contains(concurrency) else {
            throw ValidationError(
                "--tasks and --runs are at least 1, --payload 0 to 1048576, --concurrency 1 to 10000.")
        }
    }

    func run() async throws {
        var bench = DrainBench()
        bench.tasks = tasks
        bench.payloadBytes = payload
        bench.runs = runs
        bench.concurrency = concurrency
        let settings = try options.settings()
        let isJSON = output.json
        let results = try await bench.measure(try settings.configuration(), connectionString: settings.url ?? "") {
            run in
            guard !isJSON else { return }
            print(
                "floor \(Int(run.floor)) tasks/s, relay \(Int(run.relay)) tasks/s, ratio \(rounded(run.ratio)), "
                    + "relay CPU \(rounded(run.relayCPU.inSeconds * 1000)) ms per 1,000 tasks")
        }
        let ratios = results.map(\.ratio)
        if isJSON {
            printJSON { json in
                json.object { json in
                    json.member("floor_per_second", results.map(\.floor).median)
                    json.member("relay_per_second", results.map(\.relay).median)
                    json.member("ratio", ratios.median)
                    json.member("relay_cpu_ms_per_1000", results.map { $0.relayCPU.inSeconds * 1000 }.median)
                }
            }
        } else {
            print(
                "median of \(runs): ratio \(rounded(ratios.median)) (\(rounded(ratios.min() ?? .nan)) to \(rounded(ratios.max() ?? .nan)))"
            )
        }
    }
}

private func rounded(_ value: Double) -> Double { (value * 100).rounded() / 100 }
