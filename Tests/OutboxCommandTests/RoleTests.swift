// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import PostgresClient
import Testing

@testable import OutboxCommand

/// With the roles of migrations/roles.sql, each command needs no more than the role that is for it.
@Suite(.serialized) struct RoleTests {
    private func withRoles(_ body: (TestDatabase) async throws -> Void) async throws {
        try await TestDatabase.migrated { database in
            let file = URL(fileURLWithPath: #filePath).appendingPathComponent("../../../migrations/roles.sql")
                .standardized
            let connection = try await database.database.connect()
            try await connection.runScript(try String(contentsOf: file, encoding: .utf8))
            await connection.close()
            try await body(database)
        }
    }

    private func run(_ arguments: [String], as role: String, _ database: TestDatabase) async throws
        -> OutboxBinary.Result
    {
        try await database.outbox(arguments, environment: ["PGOPTIONS": "-c role=\(role)"])
    }

    @Test func aProducerEnqueuesAndNoMore() async throws {
        try await withRoles { database in
            for arguments in [["enqueue", "a.b"], ["enqueue", "--file", "-", "--kind", "a.b"]] {
                let result = try await run(arguments, as: "outbox_producer", database)
                #expect(result.status == 0, "\(arguments): \(result.errors)")
            }
            for arguments in [["dead"], ["tasks"], ["status"], ["dead", "replay", "1"]] {
                let result = try await run(arguments, as: "outbox_producer", database)
                #expect(result.status == 1, "\(arguments)")
                #expect(result.errors.contains("grant the role"))
            }
        }
    }

    @Test func anOperatorLooksReplaysDiscardsAndCancels() async throws {
        try await withRoles { database in
            try await database.die(count: 3)
            let id = try await database.outbox("enqueue", "a.b").lines[0]
            for arguments in [
                ["status"], ["dead", "list", "--all"], ["dead", "show", "1"], ["dead", "show", "1", "--raw"],
                ["dead", "replay", "1"], ["dead", "discard", "2", "--reason", "test"], ["dead", "replay", "--all"],
                ["adopt"], ["adopt", "--deliver"], ["tasks", "list"], ["tasks", "show", id], ["tasks", "cancel", id],
                ["migrate", "status"],
            ] {
                let result = try await run(arguments, as: "outbox_operator", database)
                #expect(result.status == 0, "\(arguments): \(result.errors)")
            }
            let migrate = try await run(["migrate", "down"], as: "outbox_operator", database)
            #expect(migrate.status == 1)
            #expect(migrate.errors.contains("as the owner of the schema"))
        }
    }

    @Test func theSidecarRunsAsARelay() async throws {
        try await withRoles { database in
            let running = try OutboxBinary.Running(
                ["run"], database: database,
                environment: ["OUTBOX_ENDPOINT_URL": "http://127.0.0.1:9/", "PGOPTIONS": "-c role=outbox_relay"])
            await running.errors(until: "relay started")
            running.signal(15)
            let result = await running.result()
            #expect(result.status == 0, "\(result.errors)")
            #expect(!result.errors.contains("permission denied"))
        }
    }
}
