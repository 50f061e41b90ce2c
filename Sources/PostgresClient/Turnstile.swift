// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Synchronization

/// Lets a fixed number of tasks through at a time, the others in the order in which they came.
///
/// With a capacity of one it keeps the conversations on a connection apart; with a larger one it is the line in
/// front of a pool. Whoever `enter`s must `leave`, once.
package final class Turnstile: Sendable {
    /// Why a task was not let in.
    package enum Refusal: Error, Hashable {
        case timedOut
        case cancelled
        case closed
    }

    private typealias Pass = CheckedContinuation<Result<Void, Refusal>, Never>

    private struct State {
        var free: Int
        let capacity: Int
        var isClosed = false
        /// In order of arrival; those who gave up are taken out, so the array stays as short as the line.
        var line: [(identity: UInt64, pass: Pass)] = []
        var awaitingDrain: [CheckedContinuation<Void, Never>] = []
    }

    private enum Departure {
        case handOver(Pass)
        case drained([CheckedContinuation<Void, Never>])
    }

    private let state: Mutex<State>
    private let lastIdentity = Atomic<UInt64>(0)

    package init(capacity: Int) {
        state = Mutex(State(free: capacity, capacity: capacity))
    }

    /// The number of tasks that stand in line.
    package var waiting: Int { state.withLock { $0.line.count } }

    /// Waits for a place, at most until `deadline`.
    ///
    /// With `heedingCancellation` off there is no deadline either: that is for the last words on a connection, which
    /// wait for statements that are bounded themselves.
    package func enter(
        until deadline: ContinuousClock.Instant? = nil,
        heedingCancellation: Bool = true,
        isolation: isolated (any Actor)? = #isolation
    ) async throws(Refusal) {
        let immediate: Result<Bool, Refusal> = state.withLock { state in
            if state.isClosed { return .failure(.closed) }
            guard state.free > 0 else { return .success(false) }
            state.free -= 1
            return .success(true)
        }
        if try immediate.get() { return }
        guard heedingCancellation, let deadline else {
            return try await stand(heedingCancellation: heedingCancellation).get()
        }
        try await stand(noLongerThan: deadline).get()
    }

    /// Gives the place to the first in line.
    package func leave() {
        let departure: Departure = state.withLock { state in
            if !state.line.isEmpty { return .handOver(state.line.removeFirst().pass) }
            state.free += 1
            guard state.isClosed, state.free == state.capacity else { return .drained([]) }
            defer { state.awaitingDrain = [] }
            return .drained(state.awaitingDrain)
        }
        switch departure {
        case .handOver(let pass): pass.resume(returning: .success(()))
        case .drained(let continuations): for continuation in continuations { continuation.resume() }
        }
    }

    /// Turns away everyone in line and everyone who comes, and returns when the last who is inside has left.
    package func close(isolation: isolated (any Actor)? = #isolation) async {
        let line = state.withLock { state in
            state.isClosed = true
            defer { state.line = [] }
            return state.line
        }
        for (_, pass) in line { pass.resume(returning: .failure(.closed)) }
        await withCheckedContinuation(isolation: isolation) { continuation in
            let isDrained = state.withLock { state in
                if state.free == state.capacity { return true }
                state.awaitingDrain.append(continuation)
                return false
            }
            if isDrained { continuation.resume() }
        }
    }

    private func stand(
        heedingCancellation: Bool, isolation: isolated (any Actor)? = #isolation
    ) async -> Result<Void, Refusal> {
        let identity = lastIdentity.wrappingAdd(1, ordering: .relaxed).newValue
        return await withTaskCancellationHandler(
            operation: {
                await withCheckedContinuation(isolation: isolation) { pass in
                    let immediate: Result<Void, Refusal>? = state.withLock { state in
                        if state.isClosed { return .failure(.closed) }
                        if heedingCancellation, Task.isCancelled { return .failure(.cancelled) }
                        if state.free > 0 {
                            state.free -= 1
                            return .success(())
                        }
                        state.line.append((identity, pass))
                        return nil
                    }
                    if let immediate { pass.resume(returning: immediate) }
                }
            },
            onCancel: { if heedingCancellation { giveUp(identity) } },
            isolation: isolation
        )
    }

    private func giveUp(_ identity: UInt64) {
        let pass: Pass? = state.withLock { state in
            guard let place = state.line.firstIndex(where: { $0.identity == identity }) else { return nil }
            return state.line.remove(at: place).pass
        }
        pass?.resume(returning: .failure(.cancelled))
    }

    /// Races the line against the clock. The timer takes the place in line away, so whoever was let in at the same
    /// moment is in: a place is never lost between the two.
    private func stand(
        noLongerThan deadline: ContinuousClock.Instant, isolation: isolated (any Actor)? = #isolation
    ) async -> Result<Void, Refusal> {
        let isCallersCancellation = Mutex(false)
        return await withTaskCancellationHandler {
            await withTaskGroup(of: Result<Void, Refusal>?.self) { group in
                group.addTask { await self.stand(heedingCancellation: true) }
                group.addTask {
                    _ = await Poller.shared.wait(for: -1, [], until: deadline)
                    return nil
                }
                var outcome: Result<Void, Refusal>?
                for await finished in group {
                    group.cancelAll()
                    if let finished { outcome = finished }
                }
                if case .failure(.cancelled)? = outcome, !isCallersCancellation.withLock({ $0 }) {
                    return .failure(.timedOut)
                }
                return outcome ?? .failure(.timedOut)
            }
        } onCancel: {
            isCallersCancellation.withLock { $0 = true }
        }
    }
}
