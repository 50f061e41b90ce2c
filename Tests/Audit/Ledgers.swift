// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// What was seen from outside of a relay and its tables, to be judged by an ``Auditor``: which tasks were committed, what
/// ran, and what is left.
///
/// Times are microseconds of one clock, whichever it is; it is the clock of whoever keeps the ledger, never the
/// database's, which may be wrong. Texts that stand for something, such as a payload's hash, are compared and never read.
package struct Ledgers: Sendable, Equatable {
    /// A business row and its task, committed in one transaction.
    package struct Commit: Sendable, Equatable {
        package var task: String
        /// The idempotency key, the same on every attempt.
        package var key: String
        /// The payload's hash.
        package var payload: String
        /// Tasks of one ordering key run one after the other, in the order of their commits.
        package var orderingKey: String?
        package var at: Int64

        package init(task: String, key: String? = nil, payload: String = "", orderingKey: String? = nil, at: Int64) {
            self.task = task
            self.key = key ?? task
            self.payload = payload
            self.orderingKey = orderingKey
            self.at = at
        }
    }

    /// One run of a handler, or one request to an endpoint, as the handler or the endpoint saw it.
    package struct Effect: Sendable, Equatable {
        package enum Outcome: String, Sendable {
            case succeeded
            /// It had no effect: it failed, was rejected, rolled back or given back.
            case failed
        }
        package var task: String
        package var key: String
        package var payload: String
        package var attempt: Int
        /// Who ran it: a relay's name, another one after each of its starts.
        package var by: String
        package var start: Int64
        /// `nil`: it never ended, as in a process that was killed.
        package var end: Int64?
        /// `nil`: nobody can say.
        package var outcome: Outcome?
        /// Its handler ignores cancellation, and is known to do so.
        package var isDeaf: Bool

        package init(
            task: String, key: String? = nil, payload: String = "", attempt: Int, by: String, start: Int64,
            end: Int64? = nil, outcome: Outcome? = nil, isDeaf: Bool = false
        ) {
            self.task = task
            self.key = key ?? task
            self.payload = payload
            self.attempt = attempt
            self.by = by
            self.start = start
            self.end = end
            self.outcome = outcome
            self.isDeaf = isDeaf
        }

        /// Whether the task may be done by it: it came to its end, and nobody knows that it failed.
        var mayBeDone: Bool { end != nil && outcome != .failed }
    }

    /// A task that is in the tables at the end. Dead letters that a person replayed or discarded are not listed.
    package struct Remainder: Sendable, Equatable {
        package enum State: Sendable, Equatable {
            case waiting
            case running
            /// With the attempt that the dead letter records, and when it was written, if that is known.
            case dead(reason: String, attempt: Int, at: Int64? = nil)
        }
        package var task: String
        package var state: State

        package init(task: String, _ state: State) {
            self.task = task
            self.state = state
        }
    }

    /// A time during which a relay's process stood still.
    package struct Pause: Sendable, Equatable {
        package var by: String
        package var from: Int64
        package var until: Int64

        package init(by: String, from: Int64, until: Int64) {
            self.by = by
            self.from = from
            self.until = until
        }
    }

    package var commits: [Commit] = []
    package var effects: [Effect] = []
    package var remainders: [Remainder] = []
    package var pauses: [Pause] = []

    package init() {}
}
