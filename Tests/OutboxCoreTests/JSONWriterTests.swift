// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import OutboxCore
import Testing

@Suite struct JSONWriterTests {
    @Test func separatesMembersAndElements() {
        var json = JSONWriter()
        json.object {
            $0.member("a", 1)
            $0.member("b") {
                $0.array {
                    $0.value(1)
                    $0.value("x")
                    $0.null()
                    $0.object { _ in }
                    $0.array { _ in }
                }
            }
            $0.member("c") {
                $0.object {
                    $0.member("d", true)
                    $0.member("e", nil as String?)
                }
            }
            $0.member("f", nil as Int?)
            $0.member("g") { $0.raw(#"{"raw":[1]}"#.utf8) }
            $0.member("h", "end")
        }
        #expect(
            json.text
                == #"{"a":1,"b":[1,"x",null,{},[]],"c":{"d":true,"e":null},"f":null,"g":{"raw":[1]},"h":"end"}"#)
    }

    @Test(arguments: [
        ("", #""""#), (#"a"b\c/"#, #""a\"b\\c/""#), ("\u{8}\t\n\u{C}\r", #""\b\t\n\f\r""#),
        ("\0\u{1}\u{1F}\u{7F}", "\"\\u0000\\u0001\\u001f\u{7F}\""), ("é€😀\u{2028}", "\"é€😀\u{2028}\""),
        ("e\u{301}\r\n", "\"e\u{301}\\r\\n\""),
    ])
    func escapesWhatMustBeAndNothingElse(text: String, expected: String) {
        var json = JSONWriter()
        json.value(text)
        #expect(json.bytes == Array(expected.utf8))
    }

    @Test func writesNumbers() {
        var json = JSONWriter()
        json.array {
            $0.value(Int64.min)
            $0.value(UInt64.max)
            $0.value(0.1)
            $0.value(1e300)
            $0.value(Double.leastNonzeroMagnitude)
            $0.value(-0.0)
            $0.value(Double.infinity)
            $0.value(Double.nan)
        }
        #expect(json.text == "[-9223372036854775808,18446744073709551615,0.1,1e+300,5e-324,-0.0,null,null]")
    }
}
