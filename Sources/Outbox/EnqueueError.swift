// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// An argument of an enqueue that cannot be, found before anything was sent, so that the transaction is as it was.
///
/// The SQL functions refuse the same with SQLSTATE 22023.
public struct EnqueueError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The name of the argument, as in SQL.
    public let argument: String
    public let problem: String
    /// What to do about it.
    public let hint: String

    package init(argument: String, problem: String, hint: String) {
        self.argument = argument
        self.problem = problem
        self.hint = hint
    }

    public var description: String { "outbox: \(argument) \(problem) (\(hint))" }
}
