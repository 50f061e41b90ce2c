// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import OutboxAudit
import Testing

/// Random histories in which every promise is kept are clean, and one fault in them is found and named.
@Suite struct AuditorPropertyTests {
    /// Steps of a multiplicative congruence: as random as this needs, and the same each time.
    private struct Dice: RandomNumberGenerator {
        var state: UInt64
        mutating func next() -> UInt64 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return state ^ (state >> 29)
        }
    }
    private static let grace: Int64 = 100
    private let auditor = Auditor(.init(grace: grace))

    /// Tasks that fail some times, are interrupted by vanishing relays, and are done or die in the end.
    private func cleanHistory(_ dice: inout Dice) -> Ledgers {
        var ledgers = Ledgers()
        for number in 0..<Int.random(in: 6...30, using: &dice) {
            let task = "t\(number)"
            let isOrdered = number % 5 == 0
            // ordered ones one after the other, in the order of their commits; the others whenever it happens
            var now = isOrdered ? Int64(number) * 1_000_000 : Int64.random(in: 0...1000, using: &dice)
            ledgers.commits.append(
                .init(task: task, key: "k\(number)", payload: "p", orderingKey: isOrdered ? "o" : nil, at: now))
            var attempt = 0
            func run(_ outcome: Ledgers.Effect.Outcome?, ends: Bool = true) {
                now += Int64.random(in: 1...500, using: &dice)
                attempt += Int.random(in: 1...2, using: &dice)
                let start = now
                now += Int64.random(in: 1...500, using: &dice)
                ledgers.effects.append(
                    .init(
                        task: task, key: "k\(number)", payload: "p", attempt: attempt, by: "r\(attempt)", start: start,
                        end: ends ? now : nil, outcome: outcome))
            }
            for _ in 0..<Int.random(in: 0...3, using: &dice) { run(.failed) }
            if Int.random(in: 0..<4, using: &dice) == 0 { run(nil, ends: false) }
            if Int.random(in: 0..<6, using: &dice) == 0 {
                run(.failed)
                ledgers.remainders.append(.init(task: task, .dead(reason: "rejected", attempt: attempt)))
            } else {
                run(.succeeded)
                // its settlement was lost, and it was done once more, while the first went on for a while
                if !isOrdered, Int.random(in: 0..<4, using: &dice) == 0 {
                    let first = ledgers.effects.count - 1
                    run(.succeeded)
                    ledgers.effects[first].end = ledgers.effects[first + 1].start + Self.grace
                }
            }
        }
        ledgers.effects.shuffle(using: &dice)
        return ledgers
    }

    @Test(arguments: [UInt64](0..<200)) func cleanHistoriesAreClean(seed: UInt64) {
        var dice = Dice(state: seed)
        let ledgers = cleanHistory(&dice)
        #expect(auditor.judge(ledgers).verdicts == [])
        #expect(auditor.judge(ledgers).duplicates >= 0)
    }

    @Test(arguments: Verdict.Fault.allCases) func oneFaultIsFound(fault: Verdict.Fault) throws {
        for seed in UInt64(0)..<50 {
            var dice = Dice(state: seed)
            var ledgers = cleanHistory(&dice)
            var auditor = auditor
            let task = try #require(inject(fault, into: &ledgers, &auditor, &dice))
            let verdicts = auditor.judge(ledgers).verdicts
            #expect(verdicts.contains { $0.fault == fault && $0.task == task }, "seed \(seed): \(verdicts)")
        }
    }

    /// Breaks one promise and says of which task.
    private func inject(
        _ fault: Verdict.Fault, into ledgers: inout Ledgers, _ auditor: inout Auditor, _ dice: inout Dice
    ) -> String? {
        let dead = Set(ledgers.remainders.map(\.task))
        let done = ledgers.effects.indices.filter {
            ledgers.effects[$0].outcome == .succeeded && !dead.contains(ledgers.effects[$0].task)
        }
        guard let index = done.randomElement(using: &dice) else { return nil }
        var again = ledgers.effects[index]
        let task = again.task
        switch fault {
        case .lost: ledgers.effects.removeAll { $0.task == task && $0.outcome != .failed }
        case .phantom: ledgers.commits.removeAll { $0.task == task }
        case .doubled: ledgers.remainders += [.init(task: task, .waiting), .init(task: task, .waiting)]
        case .payloadMismatch: ledgers.effects[index].payload = "q"
        case .keyMismatch: ledgers.effects[index].key = "q"
        case .attemptNotGreater:
            again.attempt = 0
            again.start += 1_000_000_000
            again.end = again.start
            ledgers.effects.append(again)
        case .overlap: ledgers.effects.append(again)
        case .outOfOrder:
            guard let first = ledgers.commits.first(where: { $0.orderingKey != nil }) else { return nil }
            ledgers.effects.append(
                .init(
                    task: first.task, key: first.key, payload: first.payload, attempt: 1000, by: "r",
                    start: 1_000_000_000, end: 1_000_000_001, outcome: .failed))
            return first.task
        case .contradiction:
            ledgers.remainders.append(.init(task: task, .dead(reason: "exhausted", attempt: again.attempt)))
        case .overrun:
            again.attempt += 10
            again.start += 1_000_000
            again.end = again.start + 1
            ledgers.effects[index].end = again.start + Self.grace + 1
            ledgers.effects.append(again)
        case .stranded: ledgers.remainders.append(.init(task: task, .running))
        case .tooManyDuplicates:
            auditor = Auditor(.init(grace: Self.grace, mostDuplicates: auditor.judge(ledgers).duplicates))
            again.attempt += 10
            again.start += 1_000_000
            again.end = again.start + 1
            ledgers.effects.append(again)
            return ""
        }
        return task
    }
}
