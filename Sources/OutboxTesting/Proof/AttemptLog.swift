// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Outbox
internal import Synchronization

/// What happens to one task while a proof watches, and the places at which its first attempt can be stopped.
final class AttemptLog: Sendable {
    struct State: Sendable {
        var attempts: [HandlerProof.Observation.Attempt] = []
        /// The first attempt stands still in a wait.
        var standsStill = false
        var isCancelled = false
        /// The first attempt may go on, or be settled.
        var isLetGo = false
        var burial: String?

        var ended: Int { attempts.count { $0.outcome != nil } }
        var hasEnded: Bool { ended == attempts.count && !attempts.isEmpty }
    }
    private struct Waiter {
        let number: Int
        let holds: @Sendable (State) -> Bool
        let continuation: CheckedContinuation<Bool, Never>
    }
    private struct Contents {
        var state = State()
        var waiters: [Waiter] = []
        var lastWaiter = 0
    }

    private let contents = Mutex(Contents())
    private let standstill = Mutex<Standstill?>(nil)

    var state: State { contents.withLock { $0.state } }

    func change<R: Sendable>(_ body: @Sendable (inout State) -> R) -> R {
        let (result, ready) = contents.withLock { contents in
            let result = body(&contents.state)
            let state = contents.state
            let ready = contents.waiters.filter { $0.holds(state) }
            contents.waiters.removeAll { $0.holds(state) }
            return (result, ready)
        }
        for waiter in ready { waiter.continuation.resume(returning: true) }
        return result
    }

    /// Waits until it holds; false: the time is over, or the waiting task was cancelled.
    func wait(atMost limit: Duration, until holds: @escaping @Sendable (State) -> Bool) async -> Bool {
        let number = contents.withLock { contents in
            contents.lastWaiter += 1
            return contents.lastWaiter
        }
        let timer = Task {
            guard (try? await Task.sleep(for: limit)) != nil else { return }
            giveUp(number)
        }
        defer { timer.cancel() }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let answer: Bool? = contents.withLock { contents in
                    if holds(contents.state) { return true }
                    if Task.isCancelled { return false }
                    contents.waiters.append(Waiter(number: number, holds: holds, continuation: continuation))
                    return nil
                }
                if let answer { continuation.resume(returning: answer) }
            }
        } onCancel: {
            giveUp(number)
        }
    }

    private func giveUp(_ number: Int) {
        let waiter = contents.withLock { contents in
            contents.waiters.firstIndex { $0.number == number }.map { contents.waiters.remove(at: $0) }
        }
        waiter?.continuation.resume(returning: false)
    }

    // MARK: - The first attempt

    /// Runs the body so that it stands still after a wait.
    func standStill<R: Sendable>(afterWait wait: Int, _ body: @Sendable () async -> R) async -> R {
        let standstill = Standstill(afterWait: wait) { [self] in change { $0.standsStill = true } }
        self.standstill.withLock { $0 = standstill }
        if state.isLetGo { standstill.end() }
        return await withTaskExecutorPreference(standstill) {
            await withTaskCancellationHandler(operation: body) { change { $0.isCancelled = true } }
        }
    }

    /// Waits until the first attempt is let go; deaf to cancellation, as one is that does not run any more.
    func awaitLetGo() async {
        let waiting = Task { while await !wait(atMost: .seconds(3600), until: { $0.isLetGo }) {} }
        await waiting.value
    }

    /// Lets the first attempt go on.
    func letGo() {
        change { $0.isLetGo = true }
        standstill.withLock { $0 }?.end()
    }
}
