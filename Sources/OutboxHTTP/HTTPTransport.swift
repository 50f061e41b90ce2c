// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Logging
public import OutboxCore
public import OutboxRelay

/// What HTTP deliveries and webhook alerts share: one thread, its connections, and their keep-alive.
///
///     let transport = HTTPTransport()
///     let partner = try HTTPEndpoint(name: "partner", url: "https://partner.example/hooks")
///     let relay = try Relay(
///         database: database,
///         handlers: transport.handlers(deliveringTo: partner, kinds: ["orders.created"]),
///         alerts: [transport.alertChannel(oncall)]
///     )
public struct HTTPTransport: Sendable {
    private let driver: CurlDriver

    /// Starts nothing yet: the thread comes with the first delivery.
    public init() {
        driver = CurlDriver()
    }

    /// Handlers that deliver tasks of these kinds to an endpoint, and also tasks whose producer named the endpoint.
    ///
    /// - Parameters:
    ///   - otherKinds: Also every kind that has no handler of its own.
    ///   - retry: How often and for how long; a delivery is never acknowledged early.
    public func handlers(
        deliveringTo endpoint: HTTPEndpoint, kinds: [String] = [], otherKinds: Bool = false,
        retry: RetryPolicy = RetryPolicy()
    ) -> [Handler] {
        let delivery = HTTPDelivery(endpoint: endpoint, driver: driver)
        // libcurl keeps the endpoint's own deadline; the relay's is there if libcurl does not
        let policy = KindPolicy(
            retry: retry, timeout: endpoint.timeout * 2 + .seconds(5), runsAloneAfterCrash: false,
            endpoint: endpoint.name
        )
        let scopes = kinds.map { Handler.Scope.kind($0) } + [.endpoint(endpoint.name)] + (otherKinds ? [.others] : [])
        return scopes.map { Handler(scope: $0, policy: policy, body: .direct(delivery)) }
    }

    /// An alert channel that posts to an endpoint; its name is the endpoint's.
    public func alertChannel(_ endpoint: HTTPEndpoint) -> WebhookChannel {
        WebhookChannel(endpoint: endpoint, driver: driver)
    }

    /// Ends the thread and fails what is still under way; for after the relay has stopped.
    public func shutDown() async {
        await driver.shutdown()
    }
}
