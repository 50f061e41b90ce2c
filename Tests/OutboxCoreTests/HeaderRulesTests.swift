// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import OutboxCore
import Testing

@Suite struct HeaderRulesTests {
    @Test func acceptsOrdinaryHeaders() {
        let headers = [("X-Tenant", "7"), ("Authorization", "Bearer a.b-c~d"), ("empty", ""), ("tabs", "a\tb c")]
        #expect(HeaderRules.problem(in: headers.map { (name: $0.0, value: $0.1) }) == nil)
        #expect(HeaderRules.problem(in: []) == nil)
    }

    @Test(arguments: [
        "Host", "content-length", "Content-Type", "Transfer-Encoding", "connection", "TE", "trailer", "Upgrade",
        "Expect", "keep-alive", "Proxy-Authorization", "proxy-connection", "USER-AGENT", "webhook-id",
        "Webhook-Signature", "Idempotency-Key", "ce-id", "traceparent", "tracestate", "baggage", "outbox-attempt",
        "X-Forwarded-For", "Forwarded", "Accept-Encoding",
    ])
    func refusesReservedNames(name: String) throws {
        let problem = try #require(HeaderRules.problem(in: [(name: name, value: "x")]))
        #expect(problem.contains("\"\(name)\"") && problem.contains("reserved"))
    }

    @Test(arguments: ["", "a b", "a:b", "a\r\nb", "ä", "a\0", "(a)", "a\"b", "a/b"])
    func refusesNamesThatAreNoTokens(name: String) throws {
        let problem = try #require(HeaderRules.problem(in: [(name: name, value: "x")]))
        #expect(problem.contains("token") && !problem.utf8.contains(where: { $0 < 0x20 }))
    }

    @Test(arguments: ["a\r\nHost: evil", "a\nb", "a\rb", "a\0b", "é", "\u{7F}", "\u{1B}"])
    func refusesValuesThatCouldEndTheirLine(value: String) throws {
        let problem = try #require(HeaderRules.problem(in: [(name: "x-note", value: value)]))
        #expect(problem.contains("\"x-note\""))
        #expect(!problem.contains("evil"), "A message must not hold a value.")
    }

    @Test func refusesOneNameTwice() {
        let problem = HeaderRules.problem(in: [(name: "x-a", value: "1"), (name: "X-A", value: "2")])
        #expect(problem?.contains("twice") == true)
    }

    @Test func countsNamesAndValuesTogether() {
        let fits = [(name: "x-a", value: String(repeating: "v", count: 4093))]
        #expect(HeaderRules.problem(in: fits) == nil)
        #expect(HeaderRules.problem(in: fits + [(name: "b", value: "")])?.contains("4097 bytes") == true)
    }

    /// Vectors from https://github.com/httpwg/structured-field-tests (string.json), serialised.
    @Test(arguments: [
        ("foo bar", #""foo bar""#), ("", #""""#), ("   ", #""   ""#), (#"b"a\r"#, #""b\"a\\r""#), ("~!", #""~!""#),
        ("8e03978e-40d5-43e8-bc93-6894a57f9324", #""8e03978e-40d5-43e8-bc93-6894a57f9324""#),
    ])
    func serialisesStructuredStrings(text: String, field: String) {
        #expect(StructuredField.string(text) == field)
    }

    @Test func refusesWhatAStructuredStringCannotCarry() {
        for scalar in 0...0xFF where !(0x20...0x7E).contains(scalar) {
            #expect(StructuredField.string("a\(Character(Unicode.Scalar(UInt8(scalar))))") == nil)
        }
        #expect(StructuredField.string("füü") == nil)
    }
}
