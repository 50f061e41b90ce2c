// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// A message of NOTIFY.
package struct Notification: Sendable, Hashable {
    package let channel: String
    package let payload: String
    /// The process of the session that sent it.
    package let processID: Int32
}

/// A connection of its own that listens to channels.
///
/// It needs a session: behind a pooler in transaction mode LISTEN is accepted and nothing ever arrives, so give it
/// the server's own address. Notifications are a nudge, never the truth: those sent while nobody listens are lost.
///
///     for try await notification in try await Listener.connect(configuration, channels: ["outbox"]) { … }
///
/// No task runs behind it: whoever asks for the next notification waits for the socket.
package final class Listener: Sendable, AsyncSequence {
    package let connection: Connection

    private init(connection: Connection) {
        self.connection = connection
    }

    /// Connects and listens; what is sent from here on is received.
    package static func connect(
        _ configuration: DatabaseConfiguration, channels: [String]
    ) async throws(PostgresError) -> Listener {
        let connection = try await Connection.connect(configuration)
        // LISTEN takes no parameters: its channel is an identifier.
        try await connection.run(
            channels.map { "LISTEN \(identifier: $0)" }, timeout: configuration.callTimeout
        )
        return Listener(connection: connection)
    }

    /// Waits for a notification.
    ///
    /// - Returns: `nil` when the deadline has passed or the task was cancelled.
    /// - Throws: ``PostgresError/Code/connectionLost`` when the connection has died: connect again.
    package func next(until deadline: ContinuousClock.Instant? = nil) async throws(PostgresError) -> Notification? {
        try await connection.nextNotification(until: deadline)
    }

    package func close() async {
        await connection.close()
    }

    package struct Iterator: AsyncIteratorProtocol {
        fileprivate let listener: Listener

        package mutating func next() async throws(PostgresError) -> Notification? { try await listener.next() }

        package mutating func next(
            isolation actor: isolated (any Actor)?
        ) async throws(PostgresError) -> Notification? { try await listener.next() }
    }

    package func makeAsyncIterator() -> Iterator { Iterator(listener: self) }
}
