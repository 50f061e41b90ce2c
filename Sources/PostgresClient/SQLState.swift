// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// The five characters by which a server names an error, stable over versions and languages.
///
/// https://www.postgresql.org/docs/current/errcodes-appendix.html
public struct SQLState: Hashable, Sendable, RawRepresentable, CustomStringConvertible {
    public let rawValue: String

    public init(rawValue: String) {
        self.rawValue = rawValue
    }

    /// The first two characters: the class, which is what most decisions go by.
    public var classCode: String { String(rawValue.prefix(2)) }

    public var description: String { rawValue }

    /// Whether the state belongs to class 08: the connection failed or broke.
    public var isConnectionException: Bool { rawValue.hasPrefix("08") }

    /// Whether running the whole transaction again is what the server asks for: 40001 and 40P01.
    public var asksForRetry: Bool { self == .serializationFailure || self == .deadlockDetected }

    /// Whether the server announces that it ends the session: shutdown, crash, not up yet.
    var announcesShutdown: Bool { self == .adminShutdown || self == .crashShutdown || self == .cannotConnectNow }

    public static let connectionFailure = SQLState(rawValue: "08006")
    public static let invalidTextRepresentation = SQLState(rawValue: "22P02")
    public static let uniqueViolation = SQLState(rawValue: "23505")
    public static let checkViolation = SQLState(rawValue: "23514")
    /// A write on a standby, a demoted primary or in a transaction that only reads.
    public static let readOnlySQLTransaction = SQLState(rawValue: "25006")
    public static let inFailedSQLTransaction = SQLState(rawValue: "25P02")
    public static let invalidPassword = SQLState(rawValue: "28P01")
    public static let invalidCatalogName = SQLState(rawValue: "3D000")
    public static let serializationFailure = SQLState(rawValue: "40001")
    public static let statementCompletionUnknown = SQLState(rawValue: "40003")
    public static let deadlockDetected = SQLState(rawValue: "40P01")
    public static let insufficientPrivilege = SQLState(rawValue: "42501")
    public static let syntaxError = SQLState(rawValue: "42601")
    public static let undefinedFunction = SQLState(rawValue: "42883")
    public static let undefinedTable = SQLState(rawValue: "42P01")
    public static let duplicateDatabase = SQLState(rawValue: "42P04")
    public static let diskFull = SQLState(rawValue: "53100")
    public static let tooManyConnections = SQLState(rawValue: "53300")
    public static let lockNotAvailable = SQLState(rawValue: "55P03")
    /// The statement was cancelled: by us, by an administrator or by `statement_timeout`.
    public static let queryCanceled = SQLState(rawValue: "57014")
    public static let adminShutdown = SQLState(rawValue: "57P01")
    public static let crashShutdown = SQLState(rawValue: "57P02")
    public static let cannotConnectNow = SQLState(rawValue: "57P03")
}
