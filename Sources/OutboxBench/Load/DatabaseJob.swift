// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

package import Outbox

/// What producers do, for as long as asked, on so many connections: business transactions, with or without a task.
package struct DatabaseJob: Codable, Sendable {
    /// What a transaction does besides what it is there for.
    package enum Work: String, Codable, Sendable {
        /// A business row and nothing else.
        case business
        /// A business row and a row of the bare table that has the shape of `ready`.
        case insert
        /// A business row and a task.
        case enqueue
        /// No business row: rows of the bare table from arrays.
        case insertMany
        /// No business row: tasks from arrays.
        case enqueueMany
        /// A business row, a task, and a notification of the channel `bench_floor`.
        case enqueueAndNotify
    }

    package var work: Work
    package var schema: String
    package var clients = 1
    package var seconds: Double
    /// Transactions in a second, of all clients together; `nil`: as many as go.
    package var rate: Double?
    /// How many rows or tasks a transaction of `insertMany` or `enqueueMany` has.
    package var batch = 1
    package var payload = 200
    /// The number of the first task. Every client counts in steps of the number of clients.
    package var first = 0
    /// Ends it before its time.
    package var mostTransactions: Int?
    /// Whether the report has the time of each commit.
    package var keepsTimes = false
    /// Where a relay is nudged after each commit.
    package var nudgeSocket: String?
    /// One in so many transactions stays open after its rows are written; 0: none does.
    package var longEvery = 0
    /// For how long at most.
    package var longest = 0.0

    package init(_ work: Work, schema: Schema, seconds: Double) {
        self.work = work
        self.schema = schema.name
        self.seconds = seconds
    }
}

package struct DatabaseReport: Codable, Sendable {
    package var transactions = 0
    /// The seconds that it took, from the first transaction's beginning to the last one's end.
    package var seconds = 0.0
    /// With `keepsTimes`: the numbers of the tasks, and when each was committed.
    package var numbers: [Int] = []
    package var times: [Int64] = []
    /// Whether it had stayed open before.
    package var wasLong: [Bool] = []
}
