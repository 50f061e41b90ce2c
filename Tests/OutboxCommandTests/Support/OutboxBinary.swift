// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import Synchronization
import Testing

/// The built binary, run as its users run it: a process with an environment of its own, and pipes.
enum OutboxBinary {
    /// What a run came to.
    struct Result: Sendable {
        let status: Int32
        let bytes: [UInt8]
        let errors: String
        var output: String { String(decoding: bytes, as: UTF8.self) }
        var lines: [String] { output.split(separator: "\n").map(String.init) }
    }

    /// Beside the test bundle, or in the package's folder where a helper runs the tests.
    static let url: URL = {
        let places = [
            URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent(),
            URL(fileURLWithPath: #filePath).appendingPathComponent("../../../../.build/debug").standardized,
        ]
        let candidates = places.map { $0.appendingPathComponent("outbox") }
        return candidates.first { FileManager.default.isExecutableFile(atPath: $0.path) } ?? candidates[1]
    }()

    static func run(
        _ arguments: String..., database: TestDatabase? = nil, environment: [String: String] = [:],
        input: String = "",
        in directory: URL? = nil
    ) async throws -> Result {
        try await run(
            arguments, database: database, environment: environment, input: Array(input.utf8), in: directory)
    }

    static func run(
        _ arguments: [String], database: TestDatabase? = nil, environment: [String: String] = [:],
        input: [UInt8] = [],
        in directory: URL? = nil
    ) async throws -> Result {
        let running = try Running(arguments, database: database, environment: environment, in: directory)
        running.feed(input)
        return await running.result()
    }

    /// A process that runs.
    final class Running: Sendable {
        private let process: Process
        private let input = Pipe()
        private let output = Pipe()
        private let errors = Pipe()
        private let ended: AsyncStream<Int32>
        private let readErrors = Mutex("")

        init(
            _ arguments: [String], database: TestDatabase? = nil, environment: [String: String] = [:],
            in directory: URL? = nil
        ) throws {
            var variables = ["PATH": "/usr/bin:/bin", "HOME": "/nonexistent"].merging(environment) { _, given in
                given
            }
            if let database { variables["DATABASE_URL"] = database.url }
            let (ended, continuation) = AsyncStream.makeStream(of: Int32.self)
            self.ended = ended
            process = Process()
            process.executableURL = OutboxBinary.url
            process.arguments = arguments
            process.environment = variables
            process.currentDirectoryURL = directory ?? FileManager.default.temporaryDirectory
            process.standardInput = input
            process.standardOutput = output
            process.standardError = errors
            process.terminationHandler = { process in
                continuation.yield(
                    process.terminationReason == .exit
                        ? process.terminationStatus : 128 + process.terminationStatus)
                continuation.finish()
            }
            try process.run()
        }

        /// Writes to standard input, closes it, and goes on meanwhile.
        func feed(_ bytes: [UInt8]) {
            let handle = input.fileHandleForWriting
            Thread.detachNewThread {
                // a process that stopped reading is part of what is tested: an error here, and no signal
                var pipe = sigset_t()
                sigemptyset(&pipe)
                sigaddset(&pipe, SIGPIPE)
                pthread_sigmask(SIG_BLOCK, &pipe, nil)
                try? handle.write(contentsOf: Data(bytes))
                try? handle.close()
            }
        }

        func signal(_ number: Int32) { kill(process.processIdentifier, number) }

        /// Reads standard error until a line holds `text`; what was read stays part of the result.
        func errors(until text: String) async {
            let handle = errors.fileHandleForReading
            await withCheckedContinuation { continuation in
                Thread.detachNewThread { [self] in
                    while !readErrors.withLock({ $0.contains(text) }) {
                        let data = handle.availableData
                        if data.isEmpty { break }
                        readErrors.withLock { $0 += String(decoding: data, as: UTF8.self) }
                    }
                    continuation.resume()
                }
            }
        }

        func result() async -> Result {
            async let bytes = Self.all(of: output.fileHandleForReading)
            async let rest = Self.all(of: errors.fileHandleForReading)
            var status: Int32 = -1
            for await code in ended { status = code }
            let text = await String(decoding: rest, as: UTF8.self)
            return await Result(status: status, bytes: bytes, errors: readErrors.withLock { $0 } + text)
        }

        private static func all(of handle: FileHandle) async -> [UInt8] {
            await withCheckedContinuation { continuation in
                Thread.detachNewThread {
                    let data = (try? handle.readToEnd()) ?? nil
                    continuation.resume(returning: Array(data ?? Data()))
                }
            }
        }
    }
}

/// A directory for a test's files, removed at its end.
func withDirectory<R>(_ body: (URL) async throws -> R) async throws -> R {
    let directory = FileManager.default.temporaryDirectory.appendingPathComponent("outbox-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: directory) }
    return try await body(directory)
}
