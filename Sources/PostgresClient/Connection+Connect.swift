// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import CLibPQ

extension Connection {
    /// Connects to the first address that lets us in.
    ///
    /// libpq would try several hosts by itself, but with one deadline for all, blocking in the resolver. So names are
    /// resolved on a thread of their own and libpq gets one numeric address at a time, each with its own deadline.
    ///
    /// - Parameter poller: What the connection waits with, from now on.
    /// - Throws: ``PostgresError/Code/connectionFailed`` with what every address answered;
    ///   ``PostgresError/Code/cancelled``.
    package static func connect(
        _ configuration: DatabaseConfiguration, poller: Poller = .shared
    ) async throws(PostgresError) -> Connection {
        let hosts = try ServerHost.list(configuration)
        var failures: [PostgresError] = []
        for attributes in sessionAttributePasses(configuration) {
            for host in hosts {
                let addresses: [ServerAddress]
                do {
                    addresses = try await resolve(host, configuration, poller)
                } catch {
                    if error.code == .cancelled { throw error }
                    failures.append(error)
                    continue
                }
                for address in addresses {
                    do {
                        return try await connect(to: address, configuration, attributes, poller)
                    } catch {
                        if error.code == .cancelled { throw error }
                        failures.append(error)
                        // As libpq does: who is refused at one host's door need not knock at the next.
                        if error.sqlState?.classCode == "28" { throw summary(of: failures) }
                    }
                }
            }
        }
        throw summary(of: failures)
    }

    /// `prefer-standby` is the only value for which the list of hosts is gone through twice.
    private static func sessionAttributePasses(_ configuration: DatabaseConfiguration) -> [String?] {
        let wanted = configuration.parameters["target_session_attrs"]
        return wanted == "prefer-standby" ? ["standby", "any"] : [wanted]
    }

    private static func resolve(
        _ host: ServerHost, _ configuration: DatabaseConfiguration, _ poller: Poller
    ) async throws(PostgresError) -> [ServerAddress] {
        guard host.needsResolution else {
            return [ServerAddress(host: host.host, numeric: host.numeric, port: host.port)]
        }
        let name = host.host ?? ""
        switch await callOffThread(until: .now + configuration.connectTimeout, poller: poller, { host.resolve() }) {
        case .finished(let result): return try result.get()
        case .cancelled: throw PostgresError(.cancelled, "The task was cancelled while it connected.")
        case .timedOut:
            throw PostgresError(.connectionFailed, "The host name \(name) was not resolved in time.")
        case .notStarted(let failure):
            throw PostgresError(.connectionFailed, "The host name \(name) cannot be resolved: \(failure).")
        }
    }

    private static func connect(
        to address: ServerAddress, _ configuration: DatabaseConfiguration, _ sessionAttributes: String?,
        _ poller: Poller
    ) async throws(PostgresError) -> Connection {
        let deadline = ContinuousClock.now + configuration.connectTimeout
        let parameters = parameters(for: address, configuration, sessionAttributes)
        guard let handle = start(parameters) else {
            throw PostgresError(.connectionFailed, "There is not enough memory to connect.")
        }
        // https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PQCONNECTSTARTPARAMS
        var status = handle.isBroken ? PGRES_POLLING_FAILED : PGRES_POLLING_WRITING
        while status != PGRES_POLLING_OK {
            guard status == PGRES_POLLING_READING || status == PGRES_POLLING_WRITING else {
                throw PostgresError(connectionFailed: String(cString: PQerrorMessage(handle.pointer)), at: address)
            }
            let events: Poller.Events = status == PGRES_POLLING_READING ? .read : .write
            switch await poller.wait(for: handle.descriptor, events, until: deadline) {
            case .ready: status = PQconnectPoll(handle.pointer)
            case .cancelled: throw PostgresError(.cancelled, "The task was cancelled while it connected.")
            case .timedOut: throw PostgresError(.connectionFailed, "\(address.name) did not answer in time.")
            case .failed(let failure): throw PostgresError(.connectionFailed, "\(address.name): \(failure).")
            }
        }
        PQsetErrorVerbosity(handle.pointer, PQERRORS_DEFAULT)
        guard PQsetnonblocking(handle.pointer, 1) == 0, handle.setPipelineMode(true) else {
            throw PostgresError(connectionFailed: String(cString: PQerrorMessage(handle.pointer)), at: address)
        }
        return Connection(adopting: handle, poller: poller)
    }

    private static func start(_ parameters: [String: String]) -> Handle? {
        let pointer = withCStrings(Array(parameters.keys)) { keywords in
            withCStrings(Array(parameters.values)) { values in PQconnectStartParams(keywords, values, 0) }
        }
        guard let pointer else { return nil }
        // libpq keeps the SQLSTATE of a failed attempt to itself, but this makes it part of the message.
        PQsetErrorVerbosity(pointer, PQERRORS_VERBOSE)
        return Handle(adopting: pointer)
    }

    /// What libpq is given: the URL's parameters, one address, and defaults for what the URL leaves open.
    static func parameters(
        for address: ServerAddress, _ configuration: DatabaseConfiguration, _ sessionAttributes: String?
    ) -> [String: String] {
        // A peer that vanished without a word is noticed within a minute when idle, and in 15 seconds when data
        // is on its way to it; the kernel's own limits are two hours and a quarter of an hour.
        var parameters = [
            "keepalives": "1", "keepalives_idle": "30", "keepalives_interval": "5", "keepalives_count": "4",
            "tcp_user_timeout": "15000", "application_name": configuration.applicationName,
        ]
        parameters.merge(configuration.parameters) { _, given in given }
        parameters["client_encoding"] = "UTF8"
        parameters["host"] = address.host
        parameters["hostaddr"] = address.numeric
        parameters["port"] = address.port
        parameters["target_session_attrs"] = sessionAttributes
        return parameters
    }

    private static func summary(of failures: [PostgresError]) -> PostgresError {
        // The state that says most: a server that answered knows better than an address that did not.
        let telling = failures.last { $0.sqlState != nil } ?? failures.last
        var messages: [String] = []
        for failure in failures where !messages.contains(failure.message) { messages.append(failure.message) }
        return PostgresError(
            .connectionFailed, messages.joined(separator: " "), hint: telling?.hint, sqlState: telling?.sqlState,
            underlying: failures.count == 1 ? nil : failures.first
        )
    }
}

extension PostgresError {
    /// An attempt to connect failed; `text` is libpq's verbose message, such as
    /// `connection to server at "::1", port 5432 failed: FATAL:  53300: sorry, too many clients already`.
    init(connectionFailed text: String, at address: ServerAddress) {
        let lines = text.split(separator: "\n").filter { !$0.hasPrefix("LOCATION:") }
        var message = tidied(lines.joined(separator: "\n"))
        // libpq was given a number and knows no better name.
        if let host = address.host, let numeric = address.numeric, host != numeric { message = "\(host): \(message)" }
        // The severity is translated by the server, its form is not: colon, two spaces, five characters, colon.
        guard let match = message.firstMatch(of: #/:  ([0-9A-Z]{5}): /#) else {
            let hint = message.contains("session is read-only") ? Self.standbyHint : nil
            self.init(.connectionFailed, message, hint: hint)
            return
        }
        let state = SQLState(rawValue: String(match.1))
        let hint: String? =
            switch state {
            case .invalidPassword: "Check the user and the password in the URL, PGPASSWORD or ~/.pgpass."
            case .invalidCatalogName: "Create the database, or correct its name in the URL."
            case .tooManyConnections: "Raise max_connections, lower the pools' maxConnections, or use a pooler."
            default: nil
            }
        let readable = message.replacing(match.0, with: ": ", maxReplacements: 1)
        self.init(.connectionFailed, readable, hint: hint, sqlState: state)
    }

    private static let standbyHint = "Only standbys answered: is a failover under way?"
}

/// Lends strings as the NULL-terminated array of C strings that libpq takes.
private func withCStrings<R>(_ strings: [String], _ body: (UnsafePointer<UnsafePointer<CChar>?>) -> R) -> R {
    var buffer: [CChar] = []
    let offsets = strings.map { string in
        defer { buffer.append(contentsOf: string.utf8CString) }
        return buffer.count
    }
    return buffer.withUnsafeBufferPointer { buffer in
        let pointers: [UnsafePointer<CChar>?] = offsets.map { buffer.baseAddress?.advanced(by: $0) } + [nil]
        return pointers.withUnsafeBufferPointer { pointers in
            guard let base = pointers.baseAddress else { preconditionFailure("the array has an element") }
            return body(base)
        }
    }
}
