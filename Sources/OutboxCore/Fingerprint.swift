// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// The cause of a failure without its values: what stays the same when one cause fails many tasks.
///
/// Incidents group by it. Numbers, identifiers and quoted values in the message are replaced, so that "order 41 not
/// found" and "order 42 not found" are one cause. A receiver's answer is not part of it.
package enum Fingerprint {
    package static func of(_ failure: Failure) -> String {
        failure.type + ": " + withoutValues(failure.message)
    }

    /// Replaces quoted text by `"…"` and every word that has a digit by `#`; keeps at most 200 characters.
    package static func withoutValues(_ message: String) -> String {
        var result = ""
        var word = ""
        var quote: Character?

        func isPartOfWord(_ character: Character) -> Bool {
            character.isLetter || character.isNumber || character == "_" || character == "-"
        }
        func endWord() {
            result += word.contains(where: \.isNumber) ? "#" : word
            word = ""
        }

        for character in message.prefix(1000) {
            if let closing = quote {
                if character == closing { quote = nil }
                continue
            }
            if isPartOfWord(character) {
                word.append(character)
                continue
            }
            // an apostrophe within a word is not a quote: "can't"
            let opensQuote = (character == "\"" || character == "'" || character == "`") && word.isEmpty
            endWord()
            if opensQuote {
                quote = character
                result += "\"…\""
            } else {
                result.append(character)
            }
        }
        endWord()
        return String(result.prefix(200))
    }
}
