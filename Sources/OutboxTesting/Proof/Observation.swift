// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

public import Outbox

extension HandlerProof {
    /// What a proof saw of one task in one scenario.
    public struct Observation: Sendable, CustomStringConvertible {
        /// One run of the handler.
        public struct Attempt: Sendable, Equatable {
            /// As `TaskContext.attempt`.
            public let number: Int
            /// As `TaskContext.idempotencyKey`.
            public let idempotencyKey: String
            /// How it ended, as the relay heard of it; `nil` if it did not end.
            public internal(set) var outcome: Outcome?
        }

        public let scenario: Scenario
        /// The number of the operation, as the closures got it.
        public let number: Int
        /// In which of its waits the first attempt was disturbed, from 1; `nil` if the scenario has none, or this attempt
        /// had no more of them, which is where a proof stops looking.
        public internal(set) var wait: Int?
        /// In the order in which they began.
        public internal(set) var attempts: [Attempt] = []
        /// How often the effect happened.
        public internal(set) var effects = 0
        /// Why the task is a dead letter, if it is one.
        public internal(set) var deadLetter: String?

        /// One line: the scenario, the attempts, and how often the effect happened.
        public var description: String {
            let ran = attempts.map { "\($0.number)" }.joined(separator: ", ")
            let dead = deadLetter.map { "; a dead letter: \($0)" } ?? ""
            return "\(what): attempts \(ran.isEmpty ? "none" : ran); the effect happened \(Self.times(effects))\(dead)"
        }

        /// What was done to the first attempt.
        var what: String {
            guard scenario.happensInWaits else { return "\(scenario)" }
            return wait.map { "\(scenario) in its wait \($0)" } ?? "not yet \(scenario) and had ended"
        }

        static func times(_ count: Int) -> String {
            switch count {
            case 0: "never"
            case 1: "once"
            case 2: "twice"
            default: "\(count) times"
            }
        }
    }
}

extension HandlerProof.Observation.Attempt: CustomStringConvertible {
    /// One line: the number, the key and the end.
    public var description: String { "attempt \(number), key \(idempotencyKey): \(ending)" }

    private var ending: String {
        outcome.map(Self.ending) ?? "still running"
    }

    private static func ending(_ outcome: Outcome) -> String {
        switch outcome {
        case .succeeded: "returned"
        case .completed(.retry(let failure, _, _)) where failure.type == "completion_rolled_back":
            "completed the task in its own transaction"
        case .completed(let otherwise): "completed the task in a transaction, and \(ending(otherwise))"
        case .released: "gave up when it was cancelled"
        case .retry(let failure, _, _): "threw \(failure.type): \(failure.message)"
        case .rejected(let failure): "rejected the task: \(failure.message)"
        }
    }
}
