// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import OutboxTesting
import Testing

/// The most telling storms in their short form; `make storm` plays all of them for minutes.
@Suite(.enabled(if: ThrowAwayPostgres.isOwn, "needs a cluster of its own, and OUTBOX_DATABASE_URL is set"))
struct StormTests {
    @Test(arguments: ["kill", "stop", "postgres", "lost-commits"])
    func nothingIsLostIn(_ scenario: String) async throws {
        let (status, output) = try await Self.storm("--short", scenario)
        #expect(status == 0, "\(output)")
    }

    /// Runs the program that was built beside the tests, and returns its status and what it said.
    private static func storm(_ arguments: String...) async throws -> (Int32, String) {
        let process = Process()
        process.executableURL = try #require(program)
        process.arguments = arguments
        let output = Pipe()
        process.standardOutput = output
        process.standardError = output
        try process.run()
        let data = await withCheckedContinuation { continuation in
            // a thread of its own, since it blocks
            Thread.detachNewThread {
                continuation.resume(returning: (try? output.fileHandleForReading.readToEnd()) ?? Data())
            }
        }
        process.waitUntilExit()
        return (process.terminationStatus, String(decoding: data, as: UTF8.self))
    }

    private static var program: URL? {
        let places = [
            URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent(),
            URL(fileURLWithPath: #filePath).appendingPathComponent("../../../.build/debug").standardized,
        ]
        return places.map { $0.appendingPathComponent("storm") }
            .first { FileManager.default.isExecutableFile(atPath: $0.path) }
    }
}
