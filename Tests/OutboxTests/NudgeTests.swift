// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import FoundationEssentials
import Outbox
import OutboxRelay
import Testing

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// Nudges, seen by relays that would hardly ever look without one: three tasks one after the other would take them more
/// than the test's time.
@Suite(.timeLimit(.minutes(2))) struct NudgeTests {
    private static let sleepy = RelayConfiguration(poll: .seconds(60) ... .seconds(60), sweepInterval: .seconds(3600))

    private func enqueueThree(_ database: Database, _ seen: Recorder<Int>, _ nudge: () -> Void) async throws {
        for order in 1...3 {
            try await database.transaction { transaction in
                try await transaction.enqueue(RelayTests.Charge(order: order))
            }
            nudge()
            await seen.wait(for: order)
        }
        #expect(seen.values == [1, 2, 3])
    }

    private func withPath(_ body: (String) async throws -> Void) async throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "n\(UInt32.random(in: 0 ... .max))")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        try await body(directory.appending(path: "nudge.sock").path())
    }

    @Test func aRelayOfTheSameProcessLooksAtOnce() async throws {
        try await withOutbox { database in
            let seen = Recorder<Int>()
            let handler = Handler(RelayTests.Charge.self) { task, _ in seen.record(task.order) }
            try await withRelay(database, [handler], configuration: Self.sleepy) { relay in
                try await enqueueThree(database, seen) { relay.nudge() }
            }
        }
    }

    @Test func aRelayWithASocketLooksAtOnce() async throws {
        try await withOutbox { database in
            try await withPath { path in
                let seen = Recorder<Int>()
                let handler = Handler(RelayTests.Charge.self) { task, _ in seen.record(task.order) }
                var configuration = Self.sleepy
                configuration.nudgeSocket = path
                let nudge = try Nudge(socket: path)
                #expect(!nudge.send(), "nobody listens yet, and that is no error")
                try await withRelay(database, [handler], configuration: configuration) { _ in
                    try await eventually { nudge.send() }
                    try await enqueueThree(database, seen) { #expect(nudge.send()) }
                }
                #expect(!nudge.send())
                #expect(!FileManager.default.fileExists(atPath: path))
            }
        }
    }

    @Test func aSocketThatIsLeftOverIsReplacedAndOneInUseIsNot() async throws {
        try await withOutbox { database in
            try await withPath { path in
                func relay() throws -> Relay {
                    try Relay(
                        database: database.configuration, handlers: [Handler(RelayTests.Charge.self) { _, _ in }],
                        configuration: RelayConfiguration(nudgeSocket: path), logger: .quiet)
                }
                try leaveSocketBehind(at: path)
                let first = try relay()
                let running = Task { try await first.run() }
                let nudge = try Nudge(socket: path)
                try await eventually { nudge.send() }
                let error = await #expect(throws: NudgeError.self) { try await relay().run() }
                #expect(error?.description.contains("another relay") == true)
                #expect(nudge.send(), "the first still has its socket")
                first.stop()
                try await running.value

                try Data("a file".utf8).write(to: URL(filePath: path))
                let other = await #expect(throws: NudgeError.self) { try await relay().run() }
                #expect(other?.description.contains("something else") == true)
                #expect(try String(contentsOfFile: path, encoding: .utf8) == "a file")
            }
        }
    }

    @Test func aPathThatNoSocketCanHaveIsRefused() {
        #expect(throws: NudgeError.self) { try Nudge(socket: "") }
        #expect(throws: NudgeError.self) { try Nudge(socket: String(repeating: "p", count: 200)) }
    }

    /// What a relay leaves that was killed.
    private func leaveSocketBehind(at path: String) throws {
        let descriptor = try SocketAddress.openDatagramSocket()
        #expect(try SocketAddress(path: path).withPointer { bind(descriptor, $0, $1) } == 0)
        close(descriptor)
    }
}
