// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Logging
import OutboxTesting
import Testing

@testable import OutboxCore
@testable import OutboxRelay
@testable import PostgresClient

/// One attempt, between the engine that says that it shall start and the handler that does the work.
@Suite(.timeLimit(.minutes(1))) struct HandlerRunTests {
    /// What a run that was made like this comes to, and how often its handler ran.
    private func outcome(
        leaseEnds: ContinuousClock.Instant, _ before: (HandlerRun) -> Void = { _ in }
    ) async throws -> (outcome: Outcome?, runs: Int) {
        let ran = Recorder<Void>()
        let store = RelayStore(
            database: try DatabaseConfiguration(url: "postgresql://127.0.0.1:1/nowhere"),
            relay: RelayIdentity(name: "r"),
            scope: ClaimScope(Engine.Settings()), channels: [], configuration: RelayConfiguration(), poller: .shared,
            logger: .quiet)
        let mailbox = Mailbox<RelayMessage>()
        let id = TaskID.random()
        let task = ClaimedTask(
            id: id, kind: "k", idempotencyKey: nil, attempt: 1, headers: [], contentType: "text/plain", payload: [])
        let run = HandlerRun(
            task, hold: Hold(lane: LaneKey(slot: 0, name: "5:default"), seq: 1, attempt: 1, id: id),
            handler: Handler(kind: "k") { _, _ in
                ran.record(())
                try Task.checkCancellation()
            }, leaseEnds: leaseEnds,
            in: RunSurroundings(store: store, logger: .quiet, mailbox: mailbox))
        before(run)
        run.start()
        guard case .finished(1, let outcome)? = await mailbox.take().first else { return (nil, ran.values.count) }
        return (outcome, ran.values.count)
    }

    @Test func beginsWhileItsLeaseIsHeld() async throws {
        let result = try await outcome(leaseEnds: .now + .seconds(3600))
        #expect(result == (.succeeded, 1))
    }

    /// As after the process stood still, or while Swift's threads were all taken.
    @Test func doesNotBeginWhenItsLeaseHasEnded() async throws {
        let result = try await outcome(leaseEnds: .now)
        #expect(result == (.released, 0))
    }

    @Test func aRenewalCounts() async throws {
        let result = try await outcome(leaseEnds: .now) { $0.noteRenewal(until: .now + .seconds(3600)) }
        #expect(result == (.succeeded, 1))
    }

    @Test func doesNotBeginWhenItIsCancelledAlready() async throws {
        let result = try await outcome(leaseEnds: .now + .seconds(3600)) { $0.cancel(.stopping) }
        #expect(result == (.released, 0))
    }

    /// Its handler is to see by itself that it has no time.
    @Test func beginsCancelledWhenItsTimeIsOver() async throws {
        let result = try await outcome(leaseEnds: .now + .seconds(3600)) { $0.cancel(.timedOut) }
        #expect(result == (.released, 1))
    }
}
