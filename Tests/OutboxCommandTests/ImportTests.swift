// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import Outbox
import Synchronization
import Testing

@testable import OutboxCommand

/// The import without a database: what is written in which batch, what stops it, and what it says then.
@Suite struct ImportTests {
    private final class Log: Sendable {
        private let batches = Mutex<[[String]]>([])
        var written: [[String]] { batches.withLock { $0 } }
        func note(_ batch: Import.Batch) {
            batches.withLock { $0.append(batch.map { String(decoding: $0.payload, as: UTF8.self) }) }
        }
    }

    private func run(
        _ text: String, rules: LineRules = LineRules(kind: .fixed("a.b"), payloadField: nil), batch: Int = 2,
        from line: Int = 1,
        batchBytes: Int = 8 << 20, endings: [Import.Ending] = [],
        stopsAfterFirstBatch: Bool = false
    ) async throws -> (Import.Progress, [[String]], Problem?) {
        try await withDirectory { directory in
            let file = directory.appendingPathComponent("lines")
            try Data(text.utf8).write(to: file)
            let log = Log()
            var progress = Import.Progress()
            var run = Import(rules: rules, batch: batch, firstLine: line) { batch in
                let number = log.written.count
                log.note(batch)
                return number < endings.count ? endings[number] : .committed
            }
            run.batchBytes = batchBytes
            run.isStopped = { stopsAfterFirstBatch && !log.written.isEmpty }
            do {
                progress = try await run.run(try LineReader(path: file.path))
            } catch let problem as Problem {
                return (progress, log.written, problem)
            }
            return (progress, log.written, nil)
        }
    }

    @Test func linesBecomeTasksInBatches() async throws {
        let (progress, written, problem) = try await run("{\"a\":1}\n\n{\"a\":2}\r\n \t\n{\"a\":3}")
        #expect(problem == nil)
        #expect(written == [["{\"a\":1}", "{\"a\":2}"], ["{\"a\":3}"]])
        #expect(progress == Import.Progress(lines: 5, tasks: 3, bytes: 21))
    }

    @Test func anEmptyFileIsNoTasks() async throws {
        for text in ["", "\n", "\n\n \n"] {
            let (progress, written, problem) = try await run(text)
            #expect(problem == nil && written.isEmpty && progress.tasks == 0)
        }
    }

    @Test func aBatchOfLargePayloadsIsSmaller() async throws {
        let line = "{\"a\":\"\(String(repeating: "x", count: 1000))\"}\n"
        let (_, written, _) = try await run(String(repeating: line, count: 5), batch: 100, batchBytes: 1500)
        #expect(written.map(\.count) == [2, 2, 1])
    }

    @Test func aBadLineStopsItAndNothingOfItsBatchIsWritten() async throws {
        let (_, written, problem) = try await run("{\"a\":1}\n{\"a\":2}\n{\"a\":3}\nbroken\n{\"a\":5}\n")
        #expect(written == [["{\"a\":1}", "{\"a\":2}"]])
        #expect(problem?.status == .failed)
        #expect(
            problem?.message
                == "line 4 is not JSON: b cannot stand here (byte 1); lines 1 to 2 are enqueued (2 tasks), nothing after them"
        )
        #expect(
            problem?.hint == "write one JSON object a line, each on a single line, then go on with --from-line 3")
    }

    @Test func itGoesOnWhereItIsTold() async throws {
        let (progress, written, problem) = try await run("broken\n{\"a\":2}\n{\"a\":3}\n", from: 2)
        #expect(problem == nil)
        #expect(written == [["{\"a\":2}", "{\"a\":3}"]])
        #expect(progress.lines == 3 && progress.tasks == 2)
        let (_, _, failed) = try await run("{\"a\":1}\n{\"a\":2}\nbroken\n", from: 2)
        #expect(failed?.hint?.hasSuffix("--from-line 2") == true)
        #expect(failed?.message.hasSuffix("nothing was enqueued") == true)
    }

    @Test func aCommitWithoutAnAnswerIsReportedWithItsLines() async throws {
        let text = "{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n{\"a\":4}\n{\"a\":5}\n"
        let (_, aborted, first) = try await run(text, endings: [.committed, .aborted])
        #expect(aborted.count == 2)
        #expect(first?.status == .unavailable)
        #expect(
            first?.message.hasPrefix(
                "lines 3 to 4: the connection was lost at COMMIT, and nothing of them is written") == true)
        #expect(first?.hint == "go on with --from-line 3")
        let (_, _, second) = try await run(text, endings: [.committed, .unknown(transaction: 815)])
        #expect(second?.message.contains("lines 3 to 4: the answer to COMMIT of transaction 815 was lost") == true)
        #expect(second?.message.contains("lines 1 to 2 are enqueued (2 tasks)") == true)
        #expect(second?.hint?.contains("pg_xact_status('815')") == true)
        #expect(second?.hint?.contains("--from-line 5") == true && second?.hint?.contains("--from-line 3") == true)
    }

    @Test func whoeverInterruptsItLearnsWhereItStopped() async throws {
        let (_, written, problem) = try await run("{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n", stopsAfterFirstBatch: true)
        #expect(written.count == 1)
        #expect(problem?.status == .incomplete)
        #expect(problem?.message == "stopped: lines 1 to 2 are enqueued (2 tasks), nothing after them")
        #expect(problem?.hint == "go on with --from-line 3")
    }

    @Test func aLineWithoutEndIsRefused() async throws {
        let (_, written, problem) = try await run(
            "{\"a\":1}\n{\"a\":\"" + String(repeating: "x", count: 17 << 20), batch: 1)
        #expect(written.count == 1)
        #expect(
            problem?.message.hasPrefix("line 2 is longer than 16 MiB; lines 1 to 1 are enqueued (1 task)") == true)
    }

    @Test func kindAndPayloadComeFromMembers() throws {
        let rules = LineRules(kind: .field("event", prefix: "github."), payloadField: "payload")
        func task(_ line: String) throws -> (String, String) {
            let task = try rules.task(of: Array(line.utf8))
            return (task.kind, String(decoding: task.payload, as: UTF8.self))
        }
        #expect(try task(#"{"event":"push","payload":{"a" : 1.0}}"#) == ("github.push", #"{"a" : 1.0}"#))
        #expect(try task(#"{"payload":"x\u00e9", "event":"pu\u0073h"}"#) == ("github.push", #""x\u00e9""#))
        func refusal(_ line: String) -> String? {
            do { _ = try rules.task(of: Array(line.utf8)) } catch { return error.message }
            return nil
        }
        #expect(refusal(#"{"event":1,"payload":1}"#) == "has a member event that is not a string")
        #expect(refusal(#"{"payload":1}"#) == "has no member event")
        #expect(refusal(#"{"event":"a"}"#) == "has no member payload")
        #expect(refusal(#"{"event":"a b","payload":1}"#) == "names no kind: github.a b")
        #expect(refusal(#"{"event":"a\u0000","payload":1}"#) == "names no kind: github.a\\u{0}")
        #expect(refusal(#"{"event":"\ud800","payload":1}"#) == "has a member event that is not a string")
        #expect(refusal(#"["event"]"#) == "is not a JSON object")
        #expect(refusal(#"{"event":"a","event":"b","payload":1}"#) == "has the member event twice (byte 15)")
    }

    @Test func thePayloadHasALimit() throws {
        let rules = LineRules(kind: .fixed("a"), payloadField: nil)
        func line(_ count: Int) -> [UInt8] {
            Array("{\"a\":\"\(String(repeating: "x", count: count - 8))\"}".utf8)
        }
        #expect(try rules.task(of: line(1 << 20)).payload.count == 1 << 20)
        #expect(throws: LineRules.Refusal.self) { try rules.task(of: line(1 << 20 + 1)) }
    }
}
