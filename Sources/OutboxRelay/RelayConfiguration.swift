// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

public import Outbox
internal import OutboxCore

/// How a relay works; everything has a default.
public struct RelayConfiguration: Sendable {
    /// The schema that holds the outbox. Default: `outbox`.
    public var schema: Schema
    /// The relay's name in logs, alerts and `outbox status`. Default: host name and process id.
    public var name: String
    /// How many tasks run at once. Default: 64.
    public var concurrency: Int
    /// How long a claim gives the right to run a task; it is renewed while the task runs. If the relay vanishes, its
    /// tasks run again after that time. 1 second to 1 hour. Default: 30 seconds.
    public var lease: Duration
    /// The pause between claims: a quarter of the time for which nothing has come, within these bounds. Default: 5 to 250
    /// milliseconds.
    public var poll: ClosedRange<Duration>
    /// Where to make a Unix socket at which producers on this machine say that they have committed a task; see ``Nudge``.
    /// A path of its own for each relay. Default: none.
    public var nudgeSocket: String?
    /// How often claims look behind their floors, expired leases are returned, and the relay sees whether the tasks belong
    /// to the database that it is connected to. Default: 5 seconds.
    public var sweepInterval: Duration
    /// How long running tasks may take to finish after ``Relay/stop()`` before they are cancelled. Default: 25 seconds:
    /// with `cancellationGrace` and a second for the last settlements that is less than the 30 of Kubernetes.
    public var stopGrace: Duration
    /// How long a cancelled handler may take to return. Default: 3 seconds.
    public var cancellationGrace: Duration
    /// The most payload bytes of one claim. Default: 4 MiB.
    public var claimBytes: Int
    /// How long the first alert of an incident waits for what belongs to it. Default: 30 seconds.
    public var groupWait: Duration
    /// How often a channel hears of one incident at most. Default: 5 minutes.
    public var groupInterval: Duration
    /// How long tasks that no relay can run may wait before a person is told. Default: 5 minutes.
    public var unhandledAfter: Duration
    /// Told of every exchange with the database; for benchmarks.
    package var observe: (@Sendable (ExchangeNote) -> Void)?

    public init(
        schema: Schema = .outbox, name: String? = nil, concurrency: Int = 64, lease: Duration = .seconds(30),
        poll: ClosedRange<Duration> = .milliseconds(5) ... .milliseconds(250), nudgeSocket: String? = nil,
        sweepInterval: Duration = .seconds(5), stopGrace: Duration = .seconds(25),
        cancellationGrace: Duration = .seconds(3), claimBytes: Int = 4 << 20,
        groupWait: Duration = .seconds(30), groupInterval: Duration = .seconds(300),
        unhandledAfter: Duration = .seconds(300)
    ) {
        self.schema = schema
        self.name = name ?? RelayIdentity.defaultName
        self.concurrency = concurrency
        self.lease = lease
        self.poll = poll
        self.nudgeSocket = nudgeSocket
        self.sweepInterval = sweepInterval
        self.stopGrace = stopGrace
        self.cancellationGrace = cancellationGrace
        self.claimBytes = claimBytes
        self.groupWait = groupWait
        self.groupInterval = groupInterval
        self.unhandledAfter = unhandledAfter
    }

    /// - Throws: ``RelayError`` naming the value that cannot be.
    func validate() throws(RelayError) {
        func require(_ holds: Bool, _ what: String) throws(RelayError) {
            if !holds {
                throw RelayError(
                    .invalidConfiguration, what, hint: "see RelayConfiguration for the bounds and defaults")
            }
        }
        try require((1...10_000).contains(concurrency), "concurrency must be 1 to 10,000, not \(concurrency)")
        try require(
            (.seconds(1)...Duration.seconds(3600)).contains(lease), "lease must be 1 second to 1 hour, not \(lease)")
        try require(poll.lowerBound >= .milliseconds(1), "poll must be at least a millisecond, not \(poll.lowerBound)")
        try require(poll.upperBound <= .seconds(60), "poll must be at most a minute, not \(poll.upperBound)")
        try require(
            sweepInterval >= .milliseconds(100), "sweepInterval must be at least 100 milliseconds, not \(sweepInterval)"
        )
        try require(
            stopGrace >= .zero && cancellationGrace >= .zero, "stopGrace and cancellationGrace must not be negative")
        try require(claimBytes > 0, "claimBytes must be positive")
        try require(
            groupWait >= .zero && groupInterval >= .zero && unhandledAfter >= .zero,
            "groupWait, groupInterval and unhandledAfter must not be negative")
    }
}

/// Why a relay does not run.
public struct RelayError: Error, Sendable, CustomStringConvertible {
    public struct Code: Hashable, Sendable {
        private enum Value { case configuration, handlers, schema, home, running }
        private let value: Value
        /// A value of the configuration is out of its bounds.
        public static let invalidConfiguration = Code(value: .configuration)
        /// Two handlers are for the same kind, or there is none.
        public static let invalidHandlers = Code(value: .handlers)
        /// The database has no outbox, or one of a version that this relay does not know.
        public static let unknownSchema = Code(value: .schema)
        /// The database is a copy of the one that the tasks belong to, or has taken its place, and nobody has said yet
        /// what becomes of them: `outbox adopt`, or the SQL function `adopt`.
        public static let tasksOfAnotherDatabase = Code(value: .home)
        /// A relay runs once.
        public static let alreadyRun = Code(value: .running)
    }
    public let code: Code
    public let message: String
    /// What to do about it.
    public let hint: String

    package init(_ code: Code, _ message: String, hint: String) {
        self.code = code
        self.message = message
        self.hint = hint
    }

    public var description: String { "\(message) (\(hint))" }
}
