// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import OutboxCore
internal import OutboxHTTP
internal import OutboxRelay

/// How fast a relay delivers tasks by HTTP, the whole way: claimed, posted, settled.
package struct HTTPScenario: Scenario {
    package let name = "http"
    package let summary = "1-KB tasks posted over HTTP/1.1 keep-alive to a local server, 8, 64 and 256 in flight"
    package let floor = "a bare libcurl multi loop that posts as many bytes to the same server, and has no database"
    package let defaults = "20,000 tasks of 1 KB, 5 runs"
    package let takes = "1 min"

    private static let bodyBytes = 1024
    private static let path = "/hook"

    package init() {}

    package func measure(in context: BenchContext) async throws -> [ScenarioResult] {
        try await context.withLoad("receiver") { receiver in
            let url = "http://127.0.0.1:\(try await receiver.receiver().port)\(Self.path)"
            var results: [ScenarioResult] = []
            for inFlight in [8, 64, 256] {
                results.append(try await measure(inFlight, url: url, receiver, in: context))
            }
            return results
        }
    }

    private func measure(
        _ inFlight: Int, url: String, _ receiver: LoadProcess, in context: BenchContext
    ) async throws -> ScenarioResult {
        let tasks = context.sizes.tasks ?? 20_000
        var result = ScenarioResult(name, "\(inFlight) in flight", unit: "tasks/s", runs: [])
        var costs: [Cost] = []
        var floorCosts: [Cost] = []
        for run in 1...(context.sizes.runs ?? 5) {
            let floor = try await Self.floor(tasks, inFlight, url: url, in: context)
            let relay = try await Self.deliver(tasks, inFlight, url: url, receiver, in: context)
            context.note("\(result.variant), run \(run): \(Int(relay.rate)) tasks/s, floor \(Int(floor.rate))")
            result.runs.append(.init(value: relay.rate, floor: floor.rate))
            costs.append(relay.cost)
            floorCosts.append(floor.cost)
        }
        result.cost = Cost(medianOf: costs)
        result.floorCost = Cost(medianOf: floorCosts)
        let ratios = zip(costs, floorCosts).compactMap { cost, floor in
            cost.ownCPU.flatMap { own in floor.ownCPU.map { own / $0 } }
        }
        result.figures.append(.init("relay CPU over the bare loop's", ratios.median))
        if let rate = try await Wrk.rate(url: url, connections: inFlight, bodyBytes: Self.bodyBytes) {
            result.figures.append(.init("wrk", rate, "requests/s"))
        }
        return result
    }

    private static func floor(
        _ tasks: Int, _ inFlight: Int, url: String, in context: BenchContext
    ) async throws -> Drain.Outcome {
        let before = try await context.meter.read()
        try await onThread {
            let body = [UInt8](repeating: UInt8(ascii: "x"), count: bodyBytes)
            try CurlFloor(url: url, inFlight: inFlight, body: body).run(tasks)
        }
        let after = try await context.meter.read()
        return Drain.Outcome(
            rate: Double(tasks) / after.seconds(since: before), cost: after.cost(since: before, tasks: tasks))
    }

    private static func deliver(
        _ tasks: Int, _ inFlight: Int, url: String, _ receiver: LoadProcess, in context: BenchContext
    ) async throws -> Drain.Outcome {
        try await context.bench.empty()
        try await context.bench.preload(tasks, payload: bodyBytes)
        let cameBefore = try await receiver.receiver().seen(at: path).requests
        let ledger = Ledger(tasks: tasks)
        let transport = HTTPTransport()
        let handlers = transport.handlers(
            deliveringTo: try HTTPEndpoint(name: "receiver", url: url), kinds: ["bench.task"]
        ).map { handler in
            // one that is not delivered at once shows as a task that takes for ever, and as a request too many
            handler.watched { task, outcome in if outcome == .succeeded { ledger.note(task) } }
        }
        let relay = try context.relay(handlers, concurrency: inFlight)
        let before = try await context.meter.read()
        try await context.running([relay]) { try await ledger.wait() }
        let after = try await context.meter.read()
        await transport.shutDown()
        try ledger.check()
        let came = try await receiver.receiver().seen(at: path).requests - cameBefore
        guard came == tasks else { throw BenchFailure("\(tasks) tasks made \(came) requests") }
        let remaining = try await context.bench.remaining()
        guard remaining == 0 else { throw BenchFailure("\(remaining) tasks were delivered and not settled") }
        return Drain.Outcome(
            rate: Double(tasks) / after.seconds(since: before), cost: after.cost(since: before, tasks: tasks))
    }
}
