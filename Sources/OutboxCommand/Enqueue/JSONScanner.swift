// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// Checks a JSON text (RFC 8259) byte by byte and says where members of its top level stand, so that their bytes can
/// be taken over exactly as they are: a decoder and an encoder would change numbers, escapes, order and spaces.
///
/// It accepts what the grammar accepts and nothing else: no comments, no trailing commas, no byte order mark, no
/// control characters in strings, valid UTF-8 only. Escaped surrogates need not be paired, as section 8.2 allows. It
/// makes no copy of any value.
struct JSONScanner {
    /// What is wrong, and at which byte, 0 first.
    struct Failure: Error, Hashable {
        enum Reason: Hashable {
            case endsEarly
            case unexpected(UInt8)
            case controlCharacter, nul, escape, number, utf8, tooDeep, trailing
            case byteOrderMark, notAnObject
            case twice(String)
        }
        let reason: Reason
        let offset: Int
    }

    /// How deep arrays and objects may be nested: the scanner calls itself for each.
    static let deepest = 500

    private let bytes: [UInt8]
    private var position = 0

    /// The byte ranges of the values of the top-level members with these names; `nil` for one that is not there.
    ///
    /// The whole text is checked, and has to be an object. A name may be written with escapes. One that stands there
    /// twice is refused: which of the values counts is anyone's guess.
    static func members(_ names: [String], in bytes: [UInt8]) throws(Failure) -> [Range<Int>?] {
        var scanner = JSONScanner(bytes: bytes)
        var found = [Range<Int>?](repeating: nil, count: names.count)
        scanner.skipSpace()
        guard scanner.next == UInt8(ascii: "{") else {
            // not even JSON goes before not an object
            try scanner.text()
            throw Failure(reason: .notAnObject, offset: 0)
        }
        try scanner.object(depth: 1) { (name: String?, raw: Range<Int>, value: Range<Int>) throws(Failure) in
            for (index, wanted) in names.enumerated() {
                guard name.map({ $0 == wanted }) ?? bytes[raw].elementsEqual(wanted.utf8) else { continue }
                guard found[index] == nil else { throw Failure(reason: .twice(wanted), offset: raw.lowerBound) }
                found[index] = value
            }
        }
        try scanner.end()
        return found
    }

    /// Checks that the bytes are one JSON text, of any type.
    static func check(_ bytes: [UInt8]) throws(Failure) {
        var scanner = JSONScanner(bytes: bytes)
        try scanner.text()
    }

    /// The text of a string's bytes, quotation marks included, that were found by ``members(_:in:)``; `nil` for a value
    /// of another type, or for a surrogate without its other half, which no text can hold.
    static func string(_ bytes: ArraySlice<UInt8>) -> String? {
        guard bytes.count >= 2, bytes.first == UInt8(ascii: "\"") else { return nil }
        return unescaped(bytes.dropFirst().dropLast())
    }

    private init(bytes: [UInt8]) {
        self.bytes = bytes
    }

    private var next: UInt8? { position < bytes.count ? bytes[position] : nil }

    private func failure(_ reason: Failure.Reason) -> Failure { Failure(reason: reason, offset: position) }

    /// What is wrong if the next byte cannot be here.
    private func unexpected() -> Failure {
        guard let next else { return failure(.endsEarly) }
        return failure(next == 0 ? .nul : .unexpected(next))
    }

    private mutating func text() throws(Failure) {
        if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { throw failure(.byteOrderMark) }
        skipSpace()
        try value(depth: 1)
        try end()
    }

    private mutating func end() throws(Failure) {
        skipSpace()
        guard next == nil else { throw failure(next == 0 ? .nul : .trailing) }
    }

    private mutating func skipSpace() {
        while let next, next == 0x20 || next == 0x09 || next == 0x0A || next == 0x0D { position += 1 }
    }

    private mutating func expect(_ byte: UInt8) throws(Failure) {
        guard next == byte else { throw unexpected() }
        position += 1
    }

    private mutating func value(depth: Int) throws(Failure) {
        switch next {
        case UInt8(ascii: "{"): try object(depth: depth)
        case UInt8(ascii: "["): try array(depth: depth)
        case UInt8(ascii: "\""): _ = try string()
        case UInt8(ascii: "t"): try word("true")
        case UInt8(ascii: "f"): try word("false")
        case UInt8(ascii: "n"): try word("null")
        case .some(UInt8(ascii: "-")), .some(UInt8(ascii: "0")...UInt8(ascii: "9")): try number()
        default: throw unexpected()
        }
    }

    /// - Parameter visit: called with each member's name where it has escapes, its raw name, and its value.
    private mutating func object(
        depth: Int, visit: ((String?, Range<Int>, Range<Int>) throws(Failure) -> Void)? = nil
    ) throws(Failure) {
        guard depth <= Self.deepest else { throw failure(.tooDeep) }
        position += 1
        skipSpace()
        if next == UInt8(ascii: "}") {
            position += 1
            return
        }
        while true {
            guard next == UInt8(ascii: "\"") else { throw unexpected() }
            let nameStart = position + 1
            let hasEscapes = try string()
            let name = nameStart..<position - 1
            skipSpace()
            try expect(UInt8(ascii: ":"))
            skipSpace()
            let valueStart = position
            try value(depth: depth + 1)
            if let visit {
                try visit(hasEscapes ? Self.unescaped(bytes[name]) ?? "" : nil, name, valueStart..<position)
            }
            skipSpace()
            if next == UInt8(ascii: "}") { break }
            try expect(UInt8(ascii: ","))
            skipSpace()
        }
        position += 1
    }

    private mutating func array(depth: Int) throws(Failure) {
        guard depth <= Self.deepest else { throw failure(.tooDeep) }
        position += 1
        skipSpace()
        if next == UInt8(ascii: "]") {
            position += 1
            return
        }
        while true {
            try value(depth: depth + 1)
            skipSpace()
            if next == UInt8(ascii: "]") { break }
            try expect(UInt8(ascii: ","))
            skipSpace()
        }
        position += 1
    }

    private mutating func word(_ word: StaticString) throws(Failure) {
        for index in 0..<word.utf8CodeUnitCount { try expect(word.utf8Start[index]) }
    }

    /// `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`, of any length: nobody computes with it here.
    private mutating func number() throws(Failure) {
        if next == UInt8(ascii: "-") { position += 1 }
        if next == UInt8(ascii: "0") {
            position += 1
            if let next, isDigit(next) { throw failure(.number) }
        } else {
            try digits()
        }
        if next == UInt8(ascii: ".") {
            position += 1
            try digits()
        }
        if next == UInt8(ascii: "e") || next == UInt8(ascii: "E") {
            position += 1
            if next == UInt8(ascii: "+") || next == UInt8(ascii: "-") { position += 1 }
            try digits()
        }
    }

    private mutating func digits() throws(Failure) {
        guard let next, isDigit(next) else { throw failure(next == nil ? .endsEarly : .number) }
        while let next = self.next, isDigit(next) { position += 1 }
    }

    private func isDigit(_ byte: UInt8) -> Bool { byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9") }

    /// Passes a string from quotation mark to quotation mark and says whether it has escapes.
    private mutating func string() throws(Failure) -> Bool {
        position += 1
        var hasEscapes = false
        while let byte = next {
            switch byte {
            case UInt8(ascii: "\""):
                position += 1
                return hasEscapes
            case UInt8(ascii: "\\"):
                hasEscapes = true
                try escape()
            case 0: throw failure(.nul)
            case 1..<0x20: throw failure(.controlCharacter)
            case 0x20..<0x80: position += 1
            default: try multibyte(byte)
            }
        }
        throw failure(.endsEarly)
    }

    private mutating func escape() throws(Failure) {
        position += 1
        guard let byte = next else { throw failure(.endsEarly) }
        if byte == UInt8(ascii: "u") {
            for _ in 0..<4 {
                position += 1
                guard let digit = next else { throw failure(.endsEarly) }
                guard Self.hexadecimal(digit) != nil else { throw failure(.escape) }
            }
        } else if !"\"\\/bfnrt".utf8.contains(byte) {
            throw failure(.escape)
        }
        position += 1
    }

    /// One character of two to four bytes, as table 3-7 of the Unicode Standard has them: no overlong forms, no
    /// surrogates, nothing above U+10FFFF. https://www.unicode.org/versions/latest/core-spec/chapter-3/
    private mutating func multibyte(_ first: UInt8) throws(Failure) {
        let second: ClosedRange<UInt8>
        let count: Int
        switch first {
        case 0xC2...0xDF: (second, count) = (0x80...0xBF, 2)
        case 0xE0: (second, count) = (0xA0...0xBF, 3)
        case 0xE1...0xEC, 0xEE...0xEF: (second, count) = (0x80...0xBF, 3)
        case 0xED: (second, count) = (0x80...0x9F, 3)
        case 0xF0: (second, count) = (0x90...0xBF, 4)
        case 0xF1...0xF3: (second, count) = (0x80...0xBF, 4)
        case 0xF4: (second, count) = (0x80...0x8F, 4)
        default: throw failure(.utf8)
        }
        guard position + count <= bytes.count, second.contains(bytes[position + 1]),
            bytes[position + 2..<position + count].allSatisfy({ (0x80...0xBF).contains($0) })
        else { throw failure(.utf8) }
        position += count
    }
}

extension JSONScanner.Failure: CustomStringConvertible {
    /// What is wrong, for a person; the byte is counted from 1.
    var description: String {
        let place = " (byte \(offset + 1))"
        switch reason {
        case .endsEarly: return "is not JSON: it ends in the middle of a value" + place
        case .unexpected(let byte):
            let shown = (0x21...0x7E).contains(byte) ? "\(Character(Unicode.Scalar(byte)))" : "byte \(byte)"
            return "is not JSON: \(shown) cannot stand here" + place
        case .controlCharacter:
            return "is not JSON: a string holds a control character, which must be escaped" + place
        case .nul: return "holds a NUL byte" + place
        case .escape: return "is not JSON: a string holds an escape that does not exist" + place
        case .number: return "is not JSON: a number is malformed" + place
        case .utf8: return "is not UTF-8" + place
        case .tooDeep: return "is nested deeper than \(JSONScanner.deepest) levels" + place
        case .trailing: return "is not JSON: something follows the value" + place
        case .byteOrderMark: return "begins with a byte order mark, which JSON does not have"
        case .notAnObject: return "is not a JSON object"
        case .twice(let name): return "has the member \(printable(name)) twice" + place
        }
    }
}
