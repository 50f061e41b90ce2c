// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import FlyingFox
import Foundation
import Stage

/// Takes alerts, as whatever pages the people on call would.
@main
struct AlertReceiver {
    static func main() async throws {
        let pager = Pager()
        let server = try Stage.server()
        await server.appendRoute("POST /alerts") { request in
            let alert = ReceivedAlert(
                idempotencyKey: request.headers[HTTPHeader("Idempotency-Key")] ?? "",
                body: String(decoding: try await request.bodyData, as: UTF8.self))
            await pager.receive(alert)
            return HTTPResponse(statusCode: .noContent)
        }
        await server.appendRoute("GET /alerts") { _ in try .json(await pager.alerts) }
        try await Stage.serve(server)
    }
}

actor Pager {
    private(set) var alerts: [ReceivedAlert] = []

    /// Keeps an alert, unless it is one that is told again: delivery is at least once.
    func receive(_ alert: ReceivedAlert) {
        if !alerts.contains(where: { $0.idempotencyKey == alert.idempotencyKey }) { alerts.append(alert) }
    }
}
