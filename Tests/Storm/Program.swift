// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation

/// Plays scenarios one after the other and tells what they came to.
struct Program {
    private enum Ending {
        case played(Outcome)
        case failed(String)
        case skipped(String)
    }

    let options: Storm.Options

    init(_ options: Storm.Options) { self.options = options }

    /// Whether everything held.
    func run() async throws -> Bool {
        if options.lists {
            for scenario in Scenario.all {
                say("\(scenario.name.padded(to: 14))\(scenario.summary)\(scenario.isLong ? " (by name only)" : "")")
            }
            return true
        }
        // as a production server is set up, and so that it can have standbys
        setenv("OUTBOX_DURABLE", "1", 1)
        var chosen = Scenario.all.filter { options.names.isEmpty ? !$0.isLong : options.names.contains($0.name) }
        // the others are measured by it
        if !options.isShort, !chosen.contains(where: { $0.name == "undisturbed" }) {
            chosen.insert(.undisturbed, at: 0)
        }
        say("seed \(options.seed)   (the schedule of faults follows from it; the interleaving of processes does not)")
        var endings: [(Scenario, Ending)] = []
        var calm: Double?
        for scenario in chosen {
            say("\n\(scenario.name): \(scenario.summary)")
            let began = Instant.now
            let ending = await play(scenario, calm: calm)
            if scenario.name == "undisturbed", case .played(let outcome) = ending { calm = outcome.rate }
            tell(ending, took: Double(Instant.now - began) / 1e6)
            endings.append((scenario, ending))
        }
        return summary(endings)
    }

    private func play(_ scenario: Scenario, calm: Double?) async -> Ending {
        if let obstacle = scenario.obstacle() { return .skipped(obstacle) }
        do {
            let stage = try await Stage(seed: options.seed, isShort: options.isShort, calm: calm)
            do {
                let outcome = try await scenario.play(stage)
                if options.keepsFiles { say("  files   \(stage.directory)") }
                try await stage.end(keepingFiles: options.keepsFiles)
                return .played(outcome)
            } catch {
                if options.keepsFiles { say("  files   \(stage.directory)") }
                try await stage.end(keepingFiles: options.keepsFiles)
                throw error
            }
        } catch {
            return .failed("\(error)")
        }
    }

    private func tell(_ ending: Ending, took seconds: Double) {
        switch ending {
        case .skipped(let reason): say("  skipped: \(reason)")
        case .failed(let error): say("  FAILED to play: \(error)")
        case .played(let outcome):
            for check in outcome.checks {
                say("  \(check.holds ? "ok    " : "FAILED")  \(check.what): \(check.saw)")
            }
            for (fault, count) in outcome.verdicts.sorted(by: { $0.key < $1.key }) {
                say("  FAILED  \(fault): \(count)")
            }
            for sample in outcome.samples { say("          \(sample)") }
            for note in outcome.notes { say("  note    \(note)") }
            say("  \(Self.line(outcome)); took \(seconds.tenths) s")
        }
    }

    private static func line(_ outcome: Outcome) -> String {
        var parts = [
            "\(outcome.tasks) tasks", "\(outcome.faults) faults", "lost \(outcome.verdicts["lost"] ?? 0)",
            "phantom \(outcome.verdicts["phantom"] ?? 0)",
            "duplicates \(outcome.duplicates) of at most \(outcome.mostDuplicates.map { "\($0)" } ?? "any")",
        ]
        if let recovery = outcome.recovery { parts.append("recovered in \(recovery.tenths) s") }
        if let rate = outcome.rate {
            parts.append(
                "\(rate.tenths)/s\(outcome.calm.map { " (\((100 * rate / $0).tenths) % of undisturbed)" } ?? "")")
        }
        return parts.joined(separator: ", ")
    }

    private func summary(_ endings: [(Scenario, Ending)]) -> Bool {
        let titles = [
            "scenario", "tasks", "faults", "lost", "phantom", "dup.", "bound", "other", "recovery", "rate", "",
        ]
        let widths = [14, 9, 8, 6, 9, 7, 7, 7, 10, 10, 0]
        func row(_ cells: [String]) -> String {
            zip(cells, widths).map { $0.padded(to: $1) }.joined()
        }
        say("\n\(row(titles))")
        var hasPassed = true
        var skipped: [String] = []
        for (scenario, ending) in endings {
            switch ending {
            case .skipped(let reason):
                #if os(Linux)
                let mayBe = !Scenario.required.contains(scenario.name)
                #else
                let mayBe = true
                #endif
                if !mayBe { hasPassed = false }
                skipped.append("\(scenario.name): \(reason)\(mayBe ? "" : " (it must not be skipped here)")")
            case .failed(let error):
                hasPassed = false
                say("\(scenario.name.padded(to: 14))FAILED to play: \(error)")
            case .played(let outcome):
                if !outcome.hasPassed { hasPassed = false }
                let other = outcome.verdicts.filter { $0.key != "lost" && $0.key != "phantom" }.values.reduce(0, +)
                let checks = outcome.checks.count { !$0.holds }
                let share = outcome.rate.flatMap { rate in outcome.calm.map { "\((100 * rate / $0).tenths) %" } } ?? "-"
                say(
                    row([
                        scenario.name, "\(outcome.tasks)", "\(outcome.faults)", "\(outcome.verdicts["lost"] ?? 0)",
                        "\(outcome.verdicts["phantom"] ?? 0)", "\(outcome.duplicates)",
                        outcome.mostDuplicates.map { "\($0)" } ?? "-", "\(other + checks)",
                        outcome.recovery.map { "\($0.tenths) s" } ?? "-", share, outcome.hasPassed ? "ok" : "FAILED",
                    ]))
            }
        }
        say("\nskipped: \(skipped.count)")
        for reason in skipped { say("  \(reason)") }
        if !hasPassed { say("\nAgain with the same schedule: make storm SEED=\(options.seed)") }
        return hasPassed
    }
}

extension String {
    func padded(to width: Int) -> String {
        count >= width ? self + (width > 0 ? " " : "") : self + String(repeating: " ", count: width - count)
    }
}

extension Double {
    /// With one digit after the point.
    var tenths: String { String(format: "%.1f", self) }
}

/// Prints a line at once, also into a pipe: who waits wants to see how far it is.
private func say(_ line: String) {
    print(line)
    fflush(nil)
}
