// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import OrderTasks
import Outbox
import OutboxHTTP
import OutboxRelay
import Stage

/// Runs the tasks that the orders service enqueues: charges by a handler, webhooks by an HTTP endpoint.
@main
struct OrdersRelay {
    static func main() async throws {
        Stage.exitWhenStandardInputEnds()
        let gateway = PaymentGateway(url: try Stage.url("GATEWAY_URL"))
        let partner = try HTTPEndpoint(name: "partner", url: Stage.variable("PARTNER_URL"), timeout: .seconds(2))
        let oncall = try HTTPEndpoint(name: "oncall", url: Stage.variable("ALERTS_URL"))
        let transport = HTTPTransport()

        let charging = Handler(ChargeCard.self, policy: HandlerPolicy(retry: Self.retry, timeout: .seconds(10))) {
            task, context in
            try await gateway.charge(task, idempotencyKey: context.idempotencyKey)
        }
        let relay = try Relay(
            database: DatabaseConfiguration(url: Stage.variable("OUTBOX_DATABASE_URL")),
            handlers: [charging]
                + transport.handlers(deliveringTo: partner, kinds: [OrderCreated.kind], retry: Self.retry),
            alerts: [transport.alertChannel(oncall)],
            configuration: Self.configuration
        )
        try await relay.runUntilSignalled()
        await transport.shutDown()
    }

    /// Impatient, so that the demonstration is short. In production, leave all of this out: a lease is then 30 seconds,
    /// alerts are grouped for 30 seconds and repeated after 5 minutes at the earliest, and a first retry waits a second.
    private static let configuration = RelayConfiguration(
        concurrency: 16, lease: .seconds(2), sweepInterval: .milliseconds(500), groupWait: .seconds(3),
        groupInterval: .seconds(60))
    private static let retry = RetryPolicy(backoff: Backoff(base: .milliseconds(250), cap: .seconds(2)))
}
