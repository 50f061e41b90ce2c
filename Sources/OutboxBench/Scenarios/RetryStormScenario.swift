// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import OutboxCore
internal import OutboxHTTP
internal import OutboxRelay

/// What an endpoint that fails everything does to its neighbours and to itself.
///
///     calm ── a burst of tasks, and everything answers 503 ──► storm ── 200 again ──► recovery, until all is delivered
///
/// Three streams of tasks go on all the time: for the endpoint that fails, for a healthy one, and for a Swift handler.
package struct RetryStormScenario: Scenario {
    package let name = "retry-storm"
    package let summary = "an endpoint answers 503 to everything, and recovers, while a healthy one and a handler go on"
    package let floor = "the healthy endpoint and the handler before the storm"
    package let defaults = "10 s calm, 10 s storm, 200 tasks/s of each kind, a burst of 2,000, 64 in flight"
    package let takes = "1 min"

    private static let concurrency = 64

    package init() {}

    package func measure(in context: BenchContext) async throws -> [ScenarioResult] {
        try await context.withLoad("receiver") { receiver in
            let port = try await receiver.receiver().port
            let transport = HTTPTransport()
            let storm = RetryStorm(
                context: context, receiver: receiver, length: .seconds(context.sizes.seconds ?? 10),
                rate: context.sizes.rate ?? 200, burst: context.sizes.tasks ?? 2000)
            let relay = try context.relay(
                try storm.handlers(transport, url: "http://127.0.0.1:\(port)"), concurrency: Self.concurrency)
            let report = try await context.running([relay]) { try await storm.run() }
            await transport.shutDown()
            let remaining = try await context.bench.remaining()
            guard remaining == 0 else { throw BenchFailure("\(remaining) tasks were delivered and not settled") }
            return results(report)
        }
    }

    private func results(_ report: RetryStorm.Report) -> [ScenarioResult] {
        let neighbours = [RetryStorm.Kind.healthy, .handler].map { kind in
            let calm = report.calm[kind] ?? []
            let storm = report.storm[kind] ?? []
            var result = ScenarioResult(
                name, kind.title, unit: "tasks/s",
                runs: [
                    .init(
                        value: Double(storm.count) / report.stormLength.inSeconds,
                        floor: Double(calm.count) / report.calmLength.inSeconds)
                ])
            for (phase, delays) in [("calm", calm), ("storm", storm), ("recovery", report.recovery[kind] ?? [])] {
                result.figures.append(.init("\(phase) p50", delays.percentile(50), "ms"))
                result.figures.append(.init("\(phase) p99", delays.percentile(99), "ms"))
            }
            return result
        }
        let seen = report.failing
        let seconds = Int(report.stormLength.inSeconds.rounded(.up))
        let during = Array(seen.perSecond.prefix(seconds)).map(Double.init)
        let after = Array(seen.perSecond.dropFirst(seconds)).map(Double.init)
        var failing = ScenarioResult(
            name, "the failing endpoint", unit: "requests/s",
            runs: [.init(value: during.reduce(0, +) / Double(max(during.count, 1)))])
        failing.figures = [
            .init("peak during", during.max() ?? 0, "requests/s"),
            .init("mean after", after.reduce(0, +) / Double(max(after.count, 1)), "requests/s"),
            .init("peak after", after.max() ?? 0, "requests/s"),
            .init("tasks", Double(seen.keys)),
            .init("attempts a task", Double(seen.requests) / Double(max(seen.keys, 1))),
            .init("most attempts", Double(seen.highestAttempt)),
            .init("delivered twice", Double(seen.repeatedKeys)),
            .init("last delivered after", report.recoveryLength.inSeconds, "s"),
        ]
        return neighbours + [failing]
    }
}
