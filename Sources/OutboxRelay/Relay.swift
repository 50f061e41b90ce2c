// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

public import Logging
internal import OutboxCore
public import PostgresClient
internal import Synchronization

/// Runs tasks: claims them, calls their handlers, and settles, until it is told to stop.
///
///     let relay = try Relay(
///         database: DatabaseConfiguration(url: url),
///         handlers: [Handler(ChargeCard.self) { task, context in … }]
///     )
///     try await relay.run()
///
/// Run as many as you like, in as many processes: they share the work, and each task is held by one at a time. A relay
/// keeps going when the database does not: it connects again with backoff and jitter, and what it could not settle it
/// settles then, or leaves to the lease. It uses two connections of its own, a third while it renews
/// leases, and no transaction while a handler runs. It has a thread of its own too: handlers, which run on Swift's threads
/// like any other task, do not delay it even if they block them, so that their leases are renewed.
public final class Relay: Sendable {
    private let loop: RelayLoop
    private let mailbox: Mailbox<RelayMessage>
    private let poller = Poller()
    private let stopGrace: Duration
    private let hasRun = Mutex(false)

    /// Makes a relay; nothing connects yet.
    ///
    /// - Parameter alerts: Where dead letters are told, besides the log, which is always one of them.
    /// - Throws: ``RelayError``.
    public init(
        database: DatabaseConfiguration, handlers: [Handler], alerts: [any AlertChannel] = [],
        configuration: RelayConfiguration = RelayConfiguration(), logger: Logger = Logger(label: "outbox.relay")
    ) throws(RelayError) {
        try configuration.validate()
        let table = try HandlerTable(handlers)
        let identity = RelayIdentity(name: configuration.name)
        var logger = logger
        logger[metadataKey: "relay"] = "\(identity.name)"
        let channels: [any AlertChannel] = [LogChannel(logger: logger)] + alerts
        guard Set(channels.map(\.name)).count == channels.count else {
            throw RelayError(
                .invalidConfiguration, "two alert channels have one name", hint: "name them differently; log is taken")
        }
        let settings = table.engineSettings(configuration)
        let store = RelayStore(
            database: database, relay: identity, scope: ClaimScope(settings), channels: channels.map(\.name),
            configuration: configuration, poller: poller, logger: logger)
        let mailbox = Mailbox<RelayMessage>()
        self.mailbox = mailbox
        stopGrace = configuration.stopGrace
        loop = RelayLoop(
            mailbox: mailbox, poller: poller, store: store, handlers: table, settings: settings,
            unhandledAfter: configuration.unhandledAfter,
            courier: AlertCourier(
                store: store, channels: channels, groupInterval: configuration.groupInterval, logger: logger),
            bell: NudgeBell { mailbox.post(.nudged) }, nudgeSocket: configuration.nudgeSocket, logger: logger)
    }

    /// Runs until ``stop()`` is called or the task is cancelled, which is the same, and returns when the running tasks
    /// are finished or given back and everything is settled.
    ///
    /// If the database is replaced by a copy meanwhile, nothing is run in that, and what was running loses its leases; the
    /// log says so, and the relay goes on when the copy is adopted or the database is back.
    ///
    /// - Throws: ``RelayError/Code/unknownSchema`` if the database's outbox is not one that this relay knows;
    ///   ``RelayError/Code/tasksOfAnotherDatabase`` if the tasks in it belong to another database;
    ///   ``NudgeError`` if there can be no socket at the configuration's `nudgeSocket`.
    public func run() async throws {
        let isFirst = hasRun.withLock { hasRun in
            defer { hasRun = true }
            return !hasRun
        }
        guard isFirst else { throw RelayError(.alreadyRun, "this relay has run already", hint: "make a new one") }
        // Settling has to outlive the cancellation of whoever runs the relay; it is awaited at once.
        let settling = Task(executorPreference: poller) { [loop] in try await loop.run() }
        defer { poller.finish() }
        try await withTaskCancellationHandler {
            try await settling.value
        } onCancel: {
            stop()
        }
    }

    /// Stops gracefully: nothing more is claimed; what runs may finish within the configuration's `stopGrace`, is then
    /// cancelled, and given back uncharged.
    public func stop() {
        mailbox.post(.event(.stop(grace: stopGrace)))
    }

    /// Says that there is work, so that the relay looks at once instead of at its next poll: for a service that enqueues
    /// in the process in which it runs its relay, after its commit. From other processes see ``Nudge``.
    public func nudge() {
        loop.bell.nudge()
    }
}
