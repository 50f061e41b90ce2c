// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import OutboxAudit
import OutboxTesting
import PostgresClient

extension Scenario {
    /// A dump is taken while relays work, and restored twice: beside the original, and on another server.
    static let restored = Scenario(
        name: "restored",
        summary: "a dump that is restored elsewhere runs nothing there until somebody says what becomes of its tasks",
        obstacle: {
            ["pg_dump", "psql"].first { ServerTools.path($0) == nil }.map { "there is no \($0)" }
        }
    ) { stage in
        var settings = Fleet.Settings()
        (settings.lease, settings.sweep) = (2, 0.5)
        let server = try await ThrowAwayPostgres.start()
        let copies = Locked<[Copy]>([])
        let refused = Locked<[String]>([])
        let started = Locked<[Fleet]>([])
        var (outcome, _, _, fleet) = try await under(
            stage, settings: settings, load: { ($0.longest, $0.failsOneIn) = (400, 4) }
        ) { fleet, _ in
            try await stage.pause(stage.seconds(5, short: 2))
            let dump = "\(stage.directory)/dump.sql"
            try await run(stage, "pg_dump", "-d", stage.url, "-f", dump)
            stage.fault()
            copies.append(try await Copy(stage, dump, on: stage.cluster))
            copies.append(try await Copy(stage, dump, on: server))
            for (number, copy) in copies.value.enumerated() {
                // the original goes on meanwhile, and what waits in the copy is done
                let stray = try copy.relays(stage, prefix: "stray\(number)-", fleet)
                for index in 0..<stray.count { _ = try await stray[index].child?.ended(within: 20) }
                refused.withLock { $0 += stray.ended }
                started.append(stray)
            }
            try await stage.pause(stage.seconds(3, short: 1))
            return 0
        }
        outcome.check("relays of the original that ended", fleet.ended.isEmpty, fleet.ended)
        outcome.check("relays that ended at a copy", refused.value.count == 4, refused.value)
        let (moved, staging) = (copies.value[0], copies.value[1])
        outcome.check("tasks waited in the copy", moved.tasks.count > 0, moved.tasks.count)
        outcome.check("some of them were running", moved.running > 0, moved.running)
        for copy in copies.value {
            let touched = try await copy.tasks() != copy.tasks
            outcome.check("tasks of the copy that were touched", !touched, touched ? 1 : 0)
        }
        let early = try await Books(stage).ledgers.effects.count { $0.by.hasPrefix("stray") }
        outcome.check("effects from a copy", early == 0, early)

        // one takes the original's place, the other is for staging
        try await run(stage, Children.outbox, "adopt", "--deliver", "--database", moved.url)
        try await run(stage, Children.outbox, "adopt", "--bury", "--database", staging.url)
        let letters = try await staging.count("SELECT count(*) FROM outbox.dead WHERE reason = 'restored'")
        outcome.check("tasks that were buried", letters == staging.tasks.count, letters)
        let fleets = [
            try moved.relays(stage, prefix: "moved-", fleet), try staging.relays(stage, prefix: "staging-", fleet),
        ]
        let isDrained = try await stage.eventually(within: 60) { try await moved.tasks().isEmpty }
        outcome.check("the copy that was adopted is drained", isDrained, isDrained)
        outcome.check("relays that ended after that", fleets.allSatisfy(\.ended.isEmpty), fleets.map(\.ended))
        let effects = try await Books(stage).ledgers.effects
        let buried = effects.count { $0.by.hasPrefix("staging") }
        outcome.check("effects of what was buried", buried == 0, buried)
        let again = effects.filter { $0.by.hasPrefix("moved") }
        let done = Dictionary(grouping: again, by: \.task)
        outcome.check("tasks of the copy that were done", Set(done.keys) == Set(moved.tasks.keys), done.count)
        let odd = again.filter { effect in
            guard let task = moved.tasks[effect.task] else { return true }
            return effect.key != task.key || effect.payload != task.payload || effect.attempt <= task.attempt
        }
        outcome.check("with another key, payload or an attempt that was had", odd.isEmpty, odd.count)
        for copy in copies.value { await copy.database.close() }
        return outcome
    }

    private static func run(_ stage: Stage, _ program: String, _ arguments: String...) async throws {
        let name = (program as NSString).lastPathComponent
        let child = try stage.children.start(name, [ServerTools.path(program) ?? program] + arguments)
        guard try await child.ended(within: 60) == 0 else { throw StormError("\(name) failed") }
    }

    /// A database into which a dump of the stage's own was restored.
    private struct Copy: Sendable {
        struct Task: Sendable, Equatable {
            let key: String
            let payload: String
            let attempt: Int
        }

        let url: String
        let database: Database
        /// What waited and ran in it when it was restored.
        private(set) var tasks: [String: Task] = [:]
        private(set) var running = 0

        init(_ stage: Stage, _ dump: String, on server: ThrowAwayPostgres) async throws {
            let configuration = try await server.makeDatabase()
            url = server.url(database: configuration.parameters["dbname"] ?? "")
            database = Database(configuration)
            try await Scenario.run(stage, "psql", "-q", "-v", "ON_ERROR_STOP=1", "-d", url, "-f", dump)
            tasks = try await tasks()
            running = try await count("SELECT count(*) FROM outbox.ready WHERE relay IS NOT NULL")
        }

        func tasks() async throws -> [String: Task] {
            let rows = try await database.query(
                """
                SELECT t.id::text, t.idempotency_key, b.payload, t.attempt FROM outbox.tasks t JOIN business b ON b.task = t.id
                """)
            var tasks: [String: Task] = [:]
            for row in rows {
                tasks[try row.decode(String.self, at: 0)] = Task(
                    key: try row.decode(at: 1), payload: try row.decode(at: 2), attempt: try row.decode(at: 3))
            }
            return tasks
        }

        func count(_ statement: Statement) async throws -> Int {
            try await database.query(statement)[0].decode(Int.self, at: 0)
        }

        /// Starts a relay of either sort here.
        func relays(_ stage: Stage, prefix: String, _ model: Fleet) throws -> Fleet {
            var settings = model.settings
            settings.prefix = prefix
            return try Fleet(stage, sidecars: 1, handlers: 1, receiver: model.receiver, url: url, settings: settings)
        }
    }
}
