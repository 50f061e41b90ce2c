// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import CLibCurl

/// The version of HTTP that an endpoint is spoken to with.
public enum HTTPVersion: String, Sendable, CaseIterable {
    /// HTTP/1.1, with connections kept open between requests.
    case http1 = "1.1"
    /// HTTP/2 where the server offers it over TLS, else HTTP/1.1. Without TLS it is HTTP/1.1.
    case http2 = "2"

    var curlValue: Int {
        switch self {
        case .http1: Int(CURL_HTTP_VERSION_1_1)
        case .http2: Int(CURL_HTTP_VERSION_2TLS)
        }
    }
}
