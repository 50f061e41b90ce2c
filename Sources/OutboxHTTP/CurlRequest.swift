// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

package import OutboxCore

/// One POST as the driver sends it.
package struct CurlRequest: Sendable {
    /// Normalised and checked: this is not looked at again.
    package var url: String
    /// Complete lines in libcurl's form: `Name: value`, `Name;` for an empty value, `Name:` to leave a default out.
    package var headerLines: [String]
    /// What is posted, byte for byte.
    package var body: [UInt8]
    /// For name resolution, connecting and the TLS handshake together.
    package var connectTimeout: Duration
    /// For everything together.
    package var timeout: Duration
    /// The proxy's URL; `nil` connects directly whatever the environment says.
    package var proxy: String?
    /// A file of the only certificate authorities to trust; `nil` trusts the system's.
    package var caFile: String?
    /// The version of HTTP to speak.
    package var version = HTTPVersion.http1
    /// Whether an idle connection must not be used again for this request.
    package var needsFreshConnection = false

    package init(
        url: String, headerLines: [String], body: [UInt8], connectTimeout: Duration = .seconds(5),
        timeout: Duration = .seconds(15), proxy: String? = nil, caFile: String? = nil
    ) {
        self.url = url
        self.headerLines = headerLines
        self.body = body
        self.connectTimeout = connectTimeout
        self.timeout = timeout
        self.proxy = proxy
        self.caFile = caFile
    }

    /// A header as a line for libcurl, which takes `Name:` without a value as "leave this header out".
    package static func headerLine(_ name: String, _ value: String) -> String {
        value.isEmpty ? "\(name);" : "\(name): \(value)"
    }
}

/// A complete answer, or one whose status and headers are complete and whose body was long enough to stop reading.
package struct CurlResponse: Sendable {
    /// From 100 to 999; servers invent numbers.
    package var status: Int
    /// The `Retry-After` header as it came.
    package var retryAfter: String?
    /// The `Location` header as it came.
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
