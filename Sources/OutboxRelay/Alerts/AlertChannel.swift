// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// A way to tell people that tasks have died.
public protocol AlertChannel: Sendable {
    /// The name by which the configuration, logs and recorded deliveries know the channel.
    var name: String { get }

    /// Sends one alert.
    ///
    /// Returning means that it was delivered and need not be sent again. Throwing means that it was not, or that
    /// nobody knows: the relay calls again later, with the same ``Alert/dedupKey``, so a channel must bear a
    /// repetition. The call is cancelled when the relay stops; a channel then throws.
    func send(_ alert: Alert) async throws
}

/// Why a channel did not deliver an alert. The relay tries again whatever the reason.
public struct AlertError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What kind of reason it is. More may come.
    public struct Code: Hashable, Sendable {
        private enum Value { case notSent, refused, timedOut }
        private let value: Value

        /// The alert did not leave: no connection, no such program.
        public static let notSent = Code(value: .notSent)
        /// The other side got the alert and said no: an error status, a non-zero exit.
        public static let refused = Code(value: .refused)
        /// The other side took too long.
        public static let timedOut = Code(value: .timedOut)
    }

    /// What kind of reason it is.
    public let code: Code
    /// The channel's name.
    public let channel: String
    /// What happened, with what the other side said about it.
    public let message: String

    package init(_ code: Code, channel: String, message: String) {
        self.code = code
        self.channel = channel
        self.message = message
    }

    /// The message after the channel's name.
    public var description: String { "Alert channel \(channel): \(message)" }
}
