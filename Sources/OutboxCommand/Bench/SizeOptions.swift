// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import ArgumentParser
internal import OutboxBench

/// How much `outbox bench` measures; each scenario has defaults of its own.
struct SizeOptions: ParsableArguments {
    @Option(help: ArgumentHelp("How often floor and subject are measured; the median counts.", valueName: "count"))
    var runs: Int?
    @Option(help: ArgumentHelp("How many tasks a run drains.", valueName: "count"))
    var tasks: Int?
    @Option(help: ArgumentHelp("The size of each payload.", valueName: "bytes"))
    var payload = 200
    @Option(help: ArgumentHelp("How many tasks a relay runs at once.", valueName: "count"))
    var concurrency = 1000
    @Option(help: ArgumentHelp("How long each part lasts, where it goes by time.", valueName: "number"))
    var seconds: Double?
    @Option(help: ArgumentHelp("How many tasks are enqueued in a second.", valueName: "number"))
    var rate: Double?
    @Option(help: ArgumentHelp("How many clients enqueue at once, such as 1,8,32.", valueName: "list"))
    var clients: String?

    func validate() throws {
        func require(_ holds: Bool, _ rule: String) throws { if !holds { throw ValidationError(rule) } }
        try require(runs.map { (1...1000).contains($0) } ?? true, "--runs must be 1 to 1000.")
        try require(tasks.map { (1...100_000_000).contains($0) } ?? true, "--tasks must be 1 to 100000000.")
        try require((0...1_048_576).contains(payload), "--payload must be 0 to 1048576 bytes.")
        try require((1...10_000).contains(concurrency), "--concurrency must be 1 to 10000.")
        try require(seconds.map { (0.1...86_400).contains($0) } ?? true, "--seconds must be 0.1 to 86400.")
        try require(rate.map { (1...1_000_000).contains($0) } ?? true, "--rate must be 1 to 1000000 tasks in a second.")
        try require(
            clients == nil || clientCounts != nil, "--clients must be numbers of 1 to 256, such as 8 or 1,8,32.")
    }

    private var clientCounts: [Int]? {
        guard let clients else { return nil }
        let counts = clients.split(separator: ",", omittingEmptySubsequences: false).map { Int($0) }
        return counts.allSatisfy { $0.map { (1...256).contains($0) } ?? false } ? counts.compactMap(\.self) : nil
    }

    var sizes: BenchSizes {
        var sizes = BenchSizes()
        sizes.runs = runs
        sizes.tasks = tasks
        sizes.payload = payload
        sizes.concurrency = concurrency
        sizes.seconds = seconds
        sizes.rate = rate
        sizes.clients = clientCounts
        return sizes
    }
}
