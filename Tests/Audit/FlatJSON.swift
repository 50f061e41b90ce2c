// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// A JSON object of texts, whole numbers, booleans and nulls, in one line: all that a ledger needs, written and read
/// without Foundation.
struct FlatJSON: Equatable {
    enum Value: Equatable {
        case text(String)
        case number(Int64)
        case bool(Bool)
    }
    private(set) var members: [(name: String, value: Value)] = []

    init() {}

    static func == (one: FlatJSON, other: FlatJSON) -> Bool {
        one.members.elementsEqual(other.members) { $0.name == $1.name && $0.value == $1.value }
    }

    mutating func set(_ name: String, _ text: String?) { if let text { members.append((name, .text(text))) } }
    mutating func set(_ name: String, _ number: Int64?) { if let number { members.append((name, .number(number))) } }
    mutating func set(_ name: String, _ bool: Bool) { if bool { members.append((name, .bool(true))) } }

    subscript(name: String) -> Value? { members.first { $0.name == name }?.value }
    func text(_ name: String) -> String? { if case .text(let text)? = self[name] { text } else { nil } }
    func number(_ name: String) -> Int64? { if case .number(let number)? = self[name] { number } else { nil } }
    func bool(_ name: String) -> Bool { self[name] == .bool(true) }

    var line: String {
        "{" + members.map { "\(Self.quoted($0.name)):\(Self.written($0.value))" }.joined(separator: ",") + "}"
    }

    private static func written(_ value: Value) -> String {
        switch value {
        case .text(let text): quoted(text)
        case .number(let number): "\(number)"
        case .bool(let bool): bool ? "true" : "false"
        }
    }

    private static func quoted(_ text: String) -> String {
        var quoted = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": quoted += "\\\""
            case "\\": quoted += "\\\\"
            case "\0"..."\u{1F}":
                let digits = String(scalar.value, radix: 16)
                quoted += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: quoted.unicodeScalars.append(scalar)
            }
        }
        return quoted + "\""
    }

    /// Reads one line; `nil` for anything that is no such object.
    init?(_ line: some StringProtocol) {
        var reader = Reader(rest: Array(line.unicodeScalars)[...])
        guard reader.take("{") else { return nil }
        if reader.take("}") {
            guard reader.isAtEnd else { return nil }
            return
        }
        repeat {
            guard let name = reader.text(), reader.take(":") else { return nil }
            guard let value = reader.value() else { return nil }
            if let value { members.append((name, value)) }
        } while reader.take(",")
        guard reader.take("}"), reader.isAtEnd else { return nil }
    }

    private struct Reader {
        var rest: ArraySlice<Unicode.Scalar>

        mutating func skipSpace() {
            while let first = rest.first, first == " " || first == "\t" || first == "\r" { rest.removeFirst() }
        }
        var isAtEnd: Bool {
            mutating get {
                skipSpace()
                return rest.isEmpty
            }
        }
        mutating func take(_ scalar: Unicode.Scalar) -> Bool {
            skipSpace()
            guard rest.first == scalar else { return false }
            rest.removeFirst()
            return true
        }
        mutating func take(word: String) -> Bool {
            guard rest.starts(with: word.unicodeScalars) else { return false }
            rest.removeFirst(word.unicodeScalars.count)
            return true
        }

        /// `nil`: no value. `.some(nil)`: a null.
        mutating func value() -> Value?? {
            skipSpace()
            if rest.first == "\"" { return text().map { .some(.text($0)) } }
            if take(word: "null") { return .some(nil) }
            if take(word: "true") { return .some(.bool(true)) }
            if take(word: "false") { return .some(.bool(false)) }
            var digits = ""
            while let first = rest.first, first == "-" || ("0"..."9").contains(first) {
                digits.unicodeScalars.append(first)
                rest.removeFirst()
            }
            return Int64(digits).map { .some(.number($0)) }
        }

        mutating func text() -> String? {
            guard take("\"") else { return nil }
            var text = String.UnicodeScalarView()
            while let scalar = rest.popFirst() {
                if scalar == "\"" { return String(text) }
                guard scalar == "\\" else {
                    text.append(scalar)
                    continue
                }
                switch rest.popFirst() {
                case "n": text.append("\n")
                case "t": text.append("\t")
                case "r": text.append("\r")
                case "u":
                    let digits = String(String.UnicodeScalarView(rest.prefix(4)))
                    rest = rest.dropFirst(4)
                    guard let value = UInt32(digits, radix: 16), let scalar = Unicode.Scalar(value) else { return nil }
                    text.append(scalar)
                case let other?: text.append(other)
                case nil: return nil
                }
            }
            return nil
        }
    }
}
