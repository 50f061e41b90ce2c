// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// Why a request got no complete answer.
///
/// The raw value is the failure's stable type, by which incidents are grouped.
package enum TransportFailure: String, CaseIterable, Sendable {
    /// The host's name has no address.
    case dns
    /// The name servers did not answer in time.
    case dnsTimeout = "dns_timeout"
    /// Nobody listens, the network has no route, or connecting took too long.
    case connect
    /// No secure connection: the certificate did not verify, or the handshake failed.
    case tls
    /// The request was sent, or being sent, and the whole took too long. Whether it took effect is unknown.
    case timeout
    /// The connection broke before the answer was complete. Whether the request took effect is unknown.
    case reset
    /// What came back was not HTTP, or not within sane bounds.
    case malformedAnswer = "malformed_answer"
    /// The configured proxy is the one that failed.
    case proxy
    /// This process lacks something: memory, descriptors.
    case local
    /// The request itself cannot be sent: an invalid header, key or URL.
    case invalidRequest = "invalid_request"
    /// Anything else.
    case transport

    /// Whether the receiver is to blame, so that the attempt uses up the retry budget.
    ///
    /// Name servers, the proxy and this process are on our side.
    package var isCharged: Bool {
        switch self {
        case .dns, .connect, .tls, .timeout, .reset, .malformedAnswer, .invalidRequest, .transport: true
        case .dnsTimeout, .proxy, .local: false
        }
    }

    /// What the failure means for the task. Nothing is rejected for the network's sake, since no failure of it proves
    /// that a later attempt will fail; only an invalid request is.
    package func outcome(message: String, detail: String? = nil) -> Outcome {
        let failure = Failure(type: rawValue, message: message, detail: detail)
        return self == .invalidRequest ? .rejected(failure) : .retry(failure, charged: isCharged)
    }
}
