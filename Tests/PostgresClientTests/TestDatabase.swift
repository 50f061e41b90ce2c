// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import OutboxTesting
@testable import PostgresClient
import Synchronization
import Testing

/// Runs a test's body on a database of its own.
func withDatabase(
    _ change: (inout DatabaseConfiguration) -> Void = { _ in },
    _ body: (Database) async throws -> Void
) async throws {
    var configuration = try await ThrowAwayPostgres.shared().makeDatabase()
    change(&configuration)
    let database = Database(configuration)
    do {
        try await body(database)
    } catch {
        await database.close()
        throw error
    }
    await database.close()
}

/// The error that a call throws; a call that throws none, or one that is not ours, fails the test.
func failure<R>(
    _ body: () async throws -> R, sourceLocation: SourceLocation = #_sourceLocation
) async throws -> PostgresError {
    var found: PostgresError?
    do {
        _ = try await body()
    } catch let error as PostgresError {
        found = error
    }
    return try #require(found, "no error was thrown", sourceLocation: sourceLocation)
}

/// Waits until `condition` holds, asking the scheduler rather than a clock; a limit keeps a broken test from hanging.
func eventually(
    _ condition: () async throws -> Bool, sourceLocation: SourceLocation = #_sourceLocation
) async throws {
    let limit = ContinuousClock.now + .seconds(20)
    while ContinuousClock.now < limit {
        if try await condition() { return }
        await Task.yield()
    }
    Issue.record("the condition did not come true", sourceLocation: sourceLocation)
}

/// Collects values from several tasks.
final class Recorder<Value: Sendable>: Sendable {
    private let recorded = Mutex<[Value]>([])

    var values: [Value] { recorded.withLock { $0 } }

    func record(_ value: Value) {
        recorded.withLock { $0.append(value) }
    }
}
