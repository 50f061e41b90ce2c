// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import Outbox
import Stage

/// The play: it opens the shop, sends the customers, kills the relay, waits until all is quiet, and reads the books.
struct Play {
    let programs: Programs
    let postgres: Postgres
    private let report = Report()
    private let client = Client(connections: 4)
    private let tools = URL(filePath: CommandLine.arguments[0]).deletingLastPathComponent()

    init(programs: Programs, postgres: Postgres) {
        self.programs = programs
        self.postgres = postgres
    }

    /// Plays, and returns how many claims did not hold.
    func perform() async throws -> Int {
        report.section("A shop, its relay and the world outside, each a process of its own")
        let (url, place) = try await postgres.create()
        report.paragraph(place)
        try await outbox("migrate", on: url)
        let shop = try await open(on: url)

        let crowd = Crowd(customers: 400)
        report.section("\(crowd.wishes.count) customers at once, and a relay that is killed")
        let began = ContinuousClock.now
        async let placing = crowd.place(at: shop.orders)
        let (relay, inFlight) = try await killRelay(of: shop)
        let orders = try await placing
        report.line("\(orders.accepted.count) orders are placed; \(orders.refused.count) are refused: no teapots left.")
        let database = Database(try DatabaseConfiguration(url: url))
        // If it does not come to rest, the claims at the end say what is wrong.
        let isQuiet = try await comesTrue(within: .seconds(40)) {
            let tasks = try await database.count("SELECT count(*) FROM outbox.tasks")
            guard tasks == 0 else { return false }
            return try await !alerts(of: shop).isEmpty
        }
        report.line(
            "\(isQuiet ? "No task is left" : "Tasks are left, or no alert came,") after \(tenths(of: .now - began)).")

        report.section("What a person sees: webhooks that the partner refused")
        report.paragraph("The alert, as alert-receiver got it:")
        let told = try await alerts(of: shop)
        for alert in told { report.json(alert.body) }
        let incident = "\(try told.first.map(Self.incident(of:)) ?? 0)"
        try await outbox("dead", "list", "--incident", incident, on: url)
        try await outbox("dead", "show", "1", on: url)
        let dead = try await database.count("SELECT count(*) FROM outbox.dead_letters WHERE resolution IS NULL")

        report.section("The partner learns what a samovar is, and the dead letters are replayed")
        _ = try await client.post([String: String](), to: shop.partner.appending(path: "fix"))
        try await outbox("dead", "replay", "--incident", incident, "--note", "the partner knows samovars now", on: url)
        _ = try await comesTrue(within: .seconds(10)) {
            try await database.count("SELECT count(*) FROM outbox.tasks") == 0
        }
        relay.send(SIGTERM)
        let relayStatus = await relay.ended()

        report.section("The proof, from the books of the gateway, the partner and the shop")
        let evidence = Evidence(
            crowd: crowd, orders: orders, shop: try await ShopBooks(reading: database), dead: dead,
            gateway: try await client.get(shop.gateway.appending(path: "books")),
            partner: try await client.get(shop.partner.appending(path: "memory")),
            alerts: try await alerts(of: shop), inFlight: inFlight, relayStatus: relayStatus)
        evidence.present(in: report)
        if report.failures == 0 {
            report.paragraph(
                "To see how it is written, begin with orders-service and orders-relay in examples/orders/Sources.")
        }
        await database.close()
        return report.failures
    }
}

extension Play {
    /// The programs that run, and where they are reached.
    struct Shop {
        let orders: URL
        let gateway: URL
        let partner: URL
        let alerts: URL
        let relay: Program
        let environment: [String: String]
    }

    private func open(on url: String) async throws -> Shop {
        func start(_ name: String) throws -> Program {
            try programs.start(tools.appending(path: name), log: name, environment: ["OUTBOX_DATABASE_URL": url])
        }
        let service = try start("orders-service")
        let gateway = try start("payment-gateway")
        let partner = try start("partner")
        let receiver = try start("alert-receiver")
        let (gatewayURL, partnerURL, alertsURL) = try await (gateway.url(), partner.url(), receiver.url())
        let environment = [
            "OUTBOX_DATABASE_URL": url,
            "GATEWAY_URL": gatewayURL.appending(path: "charges").absoluteString,
            "PARTNER_URL": partnerURL.appending(path: "hooks").absoluteString,
            "ALERTS_URL": alertsURL.appending(path: "alerts").absoluteString,
        ]
        let relay = try startRelay(environment)
        report.paragraph("These run:")
        report.program(service, "writes an order and its two tasks in one transaction, or rolls back")
        report.program(relay, "charges cards in a handler, sends webhooks to the partner")
        report.program(gateway, "answers 1 charge in 20 too late, and 1 in 20 with 503 and Retry-After")
        report.program(partner, "answers 1 webhook in 12 with 503 and Retry-After, and samovars with 422")
        report.program(receiver, "takes alerts")
        return try await Shop(
            orders: service.url(), gateway: gatewayURL, partner: partnerURL, alerts: alertsURL, relay: relay,
            environment: environment)
    }

    private func startRelay(_ environment: [String: String]) throws -> Program {
        try programs.start(tools.appending(path: "orders-relay"), log: "orders-relay", environment: environment)
    }

    /// Kills the relay when the gateway is busy for it, and starts another. Returns also how many charges were in
    /// flight: made, and not yet answered when nobody was there any more to hear it.
    private func killRelay(of shop: Shop) async throws -> (relay: Program, inFlight: Int) {
        let books = shop.gateway.appending(path: "books")
        let isBusy = try await comesTrue(within: .seconds(20)) {
            let books: GatewayBooks = try await client.get(books)
            return books.charges.count >= 80 && books.inFlight >= 4
        }
        guard isBusy else { throw StageError("the relay does not charge cards; see orders-relay.log") }
        shop.relay.send(SIGKILL)
        let inFlight = try await client.get(books, as: GatewayBooks.self).inFlight
        await shop.relay.ended()
        report.paragraph(
            "SIGKILL to the relay, process \(shop.relay.processIdentifier), with \(inFlight) charges in flight.")
        let next = try startRelay(shop.environment)
        report.line("Another relay, process \(next.processIdentifier), goes on.")
        return (next, inFlight)
    }

    private func alerts(of shop: Shop) async throws -> [ReceivedAlert] {
        try await client.get(shop.alerts.appending(path: "alerts"))
    }

    /// The number of the incident that an alert is about: what a person on call looks for first.
    private static func incident(of alert: ReceivedAlert) throws -> Int {
        struct Alert: Decodable {
            struct Details: Decodable { let incident: Int }
            let data: Details
        }
        return try JSONDecoder().decode(Alert.self, from: Data(alert.body.utf8)).data.incident
    }

    /// Runs a command as a person would, and shows it with what it prints.
    private func outbox(_ arguments: String..., on url: String) async throws {
        let command = try programs.start(
            tools.appending(path: "outbox"), arguments, log: "outbox", environment: ["OUTBOX_DATABASE_URL": url])
        let output = await command.output(untilEnd: true)
        let line = (["outbox"] + arguments.map { $0.contains(" ") ? "\"\($0)\"" : $0 }).joined(separator: " ")
        report.command(line, output)
        let status = await command.ended()
        guard status == 0 else { throw StageError("\(line) ended with status \(status); see outbox.log") }
    }

    /// Looks again and again until it is so; false: it was not within the limit.
    private func comesTrue(within limit: Duration, _ isSo: () async throws -> Bool) async throws -> Bool {
        let deadline = ContinuousClock.now + limit
        while try await !isSo() {
            guard .now < deadline else { return false }
            try await Task.sleep(for: .milliseconds(20))
        }
        return true
    }

    private func tenths(of duration: Duration) -> String {
        duration.formatted(.units(allowed: [.seconds], width: .wide, fractionalPart: .show(length: 1)))
    }
}

extension Database {
    /// The number that a statement returns.
    func count(_ statement: Statement) async throws -> Int { try await query(statement)[0].decode(Int.self, at: 0) }
}
