// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import Outbox
import OutboxCore
import OutboxHTTP
import OutboxRelay
import Testing

@testable import OutboxCommand

/// What the configuration file may say, key by key.
@Suite struct ConfigurationTests {
    private func read(_ text: String, _ environment: [String: String] = [:]) throws -> Configuration {
        try Configuration.read(ConfigurationFile(name: "outbox.yaml", text: text), environment: environment)
    }

    @Test func everyKeyIsRead() throws {
        let configuration = try read(
            """
            database: {url: env:DB, schema: shop_outbox}
            relay:
              name: r1
              concurrency: 8
              lease: 1m
              poll_fastest: 10ms
              poll_slowest: 1s
              sweep_interval: 2s
              stop_grace: 3s
              cancellation_grace: 4s
            endpoints:
              partner:
                url: https://partner.example/hooks
                headers: {authorization: env:TOKEN, x-b: plain}
                timeout: 7s
                connect_timeout: 2s
                proxy: http://proxy:3128
                ca_file: /etc/hosts
                http_version: "2"
                idempotency_key: bare
                retry: {max_attempts: 5, max_age: 2h, max_crashes: 2, base: 3s, factor: 1.5, cap: 10m, jitter: false}
              archive: {url: "http://archive:8080/"}
            routes:
              orders.created: partner
              orders.cancelled: partner
              "*": archive
            alerts:
              group_wait: 1s
              group_interval: 2m
              channels:
                - webhook: {name: oncall, url: env:HOOK, headers: {x-a: b}, timeout: 9s}
                - command: {name: pager, run: [/bin/page, --now], timeout: 5s, environment: {K: env:TOKEN}}
            log: {level: debug, format: json}
            """, ["DB": "postgresql://db/shop", "TOKEN": "secret", "HOOK": "https://hook.example/x"])
        #expect(configuration.database.url == "postgresql://db/shop")
        #expect(configuration.database.schema.name == "shop_outbox")
        let relay = configuration.relay
        #expect(relay.schema.name == "shop_outbox")
        #expect(relay.name == "r1" && relay.concurrency == 8 && relay.lease == .seconds(60))
        #expect(relay.poll == .milliseconds(10) ... .seconds(1) && relay.sweepInterval == .seconds(2))
        #expect(relay.stopGrace == .seconds(3) && relay.cancellationGrace == .seconds(4))
        #expect(relay.groupWait == .seconds(1) && relay.groupInterval == .seconds(120))
        #expect(configuration.deliveries.map(\.endpoint.name) == ["partner", "archive"])
        let partner = configuration.deliveries[0]
        #expect(partner.kinds == ["orders.created", "orders.cancelled"] && !partner.otherKinds)
        #expect(partner.endpoint.headers.map(\.name) == ["authorization", "x-b"])
        #expect(partner.endpoint.headers.map(\.value) == ["secret", "plain"])
        #expect(partner.endpoint.timeout == .seconds(7) && partner.endpoint.connectTimeout == .seconds(2))
        #expect(partner.endpoint.proxy == "http://proxy:3128" && partner.endpoint.caFile == "/etc/hosts")
        #expect(partner.endpoint.httpVersion == .http2 && partner.endpoint.idempotencyKeyStyle == .bare)
        #expect(
            partner.retry.maxAttempts == 5 && partner.retry.maxAge == .seconds(7200)
                && partner.retry.maxCrashes == 2)
        #expect(
            partner.retry.backoff == Backoff(base: .seconds(3), factor: 1.5, cap: .seconds(600), jitter: false))
        #expect(configuration.deliveries[1].otherKinds && configuration.deliveries[1].kinds.isEmpty)
        #expect(configuration.alerts.map(\.name) == ["oncall", "pager"])
        if case .webhook(let endpoint) = configuration.alerts[0] {
            #expect(endpoint.url == "https://hook.example/x" && endpoint.timeout == .seconds(9))
        }
        if case .command(let channel) = configuration.alerts[1] {
            #expect(channel.command == ["/bin/page", "--now"] && channel.environment == ["K": "secret"])
        }
        #expect(configuration.logLevel == .debug && configuration.logFormat == .json)
    }

    @Test func withoutAFileEverythingHasItsDefault() throws {
        let configuration = try read("")
        let usual = RelayConfiguration()
        #expect(configuration.database == DatabaseSettings())
        #expect(configuration.relay.lease == usual.lease && configuration.relay.poll == usual.poll)
        #expect(
            configuration.relay.groupWait == usual.groupWait && configuration.relay.stopGrace == usual.stopGrace)
        #expect(configuration.deliveries.isEmpty && configuration.alerts.isEmpty)
        #expect(try read("# nothing\n").deliveries.isEmpty)
        #expect(try read("alerts:\nroutes:\n").alerts.isEmpty)
    }

    @Test func defaultsOfAnEndpointAreTheLibrarys() throws {
        let delivery = try read("endpoints: {a: {url: http://x/}}").deliveries[0]
        #expect(delivery.retry == RetryPolicy())
        #expect(delivery.endpoint.timeout == .seconds(15) && delivery.endpoint.connectTimeout == .seconds(5))
    }

    @Test func aVariableGoesBeforeTheFile() throws {
        let configuration = try read(
            """
            relay: {lease: 10s}
            endpoints: {my-partner.eu: {url: http://file/, headers: {x-key: a}, retry: {max_attempts: 3}}}
            routes: {a.b: nobody}
            alerts: {channels: [webhook: {name: on-call, url: http://file/}]}
            """,
            [
                "OUTBOX_RELAY_LEASE": "20s", "OUTBOX_RELAY_CONCURRENCY": "7", "OUTBOX_DATABASE_SCHEMA": "s",
                "OUTBOX_DATABASE_URL": "file:/nonexistent-is-not-read-because-the-next-one-is-a-test",
                "OUTBOX_LOG_LEVEL": "",
                "OUTBOX_ENDPOINTS_MY_PARTNER_EU_URL": "env:URL", "URL": "http://variable/",
                "OUTBOX_ENDPOINTS_MY_PARTNER_EU_HEADERS_X_KEY": "b",
                "OUTBOX_ENDPOINTS_MY_PARTNER_EU_RETRY_MAX_ATTEMPTS": "9",
                "OUTBOX_ENDPOINTS_MY_PARTNER_EU_TIMEOUT": "3s", "OUTBOX_ROUTES_A_B": "my-partner.eu",
                "OUTBOX_ALERTS_CHANNELS_ON_CALL_URL": "http://variable/", "OUTBOX_ALERTS_GROUP_WAIT": "0s",
            ].merging(["OUTBOX_DATABASE_URL": "host=x"]) { _, last in last })
        #expect(configuration.database.url == "host=x" && configuration.database.schema.name == "s")
        #expect(configuration.relay.lease == .seconds(20) && configuration.relay.concurrency == 7)
        let delivery = configuration.deliveries[0]
        #expect(delivery.endpoint.url == "http://variable/" && delivery.endpoint.headers[0].value == "b")
        #expect(
            delivery.endpoint.timeout == .seconds(3) && delivery.retry.maxAttempts == 9
                && delivery.kinds == ["a.b"])
        if case .webhook(let endpoint) = configuration.alerts[0] { #expect(endpoint.url == "http://variable/") }
        #expect(configuration.relay.groupWait == .zero && configuration.logLevel == .info)
    }

    @Test func oneEndpointNeedsNoFile() throws {
        let configuration = try read("", ["OUTBOX_ENDPOINT_URL": "http://localhost:8080/hooks"])
        #expect(configuration.deliveries.count == 1)
        #expect(configuration.deliveries[0].endpoint.name == "default" && configuration.deliveries[0].otherKinds)
    }

    @Test func secretsMayStandInFiles() async throws {
        try await withDirectory { directory in
            let file = directory.appendingPathComponent("token")
            try Data("s3cret\n".utf8).write(to: file)
            let configuration = try read(
                "endpoints: {a: {url: http://x/, headers: {authorization: \"file:\(file.path)\"}}}")
            #expect(configuration.deliveries[0].endpoint.headers[0].value == "s3cret")
        }
    }

    @Test func aCommandThatOnlyLooksNeedsNoSecretOfEndpoints() throws {
        let file = ConfigurationFile(
            name: "f", text: "database: {url: host=x}\nendpoints: {a: {url: env:MISSING}}\nfuture: {}\n")
        #expect(try Configuration.readDatabase(file, environment: [:]).url == "host=x")
        #expect(throws: ConfigurationProblems.self) { try Configuration.read(file, environment: [:]) }
    }

    @Test func theExampleIsWholeAndRight() throws {
        let url = URL(fileURLWithPath: #filePath).appendingPathComponent("../../../examples/outbox.yaml")
            .standardized
        let text = try String(contentsOf: url, encoding: .utf8)
        let secrets = [
            "DATABASE_URL": "postgresql://db/shop", "PARTNER_TOKEN": "a", "ONCALL_URL": "https://x/",
            "ONCALL_TOKEN": "b",
        ]
        let configuration = try read(text, secrets)
        #expect(configuration.deliveries.count == 2 && configuration.alerts.count == 2)
        // it says of each key what its default is
        #expect(configuration.deliveries[0].retry == RetryPolicy())
        #expect(configuration.relay.lease == RelayConfiguration().lease)
        #expect(configuration.relay.sweepInterval == RelayConfiguration().sweepInterval)
        let keys = [
            "url", "schema", "name", "concurrency", "lease", "poll_fastest", "poll_slowest", "sweep_interval",
            "stop_grace",
            "cancellation_grace", "headers", "timeout", "connect_timeout", "proxy", "ca_file", "http_version",
            "idempotency_key", "max_attempts", "max_age", "max_crashes", "base", "factor", "cap", "jitter",
            "group_wait",
            "group_interval", "webhook", "command", "run", "environment", "level", "format",
        ]
        for key in keys { #expect(text.contains(key + ":"), "the example does not show \(key)") }
    }
}
