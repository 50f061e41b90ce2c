// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Outbox
internal import OutboxCore
internal import OutboxRelay

/// One scenario, played with one task: enqueued, disturbed, brought to its end, and counted.
struct ProofTrial: Sendable {
    let proof: HandlerProof
    let table: ProofTable
    let scenario: HandlerProof.Scenario
    /// In which of its waits the first attempt is disturbed.
    let wait: Int?
    let number: Int
    let enqueue: @Sendable (Transaction, Int) async throws -> TaskID
    let effects: @Sendable (Int) async throws -> Int
    let log = AttemptLog()

    /// How long anything may take that is not to be waited for for ever.
    static let limit: Duration = .seconds(30)

    init(
        proof: HandlerProof, table: ProofTable, scenario: HandlerProof.Scenario, wait: Int?, number: Int,
        enqueue: @escaping @Sendable (Transaction, Int) async throws -> TaskID,
        effects: @escaping @Sendable (Int) async throws -> Int
    ) {
        self.proof = proof
        self.table = table
        self.scenario = scenario
        self.wait = wait
        self.number = number
        self.enqueue = enqueue
        self.effects = effects
    }

    func run() async throws -> HandlerProof.Observation {
        let before = try await effects(number)
        let task = try await table.database.transaction { try await enqueue($0, number) }
        try await checkThatItCanRun(task)
        if try await table.place(of: task) == .later { try await table.makeDue(task) }
        var whileStandingStill: Int?
        switch scenario {
        case .killed: try await kill(task)
        case .replyLost: try await loseReply(task)
        case .overtaken: whileStandingStill = try await overtake(task).map { $0 - before }
        case .cancelled: try await cancel(task)
        default: break
        }
        try await finish(task)
        let observation = observation(effects: try await effects(number) - before)
        let isEarly = proof.handlers.contains { $0.policy.acknowledgesEarly }
        if let failure = observation.failure(isEarly: isEarly, whileStandingStill: whileStandingStill) { throw failure }
        return observation
    }

    func observation(effects: Int) -> HandlerProof.Observation {
        let state = log.state
        return HandlerProof.Observation(
            scenario: scenario, number: number, wait: state.standsStill ? wait : nil, attempts: state.attempts,
            effects: effects, deadLetter: state.burial)
    }

    /// Fails at once where no relay would ever claim the task.
    private func checkThatItCanRun(_ task: TaskID) async throws {
        let address = try await table.address(of: task)
        let canRun = proof.handlers.contains { handler in
            switch handler.scope {
            case .kind(let kind): address?.endpoint == nil && address?.kind == kind
            case .endpoint(let name): address?.endpoint == name
            case .others: address?.endpoint == nil
            }
        }
        guard address == nil || !canRun else { return }
        throw HandlerProofFailure(
            observation: observation(effects: 0),
            message: address.map { "None of the handlers is for a task of the kind \($0.kind)." }
                ?? "The task that was enqueued is not in the schema \(proof.schema).",
            hint: "let `enqueue` return the id of a task that it has enqueued, for one of the proof's handlers")
    }

    // MARK: - Scenarios

    private func kill(_ task: TaskID) async throws {
        try await withRelay(task, .beforeSettlement) { _ in
            try await expect("the first attempt to end") { $0.ended > 0 || $0.burial != nil }
            if try await table.takeAway(task) { try await finish(task) }
            // what the dead would have settled is refused now
            log.letGo()
        }
    }

    private func loseReply(_ task: TaskID) async throws {
        try await withRelay(task, .beforeSettlement) { relay in
            try await expect("the first attempt to end") { $0.ended > 0 || $0.burial != nil }
            try await table.loseReply(
                ofSettling: task, by: relay.name, isSuccess: log.state.attempts.first?.outcome == .succeeded,
                atMost: Self.limit
            ) { log.letGo() }
        }
    }

    /// Returns how often the effect had happened when another attempt had succeeded and the first one still stood still;
    /// `nil` if that did not come to pass.
    private func overtake(_ task: TaskID) async throws -> Int? {
        try await withRelay(task, .inWait(wait ?? 1)) { _ in
            try await expect("the first attempt to wait or to end") {
                $0.standsStill || $0.ended > 0 || $0.burial != nil
            }
            var counted: Int?
            if log.state.standsStill, try await table.takeAway(task) {
                try await withRelay(task, .none) { _ in
                    if try await isAnotherDone(task) { counted = try await countWhileStandingStill() }
                    log.letGo()
                    try await expect("all attempts to end") { $0.hasEnded }
                }
            }
            log.letGo()
            try await expect("all attempts to end") { $0.hasEnded || $0.burial != nil }
            return counted
        }
    }

    private func cancel(_ task: TaskID) async throws {
        try await withRelay(task, .inWait(wait ?? 1), stopGrace: .zero) { relay in
            try await expect("the first attempt to wait or to end") {
                $0.standsStill || $0.ended > 0 || $0.burial != nil
            }
            guard log.state.standsStill else { return }
            relay.relay.stop()
            try await expect("the first attempt to be cancelled") { $0.isCancelled }
            log.letGo()
            try await expect("the first attempt to end") { $0.hasEnded }
        }
    }
}
