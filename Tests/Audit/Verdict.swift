// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// One broken promise: which one, of which task, and what shows it.
package struct Verdict: Sendable, Hashable, CustomStringConvertible {
    package enum Fault: String, Sendable, CaseIterable {
        /// Committed, and neither done nor waiting nor dead.
        case lost
        /// It ran or is in the tables, and no committed transaction made it.
        case phantom
        /// It is in the tables more than once.
        case doubled
        /// It ran with another payload than the committed one.
        case payloadMismatch
        /// It ran under another idempotency key than the committed one.
        case keyMismatch
        /// It ran again, and the attempt was lower than that of an earlier run.
        case attemptNotGreater
        /// Two runs of one attempt.
        case overlap
        /// It ran before an earlier task of its ordering key was done, or again after a later one began.
        case outOfOrder
        /// A dead letter says that an attempt failed which had succeeded: a stale settlement took effect.
        case contradiction
        /// A run went on for too long after a later attempt had begun.
        case overrun
        /// It waits or runs although everything should be done.
        case stranded
        /// More second effects than the faults of the run explain.
        case tooManyDuplicates
    }

    package let fault: Fault
    /// The task; empty where the verdict is of all of them.
    package let task: String
    package let evidence: String

    package init(_ fault: Fault, _ task: String, _ evidence: String) {
        self.fault = fault
        self.task = task
        self.evidence = evidence
    }

    package var description: String { "\(fault.rawValue)\(task.isEmpty ? "" : " \(task)"): \(evidence)" }
}
