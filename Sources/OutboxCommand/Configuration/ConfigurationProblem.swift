// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// Where a value of the configuration comes from.
enum Origin: Hashable, Sendable {
    /// A line of the file, 1 first.
    case line(Int)
    /// A variable of the environment, which goes before the file.
    case variable(String)
    /// Nowhere: it is missing.
    case nowhere
}

/// One thing that is wrong with the configuration: where, what, and what to write instead. It never holds a value
/// that may be a secret.
struct ConfigurationProblem: Error, Hashable, Sendable {
    let origin: Origin
    let message: String

    /// The problem as compilers write theirs: `outbox.yaml:12: …`.
    func description(file: String) -> String {
        switch origin {
        case .line(let line): "\(file):\(line): \(message)"
        case .variable(let name): "\(name): \(message)"
        case .nowhere: message
        }
    }
}

/// All that is wrong with a configuration, in the order of the file.
struct ConfigurationProblems: Error, Equatable {
    let file: String
    let problems: [ConfigurationProblem]

    var lines: [String] { problems.map { $0.description(file: file) } }

    /// The same as the problem of a command: the first lines, then how many more there are.
    var problem: Problem {
        Problem(
            .misconfigured, "the configuration is wrong\n" + lines.map { "  " + $0 }.joined(separator: "\n"),
            hint:
                "examples/outbox.yaml explains every key; outbox config check looks again without starting anything"
        )
    }
}

/// The known word that is nearest to a mistyped one, if one is near enough to be meant.
func nearest(to word: String, among known: [String]) -> String? {
    let ranked = known.map { (word: $0, distance: editDistance(Array(word.utf8), Array($0.utf8))) }
    guard let best = ranked.min(by: { $0.distance < $1.distance }), best.distance <= max(1, word.utf8.count / 3)
    else {
        return nil
    }
    return best.word
}

/// How many letters have to be added, left out or changed to make one word of the other (Levenshtein).
private func editDistance(_ a: [UInt8], _ b: [UInt8]) -> Int {
    var row = Array(0...b.count)
    for (i, letter) in a.enumerated() {
        var diagonal = row[0]
        row[0] = i + 1
        for (j, other) in b.enumerated() {
            let changed = diagonal + (letter == other ? 0 : 1)
            diagonal = row[j + 1]
            row[j + 1] = min(changed, row[j] + 1, row[j + 1] + 1)
        }
    }
    return row[b.count]
}
