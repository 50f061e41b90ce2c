// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// What is wrong with an endpoint's configuration, and what to write instead.
public struct HTTPEndpointError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Which part is wrong. More may come.
    public struct Code: Hashable, Sendable {
        private enum Value { case name, url, header, timeout, proxy, caFile }
        private let value: Value

        public static let invalidName = Code(value: .name)
        public static let invalidURL = Code(value: .url)
        public static let invalidHeader = Code(value: .header)
        public static let invalidTimeout = Code(value: .timeout)
        public static let invalidProxy = Code(value: .proxy)
        public static let unreadableCAFile = Code(value: .caFile)
    }

    public let code: Code
    /// The endpoint's name; empty if it has none.
    public let endpoint: String
    /// What is wrong and what to do about it, without the URL's query and without header values.
    public let message: String

    init(_ code: Code, endpoint: String, message: String) {
        self.code = code
        self.endpoint = endpoint
        self.message = message
    }

    public var description: String {
        endpoint.isEmpty ? message : "Endpoint \(endpoint): \(message)"
    }

    static let invalidName = HTTPEndpointError(
        .invalidName, endpoint: "", message: "An endpoint has no name: give it one that incidents can show.")

    static func invalidTimeout(endpoint: String) -> HTTPEndpointError {
        HTTPEndpointError(.invalidTimeout, endpoint: endpoint, message: "Timeouts must be longer than zero.")
    }

    static func unreadableCAFile(_ path: String, endpoint: String) -> HTTPEndpointError {
        HTTPEndpointError(
            .unreadableCAFile, endpoint: endpoint,
            message: "The file of certificate authorities \(path) cannot be read: check the path and its permissions.")
    }
}
