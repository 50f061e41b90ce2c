// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Testing

@testable import OutboxCommand

/// The grammar case by case, in the manner of the JSON parsing test suite (https://github.com/nst/JSONTestSuite):
/// what must be accepted, what must be refused, and what is up to the implementation.
@Suite struct JSONScannerTests {
    private func isAccepted(_ bytes: [UInt8]) -> Bool { (try? JSONScanner.check(bytes)) != nil }
    private func isAccepted(_ text: String) -> Bool { isAccepted(Array(text.utf8)) }

    @Test(arguments: [
        "{}", "[]", "null", "true", "false", "0", "-0", "1", "-1", "\"\"", " [ ] ", "\t{\r\n}\n", "[[]]", "[1,2]",
        "[1 , 2]",
        "{\"a\":1}", "{\"a\":{\"a\":{}}}", "{\"\":0}", "{\"a\":1,\"a\":2}", "[0.1]", "[1e1]", "[1E+2]", "[1e-2]",
        "[-1.5e10]",
        "[123456789012345678901234567890]", "[1e400]", "[-0.0]", "[0e+1]", "[1.000000000000000000000000000001]",
        #"["\"\\\/\b\f\n\r\t"]"#, #"["\u0000"]"#, #"["\uD83D\uDE00"]"#, #"["\ud83d\ude00"]"#, #"["\u00e9"]"#,
        "[\"é\"]", "[\"😀\"]",
        "[\"\u{7F}\"]", "[\"\u{2028}\"]", "[\"\u{FEFF}\"]", "[\"/*c*/\"]", "{\"a\\u0062\":1}", "[null,1,\"1\",{}]",
        // half a surrogate pair is in the grammar, and passed on as it stands
        #"["\uD800"]"#, #"["\uDFFF\uD800"]"#, #"["\uD888\u1234"]"#,
    ])
    func whatTheGrammarHasIsAccepted(_ text: String) {
        #expect(isAccepted(text))
    }

    @Test(arguments: [
        "", " ", "{", "}", "[", "]", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "[1,,2]", "{\"a\"", "{\"a\":",
        "{\"a\":1", "{\"a\":1,}", "{,}",
        "{a:1}", "{'a':1}", "{1:1}", "{\"a\" 1}", "{\"a\"::1}", "{\"a\":1 \"b\":2}", "[1]]", "{}{}", "{}x", "nul",
        "nulll", "True", "NaN",
        "Infinity", "-Infinity", "-", "+1", "01", "-01", "1.", ".1", "-.1", "1e", "1e+", "1.e1", "0x1", "1_000",
        "1a", "--1", "\"", "\"a", "'a'",
        #""\x""#, #""\u""#, #""\u12""#, #""\u12G4""#, #""\"#, #""\a""#, #""\U0041""#, "\"\t\"", "\"\n\"",
        "\"\u{1F}\"", "[1]//c", "/**/1", "#1",
        "[\"a\u{0}b\"]", "1\u{0}", "\u{0}", "\u{FEFF}{}", "\u{A0}1", "\u{2028}1", "[\u{C}1]", "undefined",
        "{\"a\":}", "[\"a\" \"b\"]", "\\u0031",
    ])
    func whatItDoesNotHaveIsRefused(_ text: String) {
        #expect(!isAccepted(text))
    }

    @Test(
        arguments: [
            [0xFF], [0x80], [0xC0, 0x80], [0xC1, 0xBF], [0xC3], [0xC3, 0x28], [0xE0, 0x80, 0x80],
            [0xE0, 0x9F, 0xBF], [0xE2, 0x82],
            [0xED, 0xA0, 0x80], [0xED, 0xBF, 0xBF], [0xF0, 0x80, 0x80, 0x80], [0xF0, 0x8F, 0xBF, 0xBF],
            [0xF4, 0x90, 0x80, 0x80],
            [0xF5, 0x80, 0x80, 0x80], [0xFC, 0x83, 0xBF, 0xBF, 0xBF, 0xBF], [0xF0, 0x9F, 0x98], [0xEF, 0xBB],
        ] as [[UInt8]])
    func invalidUTF8IsRefused(_ sequence: [UInt8]) {
        let quote = UInt8(ascii: "\"")
        #expect(throws: JSONScanner.Failure(reason: .utf8, offset: 1)) {
            try JSONScanner.check([quote] + sequence + [quote])
        }
        #expect(!isAccepted([quote] + sequence))
        #expect(!isAccepted(sequence))
    }

    @Test(arguments: [
        "\u{80}", "\u{7FF}", "\u{800}", "\u{D7FF}", "\u{E000}", "\u{FFFF}", "\u{10000}", "\u{10FFFF}",
    ])
    func theEdgesOfUTF8AreAccepted(_ character: String) {
        #expect(isAccepted("\"\(character)\""))
    }

    @Test func depthHasALimit() {
        func nested(_ depth: Int, _ open: String, _ close: String) -> String {
            String(repeating: open, count: depth) + "1" + String(repeating: close, count: depth)
        }
        #expect(isAccepted(nested(500, "[", "]")))
        #expect(!isAccepted(nested(501, "[", "]")))
        #expect(isAccepted(nested(500, "{\"a\":", "}")))
        #expect(!isAccepted(nested(501, "{\"a\":", "}")))
        // not even the stack's depth: a hundred thousand brackets are refused like any others
        #expect(!isAccepted(String(repeating: "[", count: 100_000)))
    }

    @Test func whatIsWrongAndWhereIsSaid() {
        func failure(_ text: String) -> JSONScanner.Failure? {
            do { _ = try JSONScanner.members([], in: Array(text.utf8)) } catch { return error }
            return nil
        }
        #expect(failure("{\"a\":1") == .init(reason: .endsEarly, offset: 6))
        #expect(failure("{\"a\":x}") == .init(reason: .unexpected(UInt8(ascii: "x")), offset: 5))
        #expect(failure("{\"a\":01}") == .init(reason: .number, offset: 6))
        #expect(failure("{\"a\":\"\u{0}\"}") == .init(reason: .nul, offset: 6))
        #expect(failure("{\"a\":\"\t\"}") == .init(reason: .controlCharacter, offset: 6))
        #expect(failure("{\"a\":\"\\q\"}") == .init(reason: .escape, offset: 7))
        #expect(failure("{} x") == .init(reason: .trailing, offset: 3))
        #expect(failure("\u{FEFF}{}") == .init(reason: .byteOrderMark, offset: 0))
        #expect(failure("[1]") == .init(reason: .notAnObject, offset: 0))
        #expect(failure("[1") == .init(reason: .endsEarly, offset: 2))
        #expect(failure("") == .init(reason: .endsEarly, offset: 0))
        #expect(failure("{}") == nil)
    }

    @Test func everyBeginningOfATextIsRefusedWithoutATrap() {
        let text = Array(#" {"a\u00e9\"": [1.5e-3, true, null, "😀\ud83d\ude00"], "b": {"c": -0}} "#.utf8)
        for end in 0..<text.count - 1 { #expect(!isAccepted(Array(text[..<end]))) }
        #expect(isAccepted(text))
    }

    @Test func noBytesMakeItTrap() {
        var generator = SystemRandomNumberGenerator()
        let alphabet = Array("{}[]\",:\\u0d8e-+.tfn 1é\u{0}".utf8) + [0xFF, 0xC3, 0xED, 0xF0]
        for _ in 0..<20_000 {
            let bytes = (0..<Int.random(in: 0...24, using: &generator)).map { _ in
                alphabet.randomElement(using: &generator) ?? 0
            }
            _ = try? JSONScanner.members(["a"], in: bytes)
        }
    }

    private func member(_ name: String, of text: String) throws -> String? {
        let bytes = Array(text.utf8)
        return try JSONScanner.members([name], in: bytes)[0].map { String(decoding: bytes[$0], as: UTF8.self) }
    }

    @Test func aMembersBytesAreFoundAsTheyStand() throws {
        #expect(try member("p", of: #"{"e":"x","p": {"b" : 1.50, "a":[ ]}  }"#) == #"{"b" : 1.50, "a":[ ]}"#)
        #expect(try member("p", of: "\t{ \"p\"\r:\n1e400 , \"q\":2}") == "1e400")
        #expect(try member("p", of: #"{"p":"\u00e9\/é"}"#) == #""\u00e9\/é""#)
        #expect(try member("p", of: #"{"p":null}"#) == "null")
        #expect(try member("p", of: #"{"q":{"p":1},"r":[{"p":2}]}"#) == nil)
        #expect(try member("p", of: "{}") == nil)
        #expect(try member("p", of: #"{"P":1,"pp":2,"":3}"#) == nil)
    }

    @Test func namesMayHaveEscapes() throws {
        #expect(try member("payload", of: #"{"pay\u006Coad":1}"#) == "1")
        #expect(try member("a\"b\\c/d\n", of: #"{"a\"b\\c\/d\n":1}"#) == "1")
        #expect(try member("😀", of: #"{"\ud83d\uDE00":1}"#) == "1")
        #expect(try member("é", of: #"{"\u00e9":1}"#) == "1")
        #expect(try member("payload", of: #"{"\uD800":0,"payload":1}"#) == "1")
    }

    @Test func aNameThatStandsTwiceIsRefused() {
        #expect(throws: JSONScanner.Failure(reason: .twice("p"), offset: 8)) {
            try member("p", of: #"{"p":1,"p":2}"#)
        }
        #expect(throws: JSONScanner.Failure.self) { try member("p", of: #"{"p":1,"\u0070":2}"#) }
        // one that nobody asked for is the receiver's affair
        #expect(throws: Never.self) { try member("p", of: #"{"p":1,"q":2,"q":3}"#) }
    }

    @Test func stringsAreUnescaped() {
        func text(_ json: String) -> String? { JSONScanner.string(Array(json.utf8)[...]) }
        #expect(text(#""push""#) == "push")
        #expect(text(#""a\"\\\/\b\f\n\r\t\u0041\u00e9é\ud83d\ude00z""#) == "a\"\\/\u{8}\u{C}\n\r\tAéé😀z")
        #expect(text(#""\ud800""#) == nil)
        #expect(text(#""\ud800\u0041""#) == nil)
        #expect(text(#""\ude00""#) == nil)
        #expect(text("1") == nil)
        #expect(text("\"\"") == "")
    }
}
