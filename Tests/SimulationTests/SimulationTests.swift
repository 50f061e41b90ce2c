// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import OutboxSimulation
import Testing

/// The engine under a seeded storm, and the proof that mistakes would be noticed. `make simulate` runs many more seeds.
@Suite(.timeLimit(.minutes(3))) struct SimulationTests {
    @Test(arguments: 0..<10) func nothingIsLost(portion: Int) {
        for seed in UInt64(portion * 20)..<UInt64(portion * 20 + 20) {
            let report = Simulation.run(Scenario(seed: seed))
            #expect(report.findings == [], "simulate --seed \(seed)")
        }
    }

    @Test func aSeedReplaysIdentically() {
        for seed in UInt64(0)..<5 {
            let first = Simulation.run(Scenario(seed: seed), recordsHistory: true)
            let second = Simulation.run(Scenario(seed: seed), recordsHistory: true)
            #expect(first.history == second.history)
            #expect(first.history.count > 100)
        }
    }

    @Test func withoutFaultsNothingIsDoneTwice() {
        for seed in UInt64(0)..<20 {
            var scenario = Scenario(seed: seed)
            scenario.faults = []
            // these two are faults themselves
            scenario.tasks.removeAll { $0.nature == .poison || $0.nature == .deaf }
            let report = Simulation.run(scenario)
            #expect(report.isClean, "seed \(seed): \(report.findings)")
            #expect(report.duplicates == 0, "seed \(seed)")
        }
    }

    /// What shows each mistake, and nothing less will do.
    private static let verdicts: [Mutant: String] = [
        .noFence: "stale-settlement",
        .countAfterRun: "overlap",
        .floorWithoutSweep: "stranded",
        .renewalIgnoresAttempt: "stale-renewal",
        .rescueWithoutCrash: "over-budget",
        .settledBeforeRun: "lost",
        .attemptGivenBack: "overlap",
        .claimIgnoresKinds: "kind-not-asked",
        .acknowledgementForgotten: "ran-twice",
        .suspectsAmongOthers: "took-others",
        .cancellationUnheard: "overrun",
    ]

    @Test(arguments: Mutant.allCases) func aMistakeIsFound(mutant: Mutant) throws {
        let verdict = try #require(Self.verdicts[mutant])
        let found = (UInt64(0)..<100).first { seed in
            Simulation.run(Scenario(seed: seed), mutant: mutant).findings.contains { $0.name == verdict }
        }
        #expect(found != nil, "\(verdict) within 100 seeds")
    }

    @Test func aFailingSeedIsMadeSmall() throws {
        let mutant = Mutant.noFence
        let seed = try #require(
            (UInt64(0)..<100).first { !Simulation.run(Scenario(seed: $0), mutant: mutant).isClean })
        let scenario = Scenario(seed: seed)
        let report = Simulation.run(scenario, mutant: mutant)
        let small = Shrinker(mutant: mutant).shrink(scenario, report)
        #expect(small.report.findings.contains { $0.name == report.findings[0].name })
        #expect(small.scenario.tasks.count <= 3)
        #expect(small.scenario.faults.count <= 10)
        #expect(small.report.history.count < 100)
    }
}
