// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import PostgresClient
import Testing

@testable import OutboxCommand

/// `outbox adopt`, and what the other commands say in a copy.
@Suite struct AdoptTests {
    /// A copy with two tasks that may run, one that waits, and a dead letter.
    private func withCopy(_ body: (TestDatabase) async throws -> Void) async throws {
        try await TestDatabase.copied { copy in
            // a copy takes tasks as the original does
            for arguments in [["a.b"], ["a.b"], ["a.b", "--delay", "1h"]] {
                #expect(try await copy.outbox(["enqueue"] + arguments).status == 0)
            }
            try await copy.die()
            try await body(copy)
        }
    }

    @Test func withoutAChoiceItShowsWhatThereIsAndChangesNothing() async throws {
        try await withCopy { copy in
            let shown = try await copy.outbox("adopt")
            #expect(shown.status == 2)
            #expect(shown.lines[0].hasPrefix("tasks belong to  outbox_test_") && shown.lines[0].contains(", since "))
            #expect(shown.lines[1].hasPrefix("this is          outbox_test_") && shown.lines[1].contains("(oid "))
            #expect(
                shown.output.contains(
                    "\nready            2\nrunning          0\nwaiting          1\ndead letters     1 open\n"))
            #expect(shown.errors.hasPrefix("outbox: nothing is changed: say what becomes of the tasks\n"))
            #expect(shown.errors.contains("--bury") && shown.errors.contains("--deliver"))
            let object = try json(await copy.outbox("adopt", "--json"))
            #expect(object["belongs_here"] as? Bool == false && object["waiting"] as? Int == 1)
            #expect(((object["home"] as? [String: Any])?["cluster"] as? String).flatMap(Int64.init) != nil)
            #expect(try await copy.outbox("adopt", "--bury", "--deliver").status == 64)
        }
    }

    @Test func aSidecarEndsWithTheCommandsToChooseFrom() async throws {
        try await withCopy { copy in
            let ended = try await copy.outbox("run", environment: ["OUTBOX_ENDPOINT_URL": "http://127.0.0.1:9/"])
            #expect(ended.status == 78)
            #expect(ended.errors.contains("\noutbox: the tasks belong to the database outbox_test_"))
            #expect(
                ended.errors.contains("\n  hint: if this is a copy, such as a restored dump: outbox adopt --bury makes")
            )
            #expect(try await copy.count("SELECT count(*) FROM outbox.relays") == 0)
        }
    }

    @Test func deliverKeepsTheTasks() async throws {
        try await withCopy { copy in
            let adopted = try await copy.outbox("adopt", "--deliver", "--who", "ann")
            #expect(adopted.status == 0)
            #expect(adopted.lines.last == "adopted: 3 tasks to run from here")
            #expect(try await copy.count("SELECT count(*) FROM outbox.tasks") == 3)
            let again = try await copy.outbox("adopt")
            #expect(again.status == 0)
            #expect(again.lines[0].hasPrefix("tasks belong to  here, since ") && again.lines[0].hasSuffix(" by ann"))
            #expect(again.lines.last == "the tasks belong here: nothing to adopt")
            #expect(try await copy.outbox("adopt", "--deliver").status == 0)
            let refused = try await copy.outbox("adopt", "--bury")
            #expect(refused.status == 2)
            #expect(refused.errors.contains("so none was buried"))
            #expect(try await copy.count("SELECT count(*) FROM outbox.tasks") == 3)
        }
    }

    @Test func buryCountsThemAndReplayTakesItBack() async throws {
        try await withCopy { copy in
            let adopted = try await copy.outbox("adopt", "--bury")
            #expect(adopted.status == 0)
            #expect(adopted.lines.last == "adopted: 3 tasks buried; see outbox dead list --reason restored")
            #expect(try await copy.outbox("dead", "list", "--reason", "restored").lines.count == 4)
            #expect(try await copy.count("SELECT count(*) FROM outbox.tasks") == 0)
            let back = try await copy.outbox("dead", "replay", "--reason", "restored")
            #expect(back.output.hasPrefix("replayed 3 dead letters"))
            #expect(try await copy.count("SELECT count(*) FROM outbox.ready") == 3)
        }
    }

    @Test func statusAndMigrateSayThatNothingRuns() async throws {
        try await withCopy { copy in
            let warning = "no relay runs tasks here: they belong to the database outbox_test_"
            #expect(try await copy.outbox("status").lines[1].hasPrefix(warning))
            #expect(try await copy.outbox("migrate").lines.last?.hasPrefix(warning) == true)
            #expect(try json(await copy.outbox("status", "--json"))["belongs_here"] as? Bool == false)
            #expect(try json(await copy.outbox("migrate", "--json"))["belongs_here"] as? Bool == false)
            try await copy.adopt()
            #expect(try await !copy.outbox("status").output.contains("no relay runs"))
            #expect(try json(await copy.outbox("status", "--json"))["belongs_here"] as? Bool == true)
        }
    }

    private func json(_ result: OutboxBinary.Result) throws -> [String: Any] {
        try #require(try JSONSerialization.jsonObject(with: Data(result.bytes)) as? [String: Any])
    }
}
