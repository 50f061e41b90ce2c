// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import OutboxCore
internal import OutboxRelay

/// How long after its commit a task begins to run, and what waiting for it costs.
///
/// Commits are in a process of their own, on the same clock. The time counts from the moment at which COMMIT is sent, so
/// that the server's flush is in it, on both sides: a listener may know of a commit before its author does.
package struct LatencyScenario: Scenario {
    package let name = "latency"
    package let summary =
        "from COMMIT to the handler's start at 100 tasks/s, by polling and nudged over a socket; and being idle"
    package let floor = "NOTIFY in the producer's transaction, and a bare loop over libpq that listens and claims"
    package let defaults = "100 tasks/s, 10 s each, 3 runs; 20 s idle"
    package let takes = "3 min"

    package init() {}

    private enum Waker {
        case polling, nudge, notification
        /// Nobody drains: what the producers cost by themselves.
        case nobody
    }

    package func measure(in context: BenchContext) async throws -> [ScenarioResult] {
        var samples: [Waker: [Sample]] = [:]
        for run in 1...(context.sizes.runs ?? 3) {
            for waker in [Waker.notification, .polling, .nudge, .nobody] {
                let sample = try await measure(waker, in: context)
                samples[waker, default: []].append(sample)
                context.note(
                    "run \(run), \(waker): p50 \(sample.milliseconds.median) ms, \(sample.corePercent ?? .nan) %")
            }
        }
        let floors = samples[.notification] ?? []
        let results = [("polling", samples[.polling] ?? []), ("nudged", samples[.nudge] ?? [])].map { variant, own in
            var result = ScenarioResult(
                name, variant, unit: "ms p50",
                runs: zip(own, floors).map { .init(value: $0.milliseconds.median, floor: $1.milliseconds.median) })
            result.cost = Cost(medianOf: own.map(\.cost))
            result.floorCost = Cost(medianOf: floors.map(\.cost))
            result.figures = Self.figures(own, of: "") + Self.figures(floors, of: "floor's ")
            let producers = (samples[.nobody] ?? []).compactMap(\.corePercent).median
            result.figures.append(.init("the producer's own transactions in these", producers, "% of a core"))
            return result
        }
        let idle = IdleRelay(seconds: (context.sizes.seconds ?? 10) * 2)
        return results + [try await idle.measure(in: context)]
    }

    /// Of all runs together: a percentile so far out needs every sample that there is.
    private static func figures(_ samples: [Sample], of whose: String) -> [ScenarioResult.Figure] {
        let all = samples.flatMap(\.milliseconds)
        return [
            .init("\(whose)p99", all.percentile(99), "ms"), .init("\(whose)p99.9", all.percentile(99.9), "ms"),
            .init("\(whose)CPU of relay and Postgres", samples.compactMap(\.corePercent).median, "% of a core"),
        ]
    }

    private struct Sample: Sendable {
        let milliseconds: [Double]
        /// CPU of this process and of the server; `nil` if that is not known.
        let corePercent: Double?
        let cost: Cost
    }

    private func measure(_ waker: Waker, in context: BenchContext) async throws -> Sample {
        try await context.bench.empty()
        let starts = Starts()
        return try await context.withLoad("database") { load in
            if waker == .notification { return try await measureFloor(load, starts, in: context) }
            if waker == .nobody { return try await produce(.enqueue, load, nil, in: context) }
            let handler = Handler(kind: "bench.task") { task, _ in starts.note([Ledger.number(task.payload)]) }
            let socket = waker == .nudge ? OwnProcess.temporaryPath("outbox-bench.sock") : nil
            let relay = try context.relay([handler], nudgeSocket: socket)
            return try await context.running([relay]) {
                try await produce(.enqueue, load, starts, nudging: socket, in: context)
            }
        }
    }

    private func measureFloor(
        _ load: LoadProcess, _ starts: Starts, in context: BenchContext
    ) async throws -> Sample {
        let flag = Flag()
        async let served = onThread { [url = context.url, schema = context.schema] in
            let listens = Flag()
            return try FloorLoop(url: url, schema: schema).serve(
                .init(
                    flag: flag,
                    pause: { connection in
                        if listens.isRaised { return try connection.awaitNotification(milliseconds: 250) }
                        try connection.run("LISTEN bench_floor")
                        listens.raise()
                    },
                    claimed: { starts.note($0) }))
        }
        do {
            let sample = try await produce(.enqueueAndNotify, load, starts, in: context)
            flag.raise()
            _ = try await served
            return sample
        } catch {
            flag.raise()
            _ = try await served
            throw error
        }
    }

    private func produce(
        _ work: DatabaseJob.Work, _ load: LoadProcess, _ starts: Starts?, nudging socket: String? = nil,
        in context: BenchContext
    ) async throws -> Sample {
        let seconds = context.sizes.seconds ?? 10
        // whoever drains is to have connected, and to be at rest
        try await Task.sleep(for: .seconds(min(1, seconds)))
        var job = DatabaseJob(work, schema: context.schema, seconds: seconds)
        job.rate = context.sizes.rate ?? 100
        job.payload = context.sizes.payload
        job.keepsTimes = true
        job.nudgeSocket = socket
        let before = try await context.meter.read()
        let report = try await load.run(job, as: DatabaseReport.self)
        let after = try await context.meter.read()
        let milliseconds = try await starts?.delays(after: report) ?? []
        var cost = after.cost(since: before, tasks: report.transactions)
        cost.claimBuffers = nil
        let core = after.postgresCPU.flatMap { now in before.postgresCPU.map { now - $0 } }.map {
            (($0 + after.ownCPU - before.ownCPU).inSeconds / after.seconds(since: before)) * 100
        }
        return Sample(milliseconds: milliseconds, corePercent: core, cost: cost)
    }
}
