// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Logging
import Synchronization
import Testing

@testable import OutboxCommand

@Suite struct LineLogHandlerTests {
    private final class Lines: Sendable {
        private let lines = Mutex<[String]>([])
        var all: [String] { lines.withLock { $0 } }
        func add(_ bytes: [UInt8]) { lines.withLock { $0.append(String(decoding: bytes, as: UTF8.self)) } }
    }

    private func logged(_ format: LogFormat, level: Logger.Level = .info, _ body: (Logger) -> Void) -> [String] {
        let lines = Lines()
        var logger = Logger(label: "t") { _ in LineLogHandler(level: level, format: format) { lines.add($0) } }
        logger[metadataKey: "relay"] = "r"
        body(logger)
        return lines.all
    }

    @Test func aMessageIsALine() {
        let lines = logged(.text) {
            $0.info("it runs", metadata: ["kind": "a.b", "error": "a \"b\"\nc\\d", "empty": ""])
        }
        #expect(lines.count == 1)
        #expect(lines[0].hasSuffix(#" info it runs  empty="" error="a \"b\"\nc\\d" kind=a.b relay=r"# + "\n"))
        #expect(lines[0].prefix(24).hasSuffix("Z") && lines[0].prefix(11).hasSuffix("T"))
    }

    @Test func aMessageIsAnObject() {
        let lines = logged(.json) { $0.error("it\nbroke", metadata: ["kind": "a", "level": "mine"]) }
        #expect(lines.count == 1)
        #expect(
            lines[0].hasSuffix(
                #""level":"error","message":"it\nbroke","kind":"a","level_":"mine","relay":"r"}"# + "\n"))
    }

    @Test func whatIsBelowTheLevelIsLeftOut() {
        #expect(logged(.text, level: .warning) { $0.info("quiet") }.isEmpty)
    }
}
