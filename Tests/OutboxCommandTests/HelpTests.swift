// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import Testing

/// `--help` of every command, as it was last approved. Run with OUTBOX_RECORD=1 to approve what it is now.
@Suite struct HelpTests {
    static let commands: [[String]] = [
        [], ["migrate"], ["migrate", "up"], ["migrate", "status"], ["migrate", "down"], ["migrate", "print"],
        ["run"], ["enqueue"],
        ["status"], ["tasks"], ["tasks", "list"], ["tasks", "show"], ["tasks", "cancel"], ["dead"],
        ["dead", "list"],
        ["dead", "show"], ["dead", "replay"], ["dead", "discard"], ["adopt"], ["config"], ["config", "check"],
        ["bench"],
    ]

    @Test(arguments: commands)
    func theHelpIsTheApprovedOne(_ command: [String]) async throws {
        let result = try await OutboxBinary.run(command + ["--help"])
        #expect(result.status == 0)
        #expect(result.errors.isEmpty)
        let name = (["outbox"] + command).joined(separator: "-") + ".txt"
        let file = URL(fileURLWithPath: #filePath).appendingPathComponent("../Golden/\(name)").standardized
        if ProcessInfo.processInfo.environment["OUTBOX_RECORD"] == "1" {
            try Data(result.bytes).write(to: file)
        } else {
            #expect(
                try String(contentsOf: file, encoding: .utf8) == result.output,
                "record again with OUTBOX_RECORD=1 if this is meant")
        }
        // nothing is wider than a terminal
        for line in result.output.split(separator: "\n") { #expect(line.count <= 80, "\(line)") }
    }

    @Test func theVersionIsTold() async throws {
        #expect(try await OutboxBinary.run("--version").output == "0.1.0\n")
    }

    @Test func nobodyWithoutATerminalSeesColour() async throws {
        let result = try await OutboxBinary.run("help")
        #expect(!result.bytes.contains(0x1B))
    }
}
