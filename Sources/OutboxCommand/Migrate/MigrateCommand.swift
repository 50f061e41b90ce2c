// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import ArgumentParser
internal import Outbox
internal import OutboxCore
internal import OutboxMigrations

/// `outbox migrate`: makes and changes the schema.
struct Migrate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make the database's schema, or bring it up to date.",
        discussion: """
            Without a subcommand it applies what is missing. Several may run at once, and
            psql with the same scripts may be mixed with it: each migration records itself.

              outbox migrate
              outbox migrate status
              outbox migrate print | psql "$DATABASE_URL"
            """,
        subcommands: [Up.self, Status.self, Down.self, Print.self],
        defaultSubcommand: Up.self
    )

    struct Up: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Apply what is missing. The default.",
            usage: "outbox migrate [up] [<options>]",
            discussion: """
                  outbox migrate --database postgresql://owner@db/shop
                """)

        @OptionGroup(title: "Database options") var options: DatabaseOptions
        @OptionGroup var output: OutputOptions

        func run() async throws {
            try await options.withSession(checked: false) { session in
                let migrator = Migrator(session)
                let applied = try await migrator.up()
                let version = migrator.latest
                let origin = try TaskOrigin(await session.database.query(TaskOrigin.statement(session.schema))[0])
                guard !output.json else {
                    return printJSON { json in
                        json.object { json in
                            json.member("schema", session.schema.name)
                            json.member("version", version)
                            json.member("belongs_here", origin.isHere)
                            json.member("applied") {
                                $0.array { json in for value in applied { json.value(value.fileName) } }
                            }
                        }
                    }
                }
                for migration in applied { say("applied \(migration.fileName)") }
                say(
                    "schema \(session.schema) is at version \(version)"
                        + (applied.isEmpty ? ", nothing to do" : ""))
                if let warning = origin.warning { say(printable(warning)) }
            }
        }
    }

    struct Status: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show which migrations are applied.",
            usage: "outbox migrate status [<options>]",
            discussion: "Exits with 2 while one is missing, so that a deployment can wait for it.")

        @OptionGroup(title: "Database options") var options: DatabaseOptions
        @OptionGroup var output: OutputOptions

        func run() async throws {
            let isComplete = try await options.withSession(checked: false) { session in
                let applied = try await Migrator(session).applied()
                let rows = Migration.all.map { migration in
                    (migration, applied.first { $0.version == migration.version })
                }
                if output.json {
                    printJSON { json in
                        json.array { json in
                            for (migration, row) in rows {
                                json.object { json in
                                    json.member("version", migration.version)
                                    json.member("name", migration.name)
                                    json.member("applied_at", row?.at.rfc3339)
                                    json.member("applied_by", row?.by)
                                }
                            }
                        }
                    }
                } else {
                    var table = Table("MIGRATION", "APPLIED AT", "BY")
                    for (migration, row) in rows {
                        table.add(migration.fileName, row?.at.shown ?? "missing", row?.by ?? "")
                    }
                    Terminal.output.write(table.text)
                }
                return applied.count == Migration.all.count
            }
            guard isComplete else { throw ExitCode(ExitStatus.incomplete.rawValue) }
        }
    }

    struct Down: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Undo the latest migration, one at a time.",
            usage: "outbox migrate down [--force] [<options>]",
            discussion: """
                The first one removes the tables. It refuses while there are tasks or open dead
                letters, unless --force says to lose them.
                """)

        @OptionGroup(title: "Database options") var options: DatabaseOptions
        @Flag(help: "Undo it although tasks or open dead letters are lost with it.")
        var force = false

        func run() async throws {
            try await options.withSession(checked: false) { session in
                guard let migration = try await Migrator(session).down(force: force) else {
                    throw Problem(.incomplete, "the schema \(session.schema) has no migration to undo")
                }
                say("undid \(migration.fileName)")
            }
        }
    }

    struct Print: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print the SQL instead of running it.",
            usage: "outbox migrate print [--down] [--from <version>] [--schema <name>]",
            discussion: """
                For those who review what they run, or have only psql. No database is needed.

                  outbox migrate print | psql -v ON_ERROR_STOP=1 "$DATABASE_URL"
                  outbox migrate print --from 4
                """)

        @OptionGroup(title: "Database options") var options: DatabaseOptions
        @Flag(help: "Print the scripts that undo, latest first.")
        var down = false
        @Option(help: ArgumentHelp("Print from this version on: up from it, or down to it.", valueName: "version"))
        var from = 1

        func run() async throws {
            let schema = try options.settings().schema.name
            let migrations = Migration.all.filter { $0.version >= from }
            guard !migrations.isEmpty else {
                throw Problem(
                    .incomplete, "there is no migration \(from)", hint: "the latest is \(Migration.all.count)")
            }
            for migration in down ? migrations.reversed() : migrations {
                Terminal.output.write(
                    Migration.script(down ? migration.down : migration.up, forSchema: schema) + "\n")
            }
        }
    }
}
