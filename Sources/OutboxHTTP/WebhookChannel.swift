// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import OutboxCore
public import OutboxRelay

/// Sends alerts as JSON to an HTTP endpoint.
///
/// The body is ``Alert/json()``. The `Idempotency-Key` is made of the incident's key and its count, so that a
/// repeated delivery of one alert can be told from the next alert of the same incident.
public struct WebhookChannel: AlertChannel {
    /// Where the alerts go.
    public let endpoint: HTTPEndpoint
    private let driver: CurlDriver

    package init(endpoint: HTTPEndpoint, driver: CurlDriver) {
        self.endpoint = endpoint
        self.driver = driver
    }

    /// The endpoint's name.
    public var name: String { endpoint.name }

    /// Posts the alert. Only a 2xx status is success; everything else throws ``AlertError``.
    public func send(_ alert: Alert) async throws {
        let response: CurlResponse
        do {
            response = try await driver.perform(
                endpoint.request(
                    body: alert.json(), contentType: "application/json",
                    idempotencyKey: "\(alert.dedupKey)-\(alert.count)"))
        } catch let error as InvalidRequest {
            throw AlertError(.notSent, channel: name, message: error.message)
        } catch CurlError.failed(_, let message, _) {
            throw AlertError(.notSent, channel: name, message: message)
        } catch CurlError.shutDown {
            throw AlertError(.notSent, channel: name, message: "The HTTP driver is shut down.")
        }
        guard (200...299).contains(response.status) else {
            let excerpt = HTTPAnswer.excerpt(of: response.bodyStart).map { ": \($0)" } ?? ""
            throw AlertError(.refused, channel: name, message: "The receiver answered \(response.status)\(excerpt)")
        }
    }
}
