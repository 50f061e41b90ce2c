// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import OutboxCore
import OutboxHTTP
import Testing

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// A complete answer with a body.
func answer(_ status: Int, _ headers: String = "", body: String = "") -> String {
    "HTTP/1.1 \(status) X\r\n\(headers)Content-Length: \(body.utf8.count)\r\n\r\n\(body)"
}

let testTaskID = TaskID(high: 0x8e03_978e_40d5_43e8, low: 0xbc93_6894_a57f_9324)

func testTask(
    key: String = "order-42", attempt: Int = 1, headers: [(name: String, value: String)] = [],
    contentType: String = "application/json", payload: [UInt8] = Array("{}".utf8)
) -> ClaimedTask {
    ClaimedTask(
        id: testTaskID, kind: "send-invoice", idempotencyKey: key, attempt: attempt, headers: headers,
        contentType: contentType, payload: payload)
}

/// A server, a driver and the delivery between them, stopped when the body has run.
///
/// The environment's proxy leads nowhere in every test, so that each of them also shows that it is not asked.
func withDelivery<R>(
    to server: ScriptedServer, path: String = "", headers: [(name: String, value: String)] = [],
    timeout: Duration = .seconds(30), proxy: String? = nil,
    style: HTTPEndpoint.IdempotencyKeyStyle = .quoted, limits: CurlDriver.Limits = CurlDriver.Limits(),
    isolation: isolated (any Actor)? = #isolation,
    _ body: (HTTPDelivery, CurlDriver) async throws -> R
) async throws -> R {
    try #require(hasHostileEnvironment)
    defer { server.stop() }
    let endpoint = try HTTPEndpoint(
        name: "test", url: server.url + path, headers: headers, connectTimeout: timeout, timeout: timeout, proxy: proxy,
        idempotencyKeyStyle: style)
    let driver = CurlDriver(limits: limits)
    let result = try await body(HTTPDelivery(endpoint: endpoint, driver: driver), driver)
    await driver.shutdown()
    return result
}

let hasHostileEnvironment: Bool = {
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        setenv(name, "http://127.0.0.1:1", 1)
    }
    return true
}()

extension Outcome {
    /// The failure of a retried or rejected attempt.
    var failure: Failure? {
        switch self {
        case .retry(let failure, _, _), .rejected(let failure): failure
        default: nil
        }
    }
}
