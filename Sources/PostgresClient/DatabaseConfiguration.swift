// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import CLibPQ

/// Where the database is, how to log in, and how long to wait for it.
public struct DatabaseConfiguration: Sendable {
    /// The most connections that a ``Database`` opens.
    public var maxConnections = 8
    /// How long to try one address of one host before the next is tried. A `connect_timeout` in the URL sets it.
    public var connectTimeout: Duration = .seconds(5)
    /// How long one call may take on the server before it is cancelled there.
    public var callTimeout: Duration = .seconds(30)
    /// How long a call waits for a connection of the pool to become free.
    public var acquireTimeout: Duration = .seconds(10)
    /// What `pg_stat_activity` shows. A name in the URL takes precedence.
    public var applicationName = "outbox"

    /// libpq's parameters by keyword, as the URL gave them.
    package var parameters: [String: String]

    /// Reads a URL (`postgresql://user@host:5432/database?sslmode=verify-full`) or a libpq string
    /// (`host=… dbname=…`).
    ///
    /// Several hosts are tried in the order in which they are named; `target_session_attrs=read-write` skips the
    /// standbys among them. What is left out comes from libpq's environment variables, such as `PGPASSWORD`, and its
    /// password file.
    ///
    /// - Throws: ``PostgresError/Code/invalidConfiguration``.
    public init(url: String) throws(PostgresError) {
        guard !url.utf8.contains(0) else {
            throw PostgresError(.invalidConfiguration, "The connection string contains a NUL character.")
        }
        // PQconninfoParse takes a lone word for a keyword; only `PQconnectdb` takes it for a database's name.
        var problem: UnsafeMutablePointer<CChar>?
        guard let options = PQconninfoParse(url, &problem) else {
            let text = problem.map { String(cString: $0) } ?? "out of memory"
            PQfreemem(problem)
            throw PostgresError(
                .invalidConfiguration, Self.message(for: text),
                hint: "Write postgresql://user:password@host:5432/database or host=… dbname=…; in a URL, "
                    + "percent-encode special characters of the password.",
                detail: tidied(text)
            )
        }
        defer { PQconninfoFree(options) }
        parameters = [:]
        var option = options
        while let keyword = option.pointee.keyword {
            if let value = option.pointee.val { parameters[String(cString: keyword)] = String(cString: value) }
            option += 1
        }
        if let text = parameters.removeValue(forKey: "connect_timeout") {
            guard let seconds = Int(text) else {
                throw PostgresError(.invalidConfiguration, "connect_timeout is not a number of seconds.")
            }
            // libpq's own rule: 0 and negative mean no limit, 1 is taken for 2.
            connectTimeout = seconds > 0 ? .seconds(max(seconds, 2)) : .seconds(86_400)
        }
    }

    /// libpq's messages about option names are safe; those about syntax quote the string, which may hold a password.
    private static func message(for text: String) -> String {
        for safe in ["invalid connection option \"", "invalid URI query parameter: \""] where text.hasPrefix(safe) {
            return "The connection string cannot be used: \(tidied(text))."
        }
        return "The connection string cannot be parsed."
    }

    /// The same server, another database.
    package func with(database: String) -> DatabaseConfiguration {
        var copy = self
        copy.parameters["dbname"] = database
        return copy
    }
}

extension DatabaseConfiguration: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// User, hosts and database; never the password, nor any parameter that may hold one.
    public var description: String {
        let user = parameters["user"].map { "\($0)@" } ?? ""
        func items(_ list: String?) -> [Substring] {
            (list ?? "").split(separator: ",", omittingEmptySubsequences: false)
        }
        let hosts = items(parameters["host"] ?? parameters["hostaddr"])
        let ports = items(parameters["port"])
        let places = hosts.enumerated().map { index, host in
            let port = ports.count == 1 ? ports[0] : index < ports.count ? ports[index] : ""
            return port.isEmpty ? String(host) : "\(host):\(port)"
        }
        return "postgresql://\(user)\(places.joined(separator: ","))/\(parameters["dbname"] ?? "")"
    }

    public var debugDescription: String { description }

    /// Empty, so that `dump` and debuggers do not show the password either.
    public var customMirror: Mirror { Mirror(self, children: ["url": description]) }
}
