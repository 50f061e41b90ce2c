// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import OutboxCore
internal import OutboxRelay
internal import Synchronization

/// How long after its commit a task begins to run, and what waiting for it costs.
///
/// Commits are in a process of their own, on the same clock. The time counts from the moment at which COMMIT is sent, so
/// that the server's flush is in it, on both sides: a listener may know of a commit before its author does.
package struct LatencyScenario: Scenario {
    package let name = "latency"
    package let summary =
        "from COMMIT to the handler's start at 100 tasks/s, by polling and with a nudge; and being idle"
    package let floor = "NOTIFY in the producer's transaction, and a bare loop over libpq that listens and claims"
    package let defaults = "100 tasks/s, 10 s each, 3 runs; 20 s idle"
    package let takes = "3 min"

    package init() {}

    private enum Waker { case polling, nudge, notification }

    package func measure(in context: BenchContext) async throws -> [ScenarioResult] {
        var polling = ScenarioResult(name, "polling", unit: "ms p50", runs: [])
        var nudged = ScenarioResult(name, "nudged", unit: "ms p50", runs: [])
        var samples: [Waker: [Sample]] = [:]
        for run in 1...(context.sizes.runs ?? 3) {
            var p50: [Waker: Double] = [:]
            for waker in [Waker.notification, .polling, .nudge] {
                let sample = try await measure(waker, in: context)
                p50[waker] = sample.milliseconds.median
                samples[waker, default: []].append(sample)
            }
            context.note("run \(run): polling \(p50[.polling] ?? 0) ms, nudged \(p50[.nudge] ?? 0) ms")
            polling.runs.append(.init(value: p50[.polling] ?? .nan, floor: p50[.notification]))
            nudged.runs.append(.init(value: p50[.nudge] ?? .nan, floor: p50[.notification]))
        }
        let floors = samples[.notification] ?? []
        for (waker, path) in [(Waker.polling, 0), (.nudge, 1)] {
            let own = samples[waker] ?? []
            var result = path == 0 ? polling : nudged
            result.cost = Cost(medianOf: own.map(\.cost))
            result.floorCost = Cost(medianOf: floors.map(\.cost))
            result.figures = Self.figures(own, of: "") + Self.figures(floors, of: "floor's ")
            if path == 0 { polling = result } else { nudged = result }
        }
        return [polling, nudged, try await IdleRelay(seconds: (context.sizes.seconds ?? 10) * 2).measure(in: context)]
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
            if waker == .notification {
                let flag = Flag()
                async let served = onThread { [url = context.url, schema = context.schema] in
                    let listening = Flag()
                    return try FloorLoop(url: url, schema: schema).serve(
                        .init(
                            flag: flag,
                            pause: { connection in
                                if !listening.isRaised {
                                    try connection.run("LISTEN bench_floor")
                                    listening.raise()
                                } else {
                                    try connection.awaitNotification(milliseconds: 250)
                                }
                            },
                            claimed: { starts.note($0) }))
                }
                do {
                    let sample = try await produce(.enqueueAndNotify, load, starts, nil, in: context)
                    flag.raise()
                    _ = try await served
                    return sample
                } catch {
                    flag.raise()
                    _ = try await served
                    throw error
                }
            }
            let handler = Handler(kind: "bench.task") { task, _ in starts.note([Ledger.number(task.payload)]) }
            let relay = try context.relay([handler])
            return try await context.running([relay]) {
                try await produce(.enqueue, load, starts, waker == .nudge ? relay : nil, in: context)
            }
        }
    }

    private func produce(
        _ work: DatabaseJob.Work, _ load: LoadProcess, _ starts: Starts, _ nudged: Relay?, in context: BenchContext
    ) async throws -> Sample {
        let seconds = context.sizes.seconds ?? 10
        // whoever drains is to have connected, and to be at rest
        try await Task.sleep(for: .seconds(min(1, seconds)))
        var job = DatabaseJob(work, schema: context.schema, seconds: seconds)
        job.rate = context.sizes.rate ?? 100
        job.payload = context.sizes.payload
        job.keepsTimes = true
        job.tells = nudged != nil
        let before = try await context.meter.read()
        let report = try await load.run(job, as: DatabaseReport.self) { nudged?.nudge() }
        let after = try await context.meter.read()
        let milliseconds = try await starts.delays(after: report)
        var cost = after.cost(since: before, tasks: report.transactions)
        cost.claimBuffers = nil
        let core = after.postgresCPU.flatMap { now in before.postgresCPU.map { now - $0 } }.map {
            (($0 + after.ownCPU - before.ownCPU).inSeconds / after.seconds(since: before)) * 100
        }
        return Sample(milliseconds: milliseconds, corePercent: core, cost: cost)
    }
}

/// When each task began to run, by ``Monotonic``.
final class Starts: Sendable {
    private let times = Mutex<[Int: Int64]>([:])
    private let repeated = Flag()

    func note(_ numbers: [Int]) {
        let now = Monotonic.now
        times.withLock { times in
            for number in numbers where times.updateValue(now, forKey: number) != nil { repeated.raise() }
        }
    }

    var count: Int { times.withLock(\.count) }

    /// The milliseconds from each commit of a report to the start of its task, in the report's order.
    ///
    /// - Throws: ``BenchFailure`` if a task ran twice, or has not begun a minute after the last one did.
    func delays(after report: DatabaseReport) async throws -> [Double] {
        var last = (count: -1, since: Monotonic.now)
        while count < report.numbers.count {
            let count = count
            if count != last.count { last = (count, Monotonic.now) }
            guard Monotonic.now - last.since < 60_000_000_000 else {
                throw BenchFailure("\(report.numbers.count - count) of \(report.numbers.count) tasks were lost")
            }
            try await Task.sleep(for: .milliseconds(5))
        }
        guard !repeated.isRaised else { throw BenchFailure("a task ran more than once") }
        let times = times.withLock(\.self)
        return try zip(report.numbers, report.times).map { number, committed in
            guard let start = times[number] else { throw BenchFailure("task \(number) was lost") }
            return Double(start - committed) / 1e6
        }
    }
}
