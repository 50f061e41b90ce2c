// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import OutboxTesting
import Synchronization
import Testing

@testable import PostgresClient

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

@Suite("Waiting for descriptors and for one's turn")
struct WaitingTests {
    @Test func aDescriptorThatIsReadyEndsTheWait() async throws {
        let pair = try DescriptorPair.make().get()
        #expect(await Poller.shared.wait(for: pair.near, [.read, .write]) == .ready(.write))
        async let readiness = Poller.shared.wait(for: pair.near, .read)
        nudge(pair.far)
        #expect(await readiness == .ready(.read))
        discardNudges(at: pair.near)
        close(pair.far)
        #expect(await Poller.shared.wait(for: pair.near, .read) == .ready(.read))
        close(pair.near)
    }

    @Test func theDeadlineTheCancellationAndTheAbsurd() async throws {
        let pair = try DescriptorPair.make().get()
        #expect(await Poller.shared.wait(for: pair.near, .read, until: .now) == .timedOut)
        #expect(await Poller.shared.wait(for: pair.near, .read, until: .now + .milliseconds(5)) == .timedOut)
        let waiting = Task { await Poller.shared.wait(for: pair.near, .read) }
        waiting.cancel()
        #expect(await waiting.value == .cancelled)
        let unheeding = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return await Poller.shared.wait(
                for: pair.near, .read, until: .now + .milliseconds(5), heedingCancellation: false
            )
        }
        #expect(await unheeding.value == .timedOut)
        close(pair.near)
        close(pair.far)
        #expect(await Poller.shared.wait(for: 1_000_000, .read) == .failed(SystemFailure(number: EBADF)))
    }

    @Test func aWaitThatAbsorbsEndsWhenThatIsEnough() async throws {
        let pair = try DescriptorPair.make().get()
        let pieces = Atomic(0)
        let near = pair.near
        async let readiness = Poller.shared.wait(
            for: near, .read,
            absorbing: {
                var byte: UInt8 = 0
                guard read(near, &byte, 1) == 1 else { return true }
                return pieces.add(1, ordering: .relaxed).newValue == 3
            })
        for _ in 1...5 { nudge(pair.far) }
        #expect(await readiness == .ready(.read))
        #expect(pieces.load(ordering: .relaxed) == 3)
        close(pair.near)
        close(pair.far)
    }

    @Test func aWaitThatIsCancelledWhileItAbsorbsEndsAfterThat() async throws {
        let pair = try DescriptorPair.make().get()
        let (absorbing, isAbsorbing) = AsyncStream<Void>.makeStream()
        let (blocker, far) = (pair.near, pair.far)
        let isOver = Atomic(false)
        let waiting = Task {
            let readiness = await Poller.shared.wait(
                for: far, .write,
                absorbing: {
                    isAbsorbing.finish()
                    // in the middle of it until the test says so; only here, since nothing else may wait meanwhile
                    var entry = pollfd(fd: blocker, events: Int16(POLLIN), revents: 0)
                    _ = poll(&entry, 1, 20_000)
                    isOver.store(true, ordering: .releasing)
                    return false
                })
            return (readiness, isOver.load(ordering: .acquiring))
        }
        for await _ in absorbing {}
        waiting.cancel()
        nudge(far)
        let (readiness, wasOver) = await waiting.value
        #expect(readiness == .cancelled)
        #expect(wasOver)
        close(pair.near)
        close(pair.far)
    }

    @Test func anAlarmRingsOnceAtTheTimeThatItWasSetToLast() async {
        let (rings, ring) = AsyncStream<ContinuousClock.Instant>.makeStream()
        let alarm = Alarm { ring.yield(.now) }
        var heard = rings.makeAsyncIterator()
        alarm.set(.now + .seconds(3600))
        let time = ContinuousClock.now + .milliseconds(2)
        alarm.set(time)
        #expect(await heard.next().map { $0 >= time } == true)
        // taken back, and set again: the next ring is the last one's
        alarm.set(.now + .milliseconds(1))
        alarm.set(nil)
        let last = ContinuousClock.now + .milliseconds(3)
        alarm.set(last)
        #expect(await heard.next().map { $0 >= last } == true)
        alarm.set(nil)
        ring.finish()
        #expect(await heard.next() == nil)
    }

    @Test func aDescriptorThatIsNeverEnoughTimesOut() async throws {
        let pair = try DescriptorPair.make().get()
        let deadline = ContinuousClock.now + .milliseconds(5)
        #expect(await Poller.shared.wait(for: pair.near, .write, until: deadline, absorbing: { false }) == .timedOut)
        close(pair.near)
        close(pair.far)
    }

    @Test func tasksThatPreferAPollerRunOnItsThreadAndItEndsWhenTheyHave() async throws {
        weak var dropped: Poller?
        do {
            let poller = Poller()
            dropped = poller
            func threads() async throws -> Set<UInt> {
                try await withThrowingTaskGroup { group in
                    for _ in 1...20 {
                        group.addTask {
                            let pair = try DescriptorPair.make().get()
                            defer { close(pair.near) }
                            close(pair.far)
                            let first = currentThread()
                            #expect(await poller.wait(for: pair.near, .read) == .ready(.read))
                            return [first, currentThread()]
                        }
                    }
                    return try await group.reduce(into: Set<UInt>()) { $0.formUnion($1) }
                }
            }
            let first = try await Task(executorPreference: poller, operation: threads).value
            #expect(first.count == 1)
            poller.finish()
            // what comes after the end is served all the same
            #expect(try await Task(executorPreference: poller, operation: threads).value.count == 1)
        }
        try await eventually { dropped == nil }
    }

    @Test func aBlockingCallIsWaitedForNoLongerThanItsDeadline() async throws {
        let pair = try DescriptorPair.make().get()
        // Blocks until the other end is closed.
        let late = await callOffThread(until: .now + .milliseconds(10)) { () -> Int in
            var byte: UInt8 = 0
            return read(pair.far, &byte, 1)
        }
        guard case .timedOut = late else {
            Issue.record("\(late)")
            return
        }
        close(pair.near)
        guard case .finished(42) = await callOffThread(until: .now + .seconds(20), { 42 }) else {
            Issue.record("the call did not finish")
            return
        }
    }

    @Test("Cancelled and late visitors leave no gap in the line")
    func turnstile() async throws {
        let turnstile = Turnstile(capacity: 2)
        let inside = Recorder<Int>()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<200 {
                group.addTask {
                    if number % 3 == 0 { withUnsafeCurrentTask { $0?.cancel() } }
                    do {
                        try await turnstile.enter(until: number % 5 == 0 ? .now : .now + .seconds(30))
                    } catch {
                        return
                    }
                    inside.record(number)
                    await Task.yield()
                    turnstile.leave()
                }
            }
            try await group.waitForAll()
        }
        #expect(turnstile.waiting == 0 && !inside.values.isEmpty)
        // Both places are free again, and a closed turnstile with nobody inside is closed at once.
        try await turnstile.enter()
        try await turnstile.enter()
        turnstile.leave()
        turnstile.leave()
        await turnstile.close()
        await #expect(throws: Turnstile.Refusal.closed) { try await turnstile.enter() }
    }

    @Test("A cluster ends and its files go when nobody holds it")
    func clusterEnds() async throws {
        var cluster: ThrowAwayPostgres? = try await ThrowAwayPostgres.start()
        let url = try #require(cluster?.url(database: "postgres"))
        let directory = try #require(try DatabaseConfiguration(url: url).parameters["host"])
        #expect(access(directory, F_OK) == 0)
        cluster = nil
        try await eventually { access(directory, F_OK) != 0 }
    }
}

/// Which thread this is.
private func currentThread() -> UInt {
    #if canImport(Glibc)
    UInt(pthread_self())
    #else
    UInt(bitPattern: pthread_self())
    #endif
}
