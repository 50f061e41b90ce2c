// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import ArgumentParser
internal import Outbox
internal import OutboxHTTP
internal import OutboxRelay
internal import PostgresClient

/// The statuses with which `outbox` exits; the root's help explains them.
enum ExitStatus: Int32 {
    case failed = 1
    /// Not everything that was asked for was done, or nothing matched where something was named.
    case incomplete = 2
    /// The database or its server is not available.
    case unavailable = 69
    /// The configuration or the database's schema is wrong.
    case misconfigured = 78
}

/// Why a command did not do what it was asked for: one line for people, a hint, and the exit status.
///
/// Neither ever holds a payload, a connection string or the value of a secret.
struct Problem: Error, Equatable {
    let status: ExitStatus
    let message: String
    /// What to do about it.
    let hint: String?

    init(_ status: ExitStatus, _ message: String, hint: String? = nil) {
        self.status = status
        self.message = message
        self.hint = hint
    }

    /// Writes the message and the hint to standard error.
    func report() {
        Terminal.error.write("outbox: \(message)\n")
        if let hint { Terminal.error.write("  hint: \(hint)\n") }
    }
}

extension Problem {
    /// The problem that an error from below amounts to; `nil` for errors that ArgumentParser prints itself.
    init?(describing error: any Error) {
        switch error {
        case let problem as Problem: self = problem
        case let error as PostgresError: self.init(error)
        case let error as RelayError:
            self.init(error.code == .alreadyRun ? .failed : .misconfigured, error.message, hint: error.hint)
        case let error as EnqueueError: self.init(error)
        case let error as HTTPEndpointError: self.init(.misconfigured, error.description)
        case let error as AlertError: self.init(.misconfigured, error.description)
        case is ExitCode, is CleanExit, is ValidationError: return nil
        default:
            // ArgumentParser's own errors have no public type; everything of ours is listed above
            if String(reflecting: type(of: error)).hasPrefix("ArgumentParser.") { return nil }
            self.init(.failed, "\(error)")
        }
    }

    private init(_ error: EnqueueError) {
        let isSentence = error.problem.first?.isUppercase == true
        let subject = error.argument == "kind" ? "this" : error.argument
        self.init(.failed, isSentence ? sentence(error.problem) : "\(subject) \(error.problem)", hint: error.hint)
    }

    private init(_ error: PostgresError) {
        switch error.code {
        case .invalidConfiguration:
            self.init(.misconfigured, sentence(error.message), hint: error.hint)
        case .connectionFailed, .connectionLost, .timedOut, .poolExhausted, .commitOutcomeUnknown:
            self.init(
                .unavailable, "the database is not available: \(sentence(error.message))",
                hint: error.hint ?? Self.hint(for: error.sqlState))
        default:
            switch error.sqlState {
            case .some(.undefinedTable), .some(.undefinedFunction), .some(SQLState(rawValue: "3F000")):
                self.init(
                    .misconfigured, "the database has no outbox, or an older one: \(error.message)",
                    hint: "apply the migrations: outbox migrate")
            case .some(.insufficientPrivilege):
                self.init(
                    .failed, "the database does not let this role do that: \(error.message)",
                    hint:
                        "grant the role outbox_producer, outbox_relay or outbox_operator; migrations/roles.sql makes them"
                )
            default:
                self.init(error.isTransient ? .unavailable : .failed, sentence(error.message), hint: error.hint)
            }
        }
    }
}

extension Problem {
    /// What to look at when no connection came about.
    private static func hint(for state: SQLState?) -> String? {
        switch state?.classCode {
        case "28": "check the user and the password of --database or DATABASE_URL"
        case "3D": "check the database's name in --database or DATABASE_URL, or create it"
        case nil, "08": "check that the server runs, and the address in --database or DATABASE_URL"
        default: nil
        }
    }
}

/// A message as the line of a command ends: without a full stop.
private func sentence(_ text: String) -> String {
    var text = text
    if text.last == "." { text.removeLast() }
    return text
}
