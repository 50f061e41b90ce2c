// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// What an HTTP endpoint answered, reduced to what decides about the task.
package struct HTTPAnswer: Hashable, Sendable {
    package var status: Int
    /// How long the receiver asked to wait, as ``RetryAfter`` read it.
    package var retryAfter: Duration?
    /// Where a redirect points to. Redirects are never followed.
    package var location: String?
    /// The first bytes of the body as text, for people.
    package var excerpt: String?

    /// The longest wait that a receiver can ask for: a day. It may ask again at the next attempt.
    package static let longestWait = Duration.seconds(86_400)
    /// How many bytes of a body are kept.
    package static let excerptBytes = 4096

    package init(status: Int, retryAfter: Duration? = nil, location: String? = nil, excerpt: String? = nil) {
        self.status = status
        self.retryAfter = retryAfter
        self.location = location
        self.excerpt = excerpt
    }

    /// The beginning of a body as text that a database can store: invalid UTF-8 is replaced, NUL is left out
    /// (Postgres has no text with a zero byte). `nil` if there is nothing.
    package static func excerpt(of body: some Collection<UInt8>) -> String? {
        let kept = body.prefix(excerptBytes).filter { $0 != 0 }
        return kept.isEmpty ? nil : String(decoding: kept, as: UTF8.self)
    }

    /// What the answer means for the task.
    package var outcome: Outcome {
        switch verdict {
        case .success: .succeeded
        case .permanent: .rejected(failure)
        case .transient(let charged, let wait):
            .retry(failure, after: wait.map { min($0, Self.longestWait) }, charged: charged)
        }
    }

    private enum Verdict {
        case success
        /// No repetition can help.
        case permanent
        /// A repetition may help, after the given wait at the earliest.
        case transient(charged: Bool, after: Duration?)
    }

    /// The table. Only a status decides; the body never does. An unknown status counts as the x00 of its class
    /// (RFC 9110 section 15), and one outside the five classes as a fault of the server.
    private var verdict: Verdict {
        switch status {
        case 200...299: .success

        // A receiver that says when it will be ready again is throttling, not failing: nothing is charged.
        case 429: .transient(charged: false, after: retryAfter)
        case 503: .transient(charged: retryAfter == nil, after: retryAfter)
        // The proxy wants credentials, the network a login: our side's fault, not the receiver's.
        case 407, 511: .transient(charged: false, after: nil)

        // The same key is still being worked on: no correction is needed, only patience.
        // https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-idempotency-key-header#section-2.7
        case 409: .transient(charged: true, after: max(.seconds(1), retryAfter ?? .zero))
        // Too large, unless the receiver says that this is temporary (RFC 9110 section 15.5.14).
        case 413: retryAfter == nil ? .permanent : .transient(charged: true, after: retryAfter)

        // Redirects are never followed; credentials, routes and redirects are healed by a change of configuration.
        case 300...399, 401, 403, 404: .transient(charged: true, after: nil)
        // About the moment or the connection, not about the request.
        case 408, 421, 423, 424, 425: .transient(charged: true, after: retryAfter)

        // 410 says "gone for good"; 422 also that the key is known with another payload; 501 that POST is unknown.
        case 400...499, 501: .permanent
        default: .transient(charged: true, after: retryAfter)
        }
    }

    private var failure: Failure {
        Failure(
            type: (300...399).contains(status) ? "http.redirect" : "http.\(status)",
            message: ["The endpoint answered \(status).", hint].compactMap { $0 }.joined(separator: " "),
            httpStatus: status,
            responseExcerpt: excerpt
        )
    }

    /// What a person should look at, where the status says so.
    private var hint: String? {
        switch status {
        case 300...399:
            "Redirects are not followed; "
                + (location.map { "it points to \(URLText.redacted($0))." } ?? "it names no target.")
                + " Put the final URL into the endpoint's configuration."
        case 401, 403: "Check the endpoint's credentials."
        case 404: "Check the endpoint's URL."
        case 407: "The proxy asks for credentials."
        case 409: "A request with the same idempotency key is in progress."
        case 410: "The receiver has gone for good: remove the endpoint or change its URL."
        case 413: "The payload is too large for the receiver."
        case 422: "The receiver refused the payload, or knows the idempotency key with another payload."
        case 429: "The receiver throttles."
        case 511: "The network asks for a login."
        default: nil
        }
    }
}
