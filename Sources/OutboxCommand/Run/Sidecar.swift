// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Logging
internal import Outbox
internal import OutboxCore
internal import OutboxHTTP
internal import OutboxRelay

#if canImport(Darwin)
internal import Darwin
#else
internal import Glibc
#endif

/// The relay that a configuration describes, as a process of its own.
struct Sidecar {
    let configuration: Configuration
    let logger: Logger

    /// Runs until SIGTERM or SIGINT.
    func run() async throws {
        guard !configuration.deliveries.isEmpty else {
            throw Problem(
                .misconfigured, "there is no endpoint to deliver to",
                hint: "describe endpoints in outbox.yaml (see examples/outbox.yaml), or set OUTBOX_ENDPOINT_URL")
        }
        // whoever reads the log may go away; the relay goes on
        signal(SIGPIPE, SIG_IGN)
        let database = try configuration.database.configuration()
        logger.info(
            "outbox runs",
            metadata: [
                "version": "\(RelayIdentity.version)", "database": "\(database)",
                "schema": "\(configuration.relay.schema)",
                "concurrency": "\(configuration.relay.concurrency)",
            ])
        let transport = HTTPTransport()
        var handlers: [Handler] = []
        for delivery in configuration.deliveries {
            handlers += transport.handlers(
                deliveringTo: delivery.endpoint, kinds: delivery.kinds, otherKinds: delivery.otherKinds,
                retry: delivery.retry)
            let kinds = delivery.kinds + (delivery.otherKinds ? ["*"] : [])
            logger.info(
                "delivers to an endpoint",
                metadata: [
                    "endpoint": "\(delivery.endpoint)",
                    "kinds": "\(kinds.isEmpty ? "those that name it" : kinds.joined(separator: ","))",
                    "max_attempts": "\(delivery.retry.maxAttempts)",
                ])
        }
        let alerts: [any AlertChannel] = configuration.alerts.map { target in
            switch target {
            case .webhook(let endpoint): transport.alertChannel(endpoint)
            case .command(let channel): channel
            }
        }
        let relay = try Relay(
            database: database, handlers: handlers, alerts: alerts, configuration: configuration.relay,
            logger: logger)
        do {
            try await relay.runUntilSignalled()
        } catch {
            await transport.shutDown()
            throw error
        }
        await transport.shutDown()
    }
}
