// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import OutboxCore

/// Where deliveries of some kinds go: a URL, and how to talk to it.
///
/// Every request is a `POST` of the task's bytes. Redirects are never followed, certificates are always verified, TLS
/// is 1.2 at least, and no environment variable (`http_proxy` and its kin, `~/.netrc`) has a say.
public struct HTTPEndpoint: Sendable {
    /// How the `Idempotency-Key` header is written.
    public enum IdempotencyKeyStyle: String, Sendable, CaseIterable {
        /// As a structured-field string, in double quotes: what the header's specification asks for.
        /// <https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-idempotency-key-header#section-2.1>
        case quoted
        /// As it is, for receivers that insist on, say, a bare UUID.
        case bare
    }

    /// The name by which the configuration, incidents and people know the endpoint.
    public let name: String
    /// The URL as libcurl normalised it when it was checked. Its query may be a secret; descriptions leave it out.
    public let url: String
    /// Headers for every request, in order. They win over headers of the same name that a task brings.
    public let headers: [(name: String, value: String)]
    /// How long name resolution, connecting and the TLS handshake may take together. 5 seconds by default.
    public let connectTimeout: Duration
    /// How long the whole may take, from the start to the last byte of the answer. 15 seconds by default.
    public let timeout: Duration
    /// The URL of a proxy; `nil`, the default, connects directly.
    public let proxy: String?
    /// A PEM file of the only certificate authorities to trust; `nil`, the default, trusts the system's.
    public let caFile: String?
    /// The version of HTTP, 1.1 by default.
    public let httpVersion: HTTPVersion
    /// How the `Idempotency-Key` header is written, quoted by default.
    public let idempotencyKeyStyle: IdempotencyKeyStyle
    /// The parts of every request that never change, in the form in which the driver wants them.
    let target: CurlTarget
    let headerBlock: HeaderBlock

    /// Checks everything that can be checked without dialling; throws ``HTTPEndpointError`` with what to change.
    public init(
        name: String, url: String, headers: [(name: String, value: String)] = [],
        connectTimeout: Duration = .seconds(5), timeout: Duration = .seconds(15), proxy: String? = nil,
        caFile: String? = nil, httpVersion: HTTPVersion = .http1, idempotencyKeyStyle: IdempotencyKeyStyle = .quoted
    ) throws(HTTPEndpointError) {
        guard !name.isEmpty else { throw .invalidName }
        self.name = name
        self.url = try EndpointURL.checked(url, endpoint: name)
        if let problem = HeaderRules.problem(in: headers) {
            throw HTTPEndpointError(.invalidHeader, endpoint: name, message: problem)
        }
        self.headers = headers
        guard connectTimeout > .zero, timeout > .zero else { throw .invalidTimeout(endpoint: name) }
        self.connectTimeout = connectTimeout
        self.timeout = timeout
        self.proxy = if let proxy { try EndpointURL.checkedProxy(proxy, endpoint: name) } else { nil }
        if let caFile, !EndpointURL.isReadable(caFile) { throw .unreadableCAFile(caFile, endpoint: name) }
        self.caFile = caFile
        self.httpVersion = httpVersion
        self.idempotencyKeyStyle = idempotencyKeyStyle
        target = CurlTarget(
            url: self.url, connectTimeout: connectTimeout, timeout: timeout, proxy: self.proxy, caFile: caFile,
            version: httpVersion)
        headerBlock = headers.reduce(into: HeaderBlock()) { $0.add($1.name, $1.value) }
    }
}

extension HTTPEndpoint: CustomStringConvertible, CustomDebugStringConvertible {
    /// The name and the URL without its query. Never a header, which may be a credential.
    public var description: String { "\(name) (\(URLText.redacted(url)))" }
    /// The same as ``description``.
    public var debugDescription: String { description }
}
