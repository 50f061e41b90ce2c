// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

package import OutboxCore

/// One POST as the driver sends it.
package struct CurlRequest: Sendable {
    package var target: CurlTarget
    package var headers: HeaderBlock
    /// What is posted, byte for byte.
    package var body: [UInt8]
    /// Whether an idle connection must not be used again for this request.
    package var needsFreshConnection = false

    package init(target: CurlTarget, headers: HeaderBlock, body: [UInt8]) {
        self.target = target
        self.headers = headers
        self.body = body
    }
}

/// Where requests go and how: what all requests to one endpoint have in common.
///
/// It is a class because a handle that has served the same target already is told nothing of this again, and identity is
/// the quickest way to know.
package final class CurlTarget: Sendable {
    /// Normalised and checked: this is not looked at again.
    let url: String
    /// For name resolution, connecting and the TLS handshake together.
    let connectTimeout: Duration
    /// For everything together.
    let timeout: Duration
    /// The proxy's URL; `nil` connects directly whatever the environment says.
    let proxy: String?
    /// A file of the only certificate authorities to trust; `nil` trusts the system's.
    let caFile: String?
    /// The version of HTTP to speak.
    let version: HTTPVersion

    package init(
        url: String, connectTimeout: Duration = .seconds(5), timeout: Duration = .seconds(15), proxy: String? = nil,
        caFile: String? = nil, version: HTTPVersion = .http1
    ) {
        self.url = url
        self.connectTimeout = connectTimeout
        self.timeout = timeout
        self.proxy = proxy
        self.caFile = caFile
        self.version = version
    }
}

/// A complete answer, or one whose status and headers are complete and whose body was long enough to stop reading.
package struct CurlResponse: Sendable {
    /// From 100 to 999; servers invent numbers.
    package var status: Int
    /// The `Retry-After` header as it came; not looked for in a success.
    package var retryAfter: String?
    /// The `Location` header as it came; not looked for in a success.
    package var location: String?
    /// The first ``HTTPAnswer/excerptBytes`` of the body.
    package var bodyStart: [UInt8]
    /// Whether the body went beyond the driver's limit, so that the rest was not read and the connection was closed.
    package var isCutOff: Bool
    /// From the start to the last byte, waiting in the driver's queue excluded.
    package var total: Duration
    /// Until the connection stood, name resolution included; zero if an idle connection was used again.
    package var connect: Duration
}

/// Why the driver has no response.
package enum CurlError: Error, Equatable {
    /// `message` is libcurl's own text, `detail` its code and the time that passed.
    case failed(TransportFailure, message: String, detail: String)
    /// The driver was shut down before the transfer finished.
    case shutDown
}
