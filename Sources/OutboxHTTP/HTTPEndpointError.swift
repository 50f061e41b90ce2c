// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// What is wrong with an endpoint's configuration, and what to write instead.
public struct HTTPEndpointError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Which part is wrong. More may come.
    public struct Code: Hashable, Sendable {
        private enum Value { case name, url, header, timeout, proxy, caFile }
        private let value: Value

        /// The endpoint has no name.
        public static let invalidName = Code(value: .name)
        /// The URL is no URL, or not one of the kind that is dialled.
        public static let invalidURL = Code(value: .url)
        /// A header is malformed, reserved or given twice, or all of them are too long.
        public static let invalidHeader = Code(value: .header)
        /// A timeout is not longer than zero.
        public static let invalidTimeout = Code(value: .timeout)
        /// The proxy is no URL, or none of a kind that can be a proxy.
        public static let invalidProxy = Code(value: .proxy)
        /// The file of certificate authorities cannot be read.
        public static let unreadableCAFile = Code(value: .caFile)
    }

    /// Which part is wrong.
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

    /// The message after the endpoint's name.
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
