// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import OutboxAudit
import Testing

/// Each fault once, by its name, and what looks like one and is none.
@Suite struct AuditorTests {
    private typealias Effect = Ledgers.Effect

    private func judge(
        committed tasks: [String] = ["a"], _ effects: [Ledgers.Effect], _ left: [Ledgers.Remainder] = [],
        pauses: [Ledgers.Pause] = [], isQuiet: Bool = true, mayBeOvertaken: Bool = false
    ) -> [Verdict.Fault] {
        var ledgers = Ledgers()
        ledgers.commits = tasks.map { Ledgers.Commit(task: $0, payload: "p", at: 0) }
        ledgers.effects = effects
        ledgers.remainders = left
        ledgers.pauses = pauses
        return Auditor(.init(grace: 10, isQuiet: isQuiet, mayBeOvertaken: mayBeOvertaken)).judge(ledgers).verdicts
            .map(\.fault)
    }

    private func run(
        _ task: String = "a", _ attempt: Int = 1, _ start: Int64 = 10, _ end: Int64? = 20,
        _ outcome: Ledgers.Effect.Outcome? = .succeeded, by: String = "r1", key: String? = nil, payload: String = "p",
        isDeaf: Bool = false
    ) -> Ledgers.Effect {
        Ledgers.Effect(
            task: task, key: key, payload: payload, attempt: attempt, by: by, start: start, end: end, outcome: outcome,
            isDeaf: isDeaf)
    }

    @Test func whatIsDoneWaitsOrIsDeadIsNotLost() {
        #expect(judge([run()]) == [])
        #expect(judge([run("a", 1, 10, 20, nil)]) == [], "nobody knows that it failed")
        #expect(judge([run("a", 1, 10, 20, .failed)], [.init(task: "a", .dead(reason: "rejected", attempt: 1))]) == [])
        #expect(judge([], [.init(task: "a", .waiting)], isQuiet: false) == [])
        #expect(judge([], [.init(task: "a", .running)], isQuiet: false) == [])
        #expect(judge([], [.init(task: "a", .dead(reason: "expired", attempt: 1))]) == [])
    }

    @Test func lost() {
        #expect(judge([]) == [.lost])
        #expect(judge([run("a", 1, 10, 20, .failed)]) == [.lost], "an attempt that failed is no effect")
        #expect(judge([run("a", 1, 10, nil, nil)]) == [.lost], "one that never ended is none")
    }

    @Test func phantom() {
        #expect(judge(committed: [], [run()]) == [.phantom])
        #expect(judge(committed: [], [], [.init(task: "a", .waiting)], isQuiet: false) == [.phantom])
    }

    @Test func doubled() {
        let left = [Ledgers.Remainder(task: "a", .waiting), .init(task: "a", .dead(reason: "expired", attempt: 1))]
        #expect(judge([], left, isQuiet: false) == [.doubled])
    }

    @Test func otherPayloadsAndKeys() {
        #expect(judge([run("a", 1, 10, 20, .failed), run("a", 2, 30, 40, payload: "q")]) == [.payloadMismatch])
        #expect(judge([run("a", 1, 10, 20, .failed), run("a", 2, 30, 40, key: "k")]) == [.keyMismatch])
    }

    @Test func attemptsRise() {
        #expect(judge([run("a", 2), run("a", 1, 30, 40)]) == [.attemptNotGreater])
        #expect(judge([run("a", 2), run("a", 2, 30, 40)]) == [.overlap])
        #expect(judge([run("a", 2), run("a", 5, 30, 40)]) == [], "they need not rise by one")
        #expect(judge([run("a", 2), run("a", 1, 20, 25)], mayBeOvertaken: true) == [])
        #expect(judge([run("a", 2), run("a", 1, 21, 25)], mayBeOvertaken: true).contains(.attemptNotGreater))
    }

    @Test func duplicatesAreCountedAndBounded() {
        var ledgers = Ledgers()
        ledgers.commits = [Ledgers.Commit(task: "a", payload: "p", at: 0)]
        ledgers.effects = [
            run("a", 1, 10, 20, .failed), run("a", 2, 30, nil, nil), run("a", 3, 40, 50), run("a", 4, 60, 70, .failed),
        ]
        func judgement(_ most: Int) -> Auditor.Judgement {
            Auditor(.init(grace: 10, mostDuplicates: most)).judge(ledgers)
        }
        #expect(judgement(2).duplicates == 2, "what follows a failure is no duplicate")
        #expect(judgement(2).isClean)
        #expect(judgement(1).verdicts.map(\.fault) == [.tooManyDuplicates])
    }

    @Test func contradiction() {
        func dead(_ reason: String, _ attempt: Int, at: Int64? = nil) -> [Ledgers.Remainder] {
            [.init(task: "a", .dead(reason: reason, attempt: attempt, at: at))]
        }
        #expect(judge([run()], dead("rejected", 1)) == [.contradiction])
        #expect(judge([run()], dead("exhausted", 1, at: 20)) == [.contradiction])
        #expect(judge([run()], dead("exhausted", 1, at: 15)) == [.contradiction], "it was still running then")
        let pause = Ledgers.Pause(by: "r1", from: 11, until: 19)
        #expect(
            judge([run()], dead("exhausted", 1, at: 15), pauses: [pause]) == [], "it could not heed its cancellation")
        #expect(judge([run()], dead("exhausted", 1, at: 20), pauses: [pause]) == [.contradiction])
        #expect(judge([run()], dead("exhausted", 2)) == [], "another attempt")
        #expect(judge([run("a", 1, isDeaf: true)], dead("exhausted", 1)) == [], "it may have been given up before")
        #expect(judge([run()], dead("crashed", 1)) == [], "its settlement was lost with the relay")
    }

    @Test func overrun() {
        let second = run("a", 2, 50, 55, by: "r2")
        #expect(judge([run("a", 1, 10, 60), second]) == [])
        #expect(judge([run("a", 1, 10, 61), second]) == [.overrun])
        #expect(judge([run("a", 1, 10, 61, isDeaf: true), second]) == [])
        #expect(judge([run("a", 1, 10, nil), second]) == [], "its process is gone")
        let pause = Ledgers.Pause(by: "r1", from: 40, until: 100)
        #expect(judge([run("a", 1, 10, 110), second], pauses: [pause]) == [])
        #expect(judge([run("a", 1, 10, 111), second], pauses: [pause]) == [.overrun])
        #expect(judge([run("a", 1, 10, 110), second], pauses: [.init(by: "r2", from: 40, until: 100)]) == [.overrun])
    }

    @Test func stranded() {
        #expect(judge([], [.init(task: "a", .waiting)]) == [.stranded])
        #expect(judge([], [.init(task: "a", .running)]) == [.stranded])
    }

    @Test func order() {
        func judge(_ effects: [Ledgers.Effect], _ left: [Ledgers.Remainder] = []) -> [Verdict.Fault] {
            var ledgers = Ledgers()
            ledgers.commits = [
                Ledgers.Commit(task: "b", orderingKey: "k", at: 2), Ledgers.Commit(task: "a", orderingKey: "k", at: 1),
            ]
            ledgers.effects = effects
            ledgers.remainders = left
            return Auditor(.init(grace: 10, isQuiet: false)).judge(ledgers).verdicts.map(\.fault)
        }
        func run(_ task: String, _ attempt: Int, _ start: Int64, _ end: Int64, _ outcome: Effect.Outcome = .succeeded)
            -> Effect
        {
            Effect(task: task, attempt: attempt, by: "r", start: start, end: end, outcome: outcome)
        }
        #expect(judge([run("a", 1, 10, 20), run("b", 1, 20, 30)]) == [])
        #expect(judge([run("a", 1, 10, 20), run("b", 1, 15, 30)]) == [.outOfOrder])
        #expect(judge([run("a", 1, 10, 20), run("b", 1, 20, 30), run("a", 2, 40, 50)]) == [.outOfOrder])
        let waiting = [Ledgers.Remainder(task: "a", .waiting)]
        #expect(judge([run("a", 1, 10, 20, .failed), run("b", 1, 20, 30)], waiting) == [.outOfOrder])
        let dead = [Ledgers.Remainder(task: "a", .dead(reason: "rejected", attempt: 1, at: 19))]
        #expect(judge([run("a", 1, 10, 18, .failed), run("b", 1, 20, 30)], dead) == [])
    }

    @Test func aVerdictSaysWhatShowsIt() {
        var ledgers = Ledgers()
        ledgers.commits = [Ledgers.Commit(task: "a", at: 5)]
        ledgers.effects = [Ledgers.Effect(task: "a", attempt: 1, by: "r1", start: 10, end: 20, outcome: .failed)]
        let verdicts = Auditor(.init(grace: 10)).judge(ledgers).verdicts
        #expect(
            verdicts.map(\.description) == [
                "lost a: committed at 5, in no table at the end, and it ran as attempt 1 by r1, 10 to 20, failed"
            ])
    }
}
