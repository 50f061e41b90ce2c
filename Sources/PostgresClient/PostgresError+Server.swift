// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import CLibPQ

extension PostgresError {
    /// Reads the error that a result carries.
    ///
    /// A result without an SQLSTATE was made by libpq itself, which it does when the connection breaks.
    init(result: OpaquePointer) {
        func field(_ code: Character) -> String? {
            guard let ascii = code.asciiValue, let text = PQresultErrorField(result, Int32(ascii)) else { return nil }
            return String(cString: text)
        }
        guard let state = field("C").map(SQLState.init(rawValue:)) else {
            let text = PQresultErrorMessage(result).map { String(cString: $0) } ?? ""
            self.init(connectionLost: text)
            return
        }
        let original = field("M") ?? "The server gave no message"
        let severity = field("V") ?? field("S") ?? "ERROR"
        let endsSession = severity == "FATAL" || severity == "PANIC"
        var detail = field("D")
        let message = redact(original, state: state)
        if message != original { detail = original + (detail.map { " / \($0)" } ?? "") }
        self.init(
            endsSession ? .connectionLost : .server, message, hint: hintForOperator(state) ?? field("H"),
            sqlState: state, constraint: field("n"), detail: detail
        )
        self.endsSession = endsSession
    }

    /// The connection broke; `text` is what libpq says about it.
    init(connectionLost text: String) {
        // The lines after the first are guesses at the cause.
        let message = text.split(separator: "\n").first.map { tidied(String($0)) } ?? ""
        self.init(.connectionLost, message.isEmpty ? "The connection to the server is broken" : message)
        endsSession = true
    }
}

/// Messages of class 22 (data exceptions) quote the value that they complain about, and those of functions written
/// by users (P0001) quote anything: what stands in double quotes is left out.
private func redact(_ message: String, state: SQLState) -> String {
    guard state.classCode == "22" || state.classCode == "P0",
        let first = message.firstIndex(of: "\""), let last = message.lastIndex(of: "\""), first < last
    else { return message }
    return message[...first] + "…" + message[last...]
}

private func hintForOperator(_ state: SQLState) -> String? {
    switch state {
    case .readOnlySQLTransaction:
        "This server does not take writes. After a failover, check that the host name leads to the new primary, or "
            + "name all hosts in the URL with target_session_attrs=read-write."
    case .tooManyConnections: "Raise max_connections, lower the pools' maxConnections, or put a pooler in between."
    case .diskFull: "The server's disk is full."
    case .lockNotAvailable: "Another session held the lock for longer than lock_timeout allows; see pg_locks."
    default: nil
    }
}

/// libpq's messages end with a line feed and may have several lines.
func tidied(_ text: String) -> String {
    text.split(separator: "\n").map { line in
        var line = line
        while line.first == " " || line.first == "\t" { line.removeFirst() }
        return String(line)
    }.joined(separator: " ")
}
