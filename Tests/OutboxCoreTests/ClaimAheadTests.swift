// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Testing

@testable import OutboxCore

/// What a relay claims before there is a place for it.
@Suite struct ClaimAheadTests {
    private let lane = LaneKey(slot: 0, name: "5:default")

    /// A machine with four places whose handlers are quick: each exchange takes a millisecond, and finds all tasks of the
    /// last one finished.
    private struct Busy {
        var engine: Engine
        var now = Duration.zero
        var started: [Int64] = []
        var sent: Exchange?
        var givenBack: [Int64] = []
        var seq: Int64 = 0
        var expired: [Int64] = []
        var expiresIn: Duration?
        let lane: LaneKey

        init(lane: LaneKey, _ change: (inout Engine.Settings) -> Void = { _ in }) {
            var settings = Engine.Settings()
            settings.capacity = 4
            settings.kinds = ["k": KindPolicy()]
            change(&settings)
            engine = Engine(settings: settings, seed: 1)
            self.lane = lane
            note(engine.handle(.woke, at: now))
        }

        mutating func note(_ commands: [Command]) {
            for command in commands {
                switch command {
                case .start(let seq): started.append(seq)
                case .exchange(let exchange):
                    sent = exchange
                    expired += exchange.failed.filter { $0.target == .dead(.expired) }.map(\.hold.seq)
                    givenBack += exchange.failed.filter { $0.target == .ready && !$0.charged }.map(\.hold.seq)
                default: break
                }
            }
        }

        /// Answers the exchange that is under way with as many tasks as it asks for.
        mutating func answer() {
            guard let exchange = sent else { return }
            sent = nil
            now += .milliseconds(1)
            var answer = Answer(news: Answer.News(currentSlot: 0, found: [lane]))
            answer.settled = exchange.succeeded.map(\.seq) + exchange.failed.map(\.hold.seq)
            for _ in 0..<(exchange.round?.total ?? 0) {
                seq += 1
                let hold = Hold(lane: lane, seq: seq, attempt: 1, id: .random())
                answer.claimed.append(Claimed(hold: hold, kind: "k", expiresIn: expiresIn))
            }
            note(engine.handle(.answered(answer), at: now))
        }

        /// Finishes everything that has started.
        mutating func finish() {
            let finished = started
            started = []
            note(engine.handle(finished.map { .finished(seq: $0, .succeeded) }, at: now))
        }
    }

    private func busy(_ change: (inout Engine.Settings) -> Void = { _ in }) -> Busy {
        var busy = Busy(lane: lane, change)
        for _ in 0..<50 {
            busy.answer()
            busy.finish()
            busy.now += .milliseconds(1)
            busy.note(busy.engine.handle(.woke, at: busy.now))
        }
        return busy
    }

    @Test func quickTasksWaitAndNoMoreRunThanThereArePlaces() {
        var busy = busy()
        busy.answer()
        #expect(busy.engine.ahead.depth > 4)
        #expect(busy.started.count == 4, "no more than there are places")
        let waiting = busy.engine.ahead.waiting
        #expect(!waiting.isEmpty)
        busy.finish()
        #expect(busy.started == Array(waiting.prefix(4)), "the places are taken at once, in order")
    }

    @Test func settlementsGatherForAFewMillisecondsAtMost() {
        var busy = busy()
        while busy.engine.ahead.waiting.count * 2 <= busy.engine.ahead.depth { busy.answer() }
        busy.finish()
        #expect(busy.sent == nil, "enough waits to start meanwhile")
        busy.now += .milliseconds(6)
        busy.note(busy.engine.handle(.woke, at: busy.now))
        #expect(busy.sent?.succeeded.isEmpty == false)
    }

    @Test func slowTasksAreLeftToOthers() {
        var busy = Busy(lane: lane)
        for _ in 0..<10 {
            busy.answer()
            busy.now += .seconds(1)
            busy.finish()
            busy.note(busy.engine.handle(.woke, at: busy.now))
        }
        #expect(busy.engine.ahead.depth == 0 && busy.engine.ahead.waiting.isEmpty)
    }

    @Test func aStopGivesBackWhatWaits() {
        var busy = busy()
        busy.answer()
        let waiting = busy.engine.ahead.waiting
        busy.note(busy.engine.handle(.stop(grace: .seconds(1)), at: busy.now))
        busy.answer()
        busy.finish()
        #expect(busy.givenBack == waiting)
        #expect(busy.engine.ahead.waiting.isEmpty && busy.started.isEmpty)
    }

    @Test func whatWaitedThroughAPauseBeyondItsLeaseDoesNotBegin() {
        var busy = busy()
        busy.answer()
        let waiting = busy.engine.ahead.waiting
        #expect(!waiting.isEmpty)
        // the process stands still; its handlers' results are what it hears of first
        busy.now += .seconds(31)
        busy.finish()
        #expect(busy.started.isEmpty)
        #expect(busy.engine.ahead.waiting.isEmpty)
    }

    @Test func whatExpiresWhileItWaitsDoesNotBegin() {
        var busy = busy()
        busy.expiresIn = .seconds(1)
        // until all that waits is of that kind
        for _ in 0..<20 {
            busy.answer()
            busy.finish()
            busy.now += .milliseconds(6)
            busy.note(busy.engine.handle(.woke, at: busy.now))
        }
        busy.answer()
        let waiting = busy.engine.ahead.waiting
        #expect(!waiting.isEmpty)
        busy.now += .seconds(2)
        busy.finish()
        #expect(busy.started.isEmpty)
        busy.answer()
        busy.note(busy.engine.handle(.woke, at: busy.now))
        #expect(!waiting.isEmpty && Set(waiting).isSubset(of: busy.expired))
    }

    @Test func whatFindsNoPlaceIsGivenBackToOthers() {
        var busy = busy()
        busy.answer()
        let waiting = busy.engine.ahead.waiting
        #expect(!waiting.isEmpty)
        // the places stay taken
        busy.now += .seconds(11)
        busy.note(busy.engine.handle(.woke, at: busy.now))
        busy.answer()
        busy.note(busy.engine.handle(.woke, at: busy.now))
        #expect(busy.engine.ahead.waiting.isEmpty)
        #expect(busy.givenBack == waiting)
    }

    @Test func aKindThatIsAcknowledgedWithItsClaimIsNotClaimedAhead() {
        var busy = busy { $0.kinds["early"] = KindPolicy(acknowledgesEarly: true) }
        busy.answer()
        #expect(busy.engine.ahead.waiting.isEmpty)
    }
}
