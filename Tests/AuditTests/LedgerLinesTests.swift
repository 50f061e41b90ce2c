// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import OutboxAudit
import Testing

/// Ledgers as lines of JSON.
@Suite struct LedgerLinesTests {
    private var ledgers: Ledgers {
        var ledgers = Ledgers()
        ledgers.commits = [
            .init(task: "a", key: "order \"42\"\\\n", payload: "9f", orderingKey: "c7", at: 1),
            .init(task: "b", at: -2),
        ]
        ledgers.effects = [
            .init(
                task: "a", key: "order \"42\"\\\n", payload: "9f", attempt: 1, by: "r1", start: 10, end: 20,
                outcome: .succeeded),
            .init(task: "b", attempt: 7, by: "r2", start: 11, isDeaf: true),
            .init(task: "b", attempt: 8, by: "r2", start: 12, end: 13),
        ]
        ledgers.pauses = [.init(by: "r1", from: 5, until: 6)]
        ledgers.remainders = [
            .init(task: "b", .waiting), .init(task: "b", .running),
            .init(task: "a", .dead(reason: "exhausted", attempt: 3, at: 9)),
            .init(task: "a", .dead(reason: "rejected", attempt: 3)),
        ]
        return ledgers
    }

    @Test func theyComeBackAsTheyWere() throws {
        var read = Ledgers()
        try read.read(ledgers.lines)
        #expect(read == ledgers)
    }

    @Test func whatManyProcessesWroteIsReadFileByFile() throws {
        var read = Ledgers()
        try read.read(
            """
            {"ledger":"began","task":"a","attempt":1,"by":"r1","at":10}
            {"ledger": "ended", "task": "a", "attempt": 1, "by": "r1", "at": 20, "outcome": "failed", "more": null}

            {"ledger":"began","task":"a","attempt":2,"by":"r1","at":30}
            {"ledger":"end
            """)
        try read.read("{\"ledger\":\"committed\",\"task\":\"a\",\"at\":1}\n")
        #expect(read.effects.map(\.end) == [20, nil], "a line that was cut off tells nothing")
        #expect(read.effects.map(\.outcome) == [.failed, nil])
        #expect(read.commits.map(\.key) == ["a"])
    }

    @Test(
        arguments: [
            "{}", "[]", "{\"ledger\":\"other\",\"task\":\"a\"}", "{\"ledger\":\"committed\",\"task\":\"a\"}",
            "nonsense",
            "{\"ledger\":\"ended\",\"task\":\"a\",\"attempt\":1,\"by\":\"r\",\"at\":1}",
        ]) func aLineThatSaysNothingIsRefused(line: String)
    {
        var read = Ledgers()
        let error = #expect(throws: Ledgers.InvalidLine.self) {
            try read.read("{\"ledger\":\"waiting\",\"task\":\"a\"}\n\(line)\n")
        }
        #expect(error?.number == 2)
        #expect(error?.text == line)
    }
}
