// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// A handler is not idempotent, or a proof could not come to its end: where, what was seen, and what to do.
///
/// Its description is meant to be read where a test prints the error that it threw.
public struct HandlerProofFailure: Error, Sendable, CustomStringConvertible {
    /// What the proof saw up to then, in the scenario that failed.
    public let observation: HandlerProof.Observation
    /// One sentence that says what is wrong.
    public let message: String
    /// What to do about it.
    public let hint: String

    /// The message, the attempts with their keys, and what to do, a line each.
    public var description: String {
        let attempts = observation.attempts.map { "  \($0)\n" }.joined()
        return "\(message)\n\(attempts)What to do: \(hint)"
    }
}

extension HandlerProof.Observation {
    /// What is wrong with what was seen, if anything.
    ///
    /// - Parameter whileStandingStill: how often the effect had happened when another attempt had succeeded and the
    ///   first one still stood still.
    func failure(isEarly: Bool, whileStandingStill: Int?) -> HandlerProofFailure? {
        func failure(_ message: String, _ hint: String) -> HandlerProofFailure {
            HandlerProofFailure(
                observation: self, message: "When the first attempt was \(what), \(message).", hint: hint)
        }
        if isEarly {
            if attempts.count > 1 {
                return failure(
                    "the task of an early kind ran \(Self.times(attempts.count))", "report it: this must not happen")
            }
            if effects > 1 || effects < 1 && deadLetter == nil { return failure(Self.happened(effects), Self.onceHint) }
            return scenario != .undisturbed || effects == 1 ? nil : failure(Self.happened(effects), Self.countHint)
        }
        if let deadLetter {
            return failure(
                "\(Self.happened(effects)), and the task became a dead letter: \(deadLetter)",
                scenario == .undisturbed
                    ? "give the proof a task that the handler can do"
                    : "an attempt that finds the work done, or begun by another, has to return, or throw what is retried"
            )
        }
        if let seen = whileStandingStill, seen < 1 {
            return failure(
                "another attempt succeeded and the effect had not happened; had the first one been killed there, it would be lost",
                "note that it is done together with the effect or after it, not before")
        }
        let seen = max(effects, whileStandingStill ?? 0)
        if seen > 1 {
            return failure(
                Self.happened(seen),
                scenario == .overtaken ? Self.overlapHint : Self.onceHint)
        }
        guard effects < 1 else { return nil }
        return failure(
            Self.happened(effects),
            scenario == .undisturbed
                ? Self.countHint : "note that it is done together with the effect or after it, not before")
    }

    private static func happened(_ count: Int) -> String {
        switch count {
        case 0: "the effect did not happen"
        case 1: "the effect happened once"
        default: "the effect happened \(times(count)), not once"
        }
    }

    private static let onceHint = """
        every attempt has the same idempotency key: pass context.idempotencyKey on to whoever performs the effect; \
        or, if the effect is in this database, complete the task in its transaction: context.complete(in:)
        """
    private static let overlapHint = """
        two attempts can run at once, so looking whether it is done and then doing it is not enough: let the one \
        who performs the effect refuse a repetition (pass context.idempotencyKey on; a unique key, INSERT … ON CONFLICT); \
        or, if the effect is in this database, complete the task in its transaction: context.complete(in:)
        """
    private static let countHint = """
        the handler was not disturbed: let `effects` count what one undisturbed attempt does as 1
        """
}
