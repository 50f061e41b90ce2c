// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import Stage

#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

/// JSON over HTTP, to ask the programs.
struct Client: Sendable {
    private let session: URLSession

    init(connections: Int) {
        let configuration = URLSessionConfiguration.ephemeral
        configuration.httpMaximumConnectionsPerHost = connections
        configuration.timeoutIntervalForRequest = 10
        session = URLSession(configuration: configuration)
    }

    func get<Value: Decodable>(_ url: URL, as type: Value.Type = Value.self) async throws -> Value {
        let (data, _) = try await session.data(from: url)
        return try JSONDecoder().decode(Value.self, from: data)
    }

    func post(_ body: some Encodable, to url: URL) async throws -> (status: Int, body: Data) {
        var request = URLRequest(url: url)
        request.httpMethod = "POST"
        request.httpBody = try JSONEncoder().encode(body)
        request.setValue("application/json", forHTTPHeaderField: "Content-Type")
        let (data, answer) = try await session.data(for: request)
        return ((answer as? HTTPURLResponse)?.statusCode ?? 0, data)
    }
}
