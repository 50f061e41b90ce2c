// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import OrderTasks
import OutboxRelay

#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

/// The payment gateway, as the relay's handler calls it.
struct PaymentGateway {
    let url: URL
    private let session: URLSession

    init(url: URL) {
        self.url = url
        let configuration = URLSessionConfiguration.ephemeral
        configuration.httpMaximumConnectionsPerHost = 16
        // Here and not with the request: on Linux, URLRequest(url:timeoutInterval:) is not heeded.
        configuration.timeoutIntervalForRequest = 1
        session = URLSession(configuration: configuration)
    }

    /// Charges a card. Returning means that it is charged; an error may mean anything: a request that timed out may
    /// have been obeyed. So every attempt sends the same key, and the gateway charges once for each key.
    func charge(_ task: ChargeCard, idempotencyKey: String) async throws {
        var request = URLRequest(url: url)
        request.httpMethod = "POST"
        request.httpBody = Data(try task.payload())
        request.setValue("application/json", forHTTPHeaderField: "Content-Type")
        request.setValue(idempotencyKey, forHTTPHeaderField: "Idempotency-Key")

        // Whatever this throws, the relay records it as it is, and tries again by the handler's policy.
        let (_, answer) = try await session.data(for: request)
        guard let answer = answer as? HTTPURLResponse else { throw GatewayError.unexpected(status: 0) }

        switch answer.statusCode {
        case 200..<300: return
        case 402: throw Reject(because: GatewayError.cardDeclined)
        case 429, 503:
            let seconds = answer.value(forHTTPHeaderField: "Retry-After").flatMap(Int.init)
            throw Retry(after: seconds.map { .seconds($0) }, because: GatewayError.busy)
        default: throw GatewayError.unexpected(status: answer.statusCode)
        }
    }
}

enum GatewayError: Error {
    /// No later attempt can help: the task becomes a dead letter at once.
    case cardDeclined
    case busy
    case unexpected(status: Int)
}
