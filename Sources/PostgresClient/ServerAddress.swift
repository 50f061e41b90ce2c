// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import CLibPQ

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// One address to try: a socket directory, or one of the addresses of a host.
struct ServerAddress: Sendable, Hashable {
    /// The host as configured; `nil` leaves it to libpq's default.
    var host: String?
    /// The numeric address; libpq then resolves nothing and still checks a certificate against `host`.
    var numeric: String?
    var port: String?

    /// For error messages.
    var name: String {
        [host ?? "the default socket", numeric.map { $0 == host ? "" : "(\($0))" } ?? ""]
            .filter { !$0.isEmpty }.joined(separator: " ")
    }
}

/// A host of the configuration before its name is resolved.
struct ServerHost: Sendable, Hashable {
    var host: String?
    var numeric: String?
    var port: String?

    var needsResolution: Bool {
        guard numeric == nil, let host, !host.isEmpty else { return false }
        return !host.hasPrefix("/") && !host.hasPrefix("@")
    }

    /// The hosts in the order in which they are to be tried: libpq's comma-separated lists, taken apart.
    ///
    /// https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-MULTIPLE-HOSTS
    static func list(_ configuration: DatabaseConfiguration) throws(PostgresError) -> [ServerHost] {
        let defaults = connectionDefaults()
        func items(_ keyword: String) -> [String?] {
            guard let text = configuration.parameters[keyword] ?? defaults[keyword] else { return [] }
            return text.split(separator: ",", omittingEmptySubsequences: false).map { $0.isEmpty ? nil : String($0) }
        }
        let hosts = items("host")
        let addresses = items("hostaddr")
        let ports = items("port")
        let count = max(hosts.count, addresses.count, 1)
        guard hosts.isEmpty || addresses.isEmpty || hosts.count == addresses.count else {
            throw PostgresError(.invalidConfiguration, "host and hostaddr name different numbers of hosts.")
        }
        guard ports.count <= 1 || ports.count == count else {
            throw PostgresError(.invalidConfiguration, "There are \(ports.count) ports for \(count) hosts.")
        }
        return (0..<count).map { index in
            ServerHost(
                host: index < hosts.count ? hosts[index] : nil,
                numeric: index < addresses.count ? addresses[index] : nil,
                port: ports.count == 1 ? ports[0] : index < ports.count ? ports[index] : nil
            )
        }
    }

    /// The addresses behind the host, in the resolver's order. Blocks: for a throw-away thread.
    func resolve() -> Result<[ServerAddress], PostgresError> {
        guard needsResolution, let host else {
            return .success([ServerAddress(host: host, numeric: numeric, port: port)])
        }
        var hints = addrinfo()
        #if canImport(Glibc)
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        #else
        hints.ai_socktype = SOCK_STREAM
        #endif
        var list: UnsafeMutablePointer<addrinfo>?
        let problem = getaddrinfo(host, nil, &hints, &list)
        guard problem == 0 else {
            let reason = gai_strerror(problem).map { String(cString: $0) } ?? "error \(problem)"
            return .failure(PostgresError(.connectionFailed, "The host name \(host) cannot be resolved: \(reason)."))
        }
        defer { freeaddrinfo(list) }
        var addresses: [ServerAddress] = []
        var next = list
        while let entry = next {
            var text = [CChar](repeating: 0, count: 1025)
            if getnameinfo(
                entry.pointee.ai_addr, entry.pointee.ai_addrlen, &text, socklen_t(text.count), nil, 0, NI_NUMERICHOST
            ) == 0 {
                let numeric = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
                let address = ServerAddress(host: host, numeric: numeric, port: port)
                if !addresses.contains(address) { addresses.append(address) }
            }
            next = entry.pointee.ai_next
        }
        return .success(addresses)
    }
}

/// What the environment and the service file say, by keyword.
private func connectionDefaults() -> [String: String] {
    guard let options = PQconndefaults() else { return [:] }
    defer { PQconninfoFree(options) }
    var defaults: [String: String] = [:]
    var option = options
    while let keyword = option.pointee.keyword {
        if let value = option.pointee.val { defaults[String(cString: keyword)] = String(cString: value) }
        option += 1
    }
    return defaults
}
