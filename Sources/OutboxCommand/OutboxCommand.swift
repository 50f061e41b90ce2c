// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import OutboxBench
import PostgresClient

@main
struct OutboxCommand {
    static func main() async throws {
        let url = CommandLine.arguments[1]
        var bench = DrainBench()
        if CommandLine.arguments.count > 2 { bench.concurrency = Int(CommandLine.arguments[2]) ?? 1000 }
        let runs = try await bench.measure(DatabaseConfiguration(url: url), connectionString: url) { run in
            print("floor \(Int(run.floor))/s relay \(Int(run.relay))/s ratio \(run.ratio) cpu/1000 \(run.relayCPU)")
        }
        print("median ratio", runs.map(\.ratio).median)
    }
}
