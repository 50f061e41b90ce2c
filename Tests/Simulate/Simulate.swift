// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import OutboxSimulation

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// Runs the simulation from the command line: many seeds on all processors, or one with its history.
@main struct Simulate {
    static let usage = """
        usage: simulate [--seeds N] [--from S] [--steps N] [--mutant NAME]
               simulate --seed S [--steps N] [--mutant NAME] [--whole]

          --seeds N       how many seeds to run (1000), the first of them S (0)
          --steps N       how many steps a storm has (1000)
          --seed S        run one seed, and tell its history: made as small as it can be if it fails
          --whole         tell the history of the whole run, even so
          --mutant NAME   with a mistake built in: \(Mutant.allCases.map(\.rawValue).joined(separator: ", "))
        """

    struct Options: Sendable {
        var seeds: UInt64 = 1000
        var from: UInt64 = 0
        var steps = 1000
        var seed: UInt64?
        var mutant: Mutant?
        var isWhole = false
    }

    static func main() async {
        guard let options = parse(CommandLine.arguments.dropFirst()) else {
            print(usage)
            exit(64)
        }
        if let seed = options.seed {
            exit(tellOne(seed, options) ? 0 : 1)
        }
        exit(await runMany(options) ? 0 : 1)
    }

    static func parse(_ arguments: ArraySlice<String>) -> Options? {
        var options = Options()
        var rest = arguments
        while let name = rest.popFirst() {
            if name == "--whole" {
                options.isWhole = true
                continue
            }
            guard let value = rest.popFirst() else { return nil }
            if name == "--mutant" {
                guard let mutant = Mutant(rawValue: value) else { return nil }
                options.mutant = mutant
                continue
            }
            guard let number = UInt64(value) else { return nil }
            switch name {
            case "--seeds": options.seeds = number
            case "--from": options.from = number
            case "--steps": options.steps = Int(number)
            case "--seed": options.seed = number
            default: return nil
            }
        }
        return options
    }

    /// Runs one seed; false: it failed.
    static func tellOne(_ seed: UInt64, _ options: Options) -> Bool {
        let scenario = Scenario(seed: seed, steps: options.steps)
        let report = Simulation.run(scenario, mutant: options.mutant, recordsHistory: true)
        if report.isClean || options.isWhole {
            for line in report.history { print(line) }
        } else {
            let small = Shrinker(mutant: options.mutant).shrink(scenario, report)
            print("shrunk to \(small.scenario.summary)")
            for line in small.report.history { print(line) }
            for finding in small.report.findings { print(finding) }
            print("\nthe whole run:")
        }
        for finding in report.findings { print(finding) }
        print("seed \(seed): \(report.summary)")
        return report.isClean
    }

    /// Runs all seeds, spread over the processors; false: one of them failed.
    static func runMany(_ options: Options) async -> Bool {
        let began = ContinuousClock.now
        let portion: UInt64 = 50
        var total = Total()
        await withTaskGroup(of: Total.self) { group in
            for first in stride(from: options.from, to: options.from + options.seeds, by: Int(portion)) {
                group.addTask {
                    var total = Total()
                    for seed in first..<min(first + portion, options.from + options.seeds) {
                        let scenario = Scenario(seed: seed, steps: options.steps)
                        total.add(Simulation.run(scenario, mutant: options.mutant), seed: seed)
                    }
                    return total
                }
            }
            for await part in group { total.add(part) }
        }
        let elapsed = ContinuousClock.now - began
        let perSecond =
            Double(options.seeds) / (Double(elapsed.components.attoseconds) / 1e18 + Double(elapsed.components.seconds))
        for (seed, finding) in total.failed.sorted(by: { $0.seed < $1.seed }).prefix(10) {
            print("seed \(seed): \(finding)")
            let mutant = options.mutant.map { " --mutant \($0.rawValue)" } ?? ""
            print("    simulate --seed \(seed) --steps \(options.steps)\(mutant)")
        }
        if !total.names.isEmpty {
            let names = total.names.sorted { $0.value > $1.value }.map { "\($0.key) in \($0.value)" }
            print("found: \(names.joined(separator: ", "))")
        }
        print(
            "\(options.seeds) seeds, \(total.steps) steps, \(total.tasks) tasks, \(total.runs) runs, "
                + "\(total.duplicates) duplicates, \(total.dead) dead letters; \(total.failed.count) seeds failed; "
                + "\(elapsed), \(Int(perSecond)) seeds/s")
        return total.failed.isEmpty
    }

    struct Total: Sendable {
        var steps = 0
        var tasks = 0
        var runs = 0
        var duplicates = 0
        var dead = 0
        var failed: [(seed: UInt64, finding: Finding)] = []
        /// In how many seeds each finding was made.
        var names: [String: Int] = [:]

        mutating func add(_ report: Simulation.Report, seed: UInt64) {
            steps += report.steps
            tasks += report.tasks
            runs += report.runs
            duplicates += report.duplicates
            dead += report.dead
            for name in Set(report.findings.map(\.name)) { names[name, default: 0] += 1 }
            if let first = report.findings.first { failed.append((seed, first)) }
        }

        mutating func add(_ other: Total) {
            steps += other.steps
            tasks += other.tasks
            runs += other.runs
            duplicates += other.duplicates
            dead += other.dead
            failed += other.failed
            names.merge(other.names, uniquingKeysWith: +)
        }
    }
}
