// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import Testing

/// `outbox bench http` and `outbox bench retry-storm`, with sizes that show whether they count right and nothing else.
@Suite(.serialized) struct BenchHTTPTests {
    private struct Answer: Decodable {
        let results: [Result]
    }
    private struct Result: Decodable {
        struct Spread: Decodable { let median: Double }
        struct Figure: Decodable {
            let name: String
            let value: Double?
        }
        let variant: String
        let value: Spread
        let floor: Spread?
        let figures: [Figure]

        subscript(_ name: String) -> Double? { figures.first { $0.name == name }?.value }
    }

    private func bench(_ arguments: String...) async throws -> [Result] {
        var results: [Result] = []
        try await TestDatabase.empty { database in
            let result = try await database.outbox(["bench"] + arguments + ["--json"], environment: [:], input: [])
            try #require(result.status == 0, "\(result.errors)")
            results = try JSONDecoder().decode(Answer.self, from: Data(result.bytes)).results
        }
        return results
    }

    /// The scenario itself fails if a task is not delivered, or by more than one request.
    @Test(.timeLimit(.minutes(2))) func httpMeasuresRelayAndBareLoop() async throws {
        let results = try await bench("http", "--tasks", "300", "--runs", "1")
        #expect(results.map(\.variant) == ["8 in flight", "64 in flight", "256 in flight"])
        for result in results {
            #expect(result.value.median > 0 && result.floor.map { $0.median > 0 } == true)
            #expect(try #require(result["relay CPU over the bare loop's"]) > 0)
        }
    }

    /// The scenario itself fails if a task is lost or dies.
    @Test(.timeLimit(.minutes(2))) func theRetryStormEndsWithEverythingDelivered() async throws {
        let results = try await bench("retry-storm", "--seconds", "0.5", "--rate", "40", "--tasks", "30")
        #expect(results.map(\.variant) == ["a healthy endpoint", "a Swift handler", "the failing endpoint"])
        #expect(results.prefix(2).allSatisfy { $0.value.median > 0 && $0.floor.map { $0.median > 0 } == true })
        let failing = try #require(results.last)
        #expect(try #require(failing["tasks"]) >= 30)
        // each of them failed before it succeeded, but for those that came too late for it
        #expect(try #require(failing["attempts a task"]) > 1)
        #expect(failing["delivered twice"] == 0)
    }
}
