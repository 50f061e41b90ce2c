// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Logging
internal import Outbox
internal import OutboxCore
internal import OutboxRelay

// What scenarios are made of: relays that run beside a step, and waiting for what they come to.

extension ProofTrial {
    /// Runs the task undisturbed until it is done or dead.
    func finish(_ task: TaskID) async throws {
        let end = ContinuousClock.now + Self.limit
        while ContinuousClock.now < end {
            switch try await table.place(of: task) {
            case .gone, .dead: return
            case .later: try await table.makeDue(task)
            case .running: _ = try await table.takeAway(task)
            case .ready: break
            }
            let ended = log.state.ended
            try await withRelay(task, .none) { _ in
                try await expect("another attempt to end") { $0.ended > ended || $0.burial != nil }
            }
        }
        throw stuck("the task to come to its end")
    }

    /// Waits for an attempt that runs beside the first one, and says whether the task is done; false also if it waits
    /// for the first one.
    func isAnotherDone(_ task: TaskID) async throws -> Bool {
        try await expect("another attempt to begin") { $0.attempts.count > 1 || $0.burial != nil }
        let end = ContinuousClock.now + proof.patience
        while await !log.wait(atMost: .milliseconds(10), until: { $0.ended > 0 || $0.burial != nil }) {
            if ContinuousClock.now > end { return false }
            if try await table.isSomebodyBlocked() { return false }
        }
        switch log.state.attempts.last?.outcome {
        case .succeeded: return true
        case .completed: return try await table.place(of: task) == .gone
        default: return false
        }
    }

    /// `nil` if the count itself had to wait for the attempt that stands still, which was then let go.
    func countWhileStandingStill() async throws -> Int? {
        let timer = Task {
            guard (try? await Task.sleep(for: proof.patience)) != nil else { return }
            log.letGo()
        }
        defer { timer.cancel() }
        let count = try await effects(number)
        return log.state.isLetGo ? nil : count
    }

    /// Waits until it holds, and fails if it does not come to that.
    func expect(_ what: String, _ holds: @escaping @Sendable (AttemptLog.State) -> Bool) async throws {
        guard await log.wait(atMost: Self.limit, until: holds) else {
            try Task.checkCancellation()
            throw stuck(what)
        }
    }

    func stuck(_ what: String) -> HandlerProofFailure {
        let observation = observation(effects: 0)
        return HandlerProofFailure(
            observation: observation,
            message: "When the first attempt was \(observation.what), the proof waited in vain for \(what).",
            hint:
                "see whether the handler waits for something that does not come, and whether it ends within 30 seconds")
    }

    struct Running {
        let relay: Relay
        let name: String
    }

    /// Runs a relay beside the body, and stops it when the body is done.
    func withRelay<R: Sendable>(
        _ task: TaskID, _ interruption: Interruption, stopGrace: Duration = .seconds(5),
        _ body: (Running) async throws -> R
    ) async throws -> R {
        let name = "proof-\(TaskID.random())"
        // one place: an attempt that stands still keeps its relay from running the next one itself
        let configuration = RelayConfiguration(
            schema: proof.schema, name: name, concurrency: 1, lease: .seconds(3600),
            poll: .milliseconds(5) ... .milliseconds(20), stopGrace: stopGrace)
        let relay = try Relay(
            database: proof.database,
            handlers: proof.handlers.map { $0.watched(task, by: log, interruption: interruption) },
            configuration: configuration, logger: Logger(label: "outbox.proof") { _ in SwiftLogNoOpLogHandler() })
        let running = Task { try await relay.run() }
        do {
            let result = try await body(Running(relay: relay, name: name))
            relay.stop()
            try await running.value
            return result
        } catch {
            log.letGo()
            relay.stop()
            try? await running.value
            throw error
        }
    }
}
