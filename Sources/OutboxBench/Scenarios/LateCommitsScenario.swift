// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import OutboxCore
internal import OutboxRelay

/// Transactions that commit long after they enqueued, behind tasks that have run already: none may be lost.
package struct LateCommitsScenario: Scenario {
    package let name = "late-commits"
    package let summary =
        "8 writers, 1 of 40 transactions open for up to 10 s: nothing lost, and how long after the commit"
    package let floor = "the tasks of the transactions that commit at once, in the same run"
    package let defaults = "60 s, 1 run"
    package let takes = "1 min"

    package init() {}

    package func measure(in context: BenchContext) async throws -> [ScenarioResult] {
        var result = ScenarioResult(name, "late ones", unit: "ms p50", runs: [])
        var late: [Double] = []
        var prompt: [Double] = []
        var costs: [Cost] = []
        for _ in 0..<(context.sizes.runs ?? 1) {
            let sample = try await measureOnce(in: context)
            late += sample.late
            prompt += sample.prompt
            costs.append(sample.cost)
            result.runs.append(
                .init(
                    value: sample.late.isEmpty ? sample.prompt.median : sample.late.median, floor: sample.prompt.median)
            )
        }
        result.cost = Cost(medianOf: costs)
        result.figures = [
            .init("lost", 0, "tasks"), .init("late", Double(late.count), "of \(late.count + prompt.count) tasks"),
            .init("late p99", late.percentile(99), "ms"), .init("max", late.max() ?? .nan, "ms"),
            .init("prompt p99", prompt.percentile(99), "ms"), .init("max", prompt.max() ?? .nan, "ms"),
        ]
        return [result]
    }

    private struct Sample: Sendable {
        let late: [Double]
        let prompt: [Double]
        let cost: Cost
    }

    private func measureOnce(in context: BenchContext) async throws -> Sample {
        try await context.bench.empty()
        let starts = Starts()
        let handler = Handler(kind: "bench.task") { task, _ in starts.note([Ledger.number(task.payload)]) }
        let seconds = context.sizes.seconds ?? 60
        return try await context.withLoad("database") { load in
            let relay = try context.relay([handler])
            return try await context.running([relay]) {
                var job = DatabaseJob(.enqueue, schema: context.schema, seconds: seconds)
                job.clients = context.sizes.clients?.first ?? 8
                job.rate = context.sizes.rate ?? 400
                job.payload = context.sizes.payload
                job.keepsTimes = true
                job.longEvery = 40
                job.longest = min(10, seconds / 3)
                let before = try await context.meter.read()
                let report = try await load.run(job, as: DatabaseReport.self)
                let delays = try await starts.delays(after: report)
                let after = try await context.meter.read()
                var sample = (late: [Double](), prompt: [Double]())
                for (delay, isLong) in zip(delays, report.wasLong) {
                    if isLong { sample.late.append(delay) } else { sample.prompt.append(delay) }
                }
                return Sample(
                    late: sample.late, prompt: sample.prompt,
                    cost: after.cost(since: before, tasks: report.transactions))
            }
        }
    }
}
