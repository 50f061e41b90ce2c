// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// What a task adds to a business transaction.
///
/// Business row alone, with a row of a bare table of the same shape, and with a task take turns in short slices; between
/// slices everything is truncated, so that each begins on empty tables and as far from a checkpoint as the others.
package struct EnqueueScenario: Scenario {
    package let name = "enqueue"
    package let summary = "business transactions that enqueue a task, by 1, 8 and 32 clients, and tasks by the thousand"
    package let floor = "the same with a plain INSERT into a table of the same shape"
    package let defaults = "slices of 1 s, 15 of each kind"
    package let takes = "4 min"

    package init() {}

    package func measure(in context: BenchContext) async throws -> [ScenarioResult] {
        try await context.withLoad("database") { load in
            var results: [ScenarioResult] = []
            for clients in context.sizes.clients ?? [1, 8, 32] {
                results.append(try await measureSingle(clients, load, in: context))
            }
            results.append(try await measureBulk(load, in: context))
            return results
        }
    }

    private func measureSingle(
        _ clients: Int, _ load: LoadProcess, in context: BenchContext
    ) async throws -> ScenarioResult {
        let variant = clients == 1 ? "1 client" : "\(clients) clients"
        var result = ScenarioResult(name, variant, unit: "transactions/s", runs: [])
        var slices = Slices(clients: clients, batch: 1, context: context, load: load)
        for run in 1...(context.sizes.runs ?? 15) {
            let business = try await slices.run(.business)
            // whichever comes second may find a warmer machine: they change places
            var floor = 0.0
            if run % 2 == 1 { floor = try await slices.run(.insert) }
            let value = try await slices.run(.enqueue)
            if run % 2 == 0 { floor = try await slices.run(.insert) }
            context.note("\(variant), run \(run): \(Int(value)), floor \(Int(floor)), business alone \(Int(business))")
            result.runs.append(.init(value: value, floor: floor))
        }
        result.cost = slices.cost(.enqueue)
        result.floorCost = slices.cost(.insert)
        let alone = slices.rates(.business)
        /// Of slices next to each other, in microseconds of one client's time.
        func addition(_ work: DatabaseJob.Work) -> Double {
            zip(slices.rates(work), alone).map { Double(clients) * (1 / $0 - 1 / $1) * 1e6 }.median
        }
        result.figures = [
            .init("business row alone", alone.median, "transactions/s"), .init("a task adds", addition(.enqueue), "µs"),
            .init("an INSERT adds", addition(.insert), "µs"),
        ]
        return result
    }

    private func measureBulk(_ load: LoadProcess, in context: BenchContext) async throws -> ScenarioResult {
        var result = ScenarioResult(name, "1,000 at a time", unit: "tasks/s", runs: [])
        var slices = Slices(clients: 1, batch: 1000, context: context, load: load)
        for run in 1...(context.sizes.runs ?? 15) {
            let order: [DatabaseJob.Work] = run % 2 == 1 ? [.insertMany, .enqueueMany] : [.enqueueMany, .insertMany]
            var rates: [DatabaseJob.Work: Double] = [:]
            for work in order { rates[work] = try await slices.run(work) }
            let value = rates[.enqueueMany] ?? .nan
            context.note("bulk, run \(run): \(Int(value)) tasks/s, floor \(Int(rates[.insertMany] ?? 0))")
            result.runs.append(.init(value: value, floor: rates[.insertMany]))
        }
        result.cost = slices.cost(.enqueueMany)
        result.floorCost = slices.cost(.insertMany)
        return result
    }
}

/// Slices of load of several kinds, and what each came to.
private struct Slices {
    let clients: Int
    let batch: Int
    let context: BenchContext
    let load: LoadProcess
    private var outcomes: [DatabaseJob.Work: [(rate: Double, cost: Cost)]] = [:]

    init(clients: Int, batch: Int, context: BenchContext, load: LoadProcess) {
        (self.clients, self.batch, self.context, self.load) = (clients, batch, context, load)
    }

    /// Runs a slice on empty tables, and returns its rows or transactions in a second.
    mutating func run(_ work: DatabaseJob.Work) async throws -> Double {
        try await context.bench.empty()
        var job = DatabaseJob(work, schema: context.schema, seconds: context.sizes.seconds ?? 1)
        job.clients = clients
        job.batch = batch
        job.payload = context.sizes.payload
        let before = try await context.meter.read()
        let report = try await load.run(job, as: DatabaseReport.self)
        let after = try await context.meter.read()
        let count = report.transactions * batch
        // nothing drains here, and this process does nothing
        var cost = after.cost(since: before, tasks: count)
        (cost.ownCPU, cost.residentBytes) = (nil, nil)
        let rate = Double(count) / report.seconds
        outcomes[work, default: []].append((rate, cost))
        return rate
    }

    func rates(_ work: DatabaseJob.Work) -> [Double] { outcomes[work, default: []].map(\.rate) }
    func cost(_ work: DatabaseJob.Work) -> Cost { Cost(medianOf: outcomes[work, default: []].map(\.cost)) }
}
