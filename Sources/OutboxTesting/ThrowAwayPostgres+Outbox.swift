// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import OutboxMigrations
public import PostgresClient

extension ThrowAwayPostgres {
    /// Creates a database with the outbox's migrations applied, in about 20 milliseconds.
    public func makeOutbox() async throws -> DatabaseConfiguration {
        let template = try await template("outbox") { configuration in
            let database = Database(configuration)
            do {
                for migration in Migration.all {
                    try await database.withConnection { try await $0.runScript(migration.up, timeout: .seconds(30)) }
                }
            } catch {
                await database.close()
                throw error
            }
            await database.close()
        }
        let configuration = try await makeDatabase(template: template)
        // the template's tasks, of which there are none, belong to the template
        let copy = try await Connection.connect(configuration)
        do {
            try await copy.run(["SELECT outbox.adopt('deliver')"], timeout: .seconds(30))
        } catch {
            await copy.close()
            throw error
        }
        await copy.close()
        return configuration
    }
}
