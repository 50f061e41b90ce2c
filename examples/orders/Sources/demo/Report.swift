// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation

/// What the demonstration prints: sections, commands with their output, and claims that hold or do not.
final class Report {
    private var sections = 0
    private var claims = 0
    private(set) var failures = 0

    func section(_ title: String) {
        sections += 1
        say("\(sections > 1 ? "\n\n" : "")\(sections)  \(title)")
    }

    /// The first line of a paragraph.
    func paragraph(_ text: String) { say("\n   \(text)") }

    /// A later one.
    func line(_ text: String) { say("   \(text)") }

    func program(_ program: Program, _ purpose: String) {
        line("  \(padded(program.name, to: 16)) \(padded("\(program.processIdentifier)", to: 7)) \(purpose)")
    }

    /// A command that the reader may run as well, and what it prints.
    func command(_ line: String, _ output: String) {
        paragraph("$ \(line)")
        for line in output.split(separator: "\n", omittingEmptySubsequences: false).dropLast() {
            say(line.isEmpty ? "" : "     \(line)")
        }
    }

    /// JSON, one member a line.
    func json(_ text: String) {
        let options: JSONSerialization.WritingOptions = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        guard let value = try? JSONSerialization.jsonObject(with: Data(text.utf8)),
            let data = try? JSONSerialization.data(withJSONObject: value, options: options)
        else { return say("     \(text)") }
        for line in String(decoding: data, as: UTF8.self).split(separator: "\n") { say("     \(line)") }
    }

    /// What the claims after it say together.
    func topic(_ text: String) { paragraph(text) }

    /// What the numbers of the claims around it are made of, in lines of at most 100 columns.
    func note(_ text: String) {
        var line = ""
        for word in text.split(separator: " ") {
            if line.count + word.count > 88 {
                say("            \(line)")
                line = ""
            }
            line += (line.isEmpty ? "" : " ") + word
        }
        say("            \(line)")
    }

    /// A claim that two numbers are equal.
    func claim(_ what: String, _ found: Int, is expected: Int) {
        claim(what, found == expected, "\(found) \(found == expected ? "=" : "≠") \(expected)")
    }

    func claim(_ what: String, _ found: Int, atLeast least: Int) {
        claim(what, found >= least, "\(found) \(found >= least ? "≥" : "<") \(least)")
    }

    /// A claim that two sets of orders are equal, shown as their sizes.
    func claim(_ what: String, _ found: Set<Int>, are expected: Set<Int>) {
        let difference = found.symmetricDifference(expected).count
        claim(
            what, difference == 0,
            difference == 0
                ? "\(found.count) = \(expected.count)" : "\(found.count), \(expected.count): \(difference) differ")
    }

    private func claim(_ what: String, _ holds: Bool, _ numbers: String) {
        claims += 1
        if !holds { failures += 1 }
        say("   \(holds ? "ok    " : "FAILED")   \(padded(what, to: 66)) \(numbers)")
    }

    func verdict() {
        paragraph(failures == 0 ? "All \(claims) claims hold." : "\(failures) of \(claims) claims FAILED.")
    }

    private func padded(_ text: String, to width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }
}
