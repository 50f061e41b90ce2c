// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// Everything that can go wrong between an application and its database.
///
/// `description` is made for logs: it never holds values, payloads or passwords. The server's DETAIL and the
/// unabridged message, which may quote values, are in `debugDescription` only.
public struct PostgresError: Error, Sendable {
    /// What kind of trouble it is. More kinds may come, so a `switch` over it needs a `default`.
    public struct Code: Hashable, Sendable, CustomStringConvertible {
        private enum Name: String {
            case invalidConfiguration, connectionFailed, connectionLost, timedOut, cancelled, server
            case commitOutcomeUnknown, transactionFinished, poolClosed, poolExhausted, invalidBind, decoding
        }

        private let name: Name

        /// The connection string or a setting makes no sense. Nothing was tried.
        public static let invalidConfiguration = Code(name: .invalidConfiguration)
        /// No address of the server let us in.
        public static let connectionFailed = Code(name: .connectionFailed)
        /// The connection broke. Whether the statement took effect is unknown, unless it ran in a transaction that
        /// had not been told to commit.
        public static let connectionLost = Code(name: .connectionLost)
        /// The call's own deadline passed; the statement was cancelled on the server and took no effect.
        /// If the server did not confirm that in time, the connection was closed and the effect is unknown.
        public static let timedOut = Code(name: .timedOut)
        /// The task was cancelled; as for ``timedOut``.
        public static let cancelled = Code(name: .cancelled)
        /// The server refused the statement; see ``PostgresError/sqlState``.
        public static let server = Code(name: .server)
        /// The connection broke between COMMIT and its answer: the transaction is committed or it is not.
        /// Ask `Database.status(ofTransaction:)` with ``PostgresError/transactionIdentifier``.
        public static let commitOutcomeUnknown = Code(name: .commitOutcomeUnknown)
        /// A `Transaction` was used after its closure had ended.
        public static let transactionFinished = Code(name: .transactionFinished)
        /// The database was closed by this process.
        public static let poolClosed = Code(name: .poolClosed)
        /// No connection of the pool became free in time.
        public static let poolExhausted = Code(name: .poolExhausted)
        /// A value or a statement cannot be sent. Nothing was sent.
        public static let invalidBind = Code(name: .invalidBind)
        /// A column does not hold what was asked for.
        public static let decoding = Code(name: .decoding)

        public var description: String { name.rawValue }
    }

    public let code: Code
    /// One sentence without values.
    public let message: String
    /// What the operator can do about it.
    public let hint: String?
    /// The server's name for the error; also known for many failed attempts to connect.
    public let sqlState: SQLState?
    /// The position in its batch of the statement that failed.
    public internal(set) var statementIndex: Int?
    /// The constraint that was violated.
    public let constraint: String?
    /// The identifier of the transaction whose outcome is unknown, if it had been read.
    public internal(set) var transactionIdentifier: TransactionIdentifier?
    /// The error behind this one.
    public let underlying: (any Error)?

    /// What may quote values: the server's DETAIL, the unabridged message. For `debugDescription`.
    let detail: String?
    /// The server says that the session ends with this error.
    var endsSession = false
    /// No byte of the statement left this process, so it certainly took no effect.
    package internal(set) var nothingWasSent = false

    package init(
        _ code: Code, _ message: String, hint: String? = nil, sqlState: SQLState? = nil, statementIndex: Int? = nil,
        constraint: String? = nil, transactionIdentifier: TransactionIdentifier? = nil, underlying: (any Error)? = nil,
        detail: String? = nil
    ) {
        self.code = code
        self.message = message
        self.hint = hint
        self.sqlState = sqlState
        self.statementIndex = statementIndex
        self.constraint = constraint
        self.transactionIdentifier = transactionIdentifier
        self.underlying = underlying
        self.detail = detail
    }

    /// Whether the same call may well succeed a little later, on another connection if need be.
    ///
    /// False for ``Code/commitOutcomeUnknown``: doing it again before knowing the outcome may do it twice.
    public var isTransient: Bool {
        switch code {
        case .connectionLost, .timedOut, .poolExhausted: return true
        case .connectionFailed, .server:
            guard let sqlState else { return code == .connectionFailed }
            switch sqlState {
            case .serializationFailure, .deadlockDetected, .lockNotAvailable, .queryCanceled, .readOnlySQLTransaction,
                .adminShutdown, .crashShutdown, .cannotConnectNow:
                return true
            default:
                return sqlState.isConnectionException || sqlState.classCode == "53"
            }
        default: return false
        }
    }

    /// Whether the session that the error came from can go on.
    package var isConnectionUsable: Bool {
        if code == .connectionLost || code == .connectionFailed || code == .commitOutcomeUnknown { return false }
        if endsSession { return false }
        guard let sqlState else { return true }
        return !sqlState.isConnectionException && !sqlState.announcesShutdown
    }

    /// Whether the server does not take writes: after a failover every connection may lead to the wrong server.
    package var indicatesWrongServer: Bool { sqlState == .readOnlySQLTransaction }
}

extension PostgresError: CustomStringConvertible, CustomDebugStringConvertible {
    /// Code, SQLSTATE, position, message and hint; safe to log.
    public var description: String {
        var text = "\(code)"
        if let sqlState { text += " \(sqlState)" }
        if let statementIndex, statementIndex > 0 { text += " in statement \(statementIndex) of the batch" }
        text += ": \(message)"
        if let constraint { text += " (constraint \(constraint))" }
        if let transactionIdentifier { text += " (transaction \(transactionIdentifier))" }
        if let hint { text += " Hint: \(hint)" }
        return text
    }

    /// The description with everything that the server said. It may quote values: not for logs.
    public var debugDescription: String {
        var text = description
        if let detail { text += " Detail: \(detail)" }
        if let underlying { text += " Underlying: \(String(reflecting: underlying))" }
        return text
    }
}
