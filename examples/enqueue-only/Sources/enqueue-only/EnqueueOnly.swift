// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import Outbox

/// The least that a service needs: it enqueues, in the transaction of its own data, and leaves the rest to a relay.
///
///     OUTBOX_DATABASE_URL=postgresql://localhost/shop enqueue-only somebody@example.com
@main
struct EnqueueOnly {
    static func main() async throws {
        guard let url = ProcessInfo.processInfo.environment["OUTBOX_DATABASE_URL"],
            let address = CommandLine.arguments.dropFirst().first
        else {
            FileHandle.standardError.write(
                Data("usage: OUTBOX_DATABASE_URL=postgresql://… enqueue-only ADDRESS\n".utf8))
            exit(64)
        }
        let database = Database(try DatabaseConfiguration(url: url))
        let task = try await database.transaction { transaction in
            try await transaction.execute("CREATE TABLE IF NOT EXISTS subscribers (address text PRIMARY KEY)")
            try await transaction.execute("INSERT INTO subscribers VALUES (\(address))")
            return try await transaction.enqueue(SendWelcome(to: address))
        }
        await database.close()
        print("enqueued \(SendWelcome.kind), task \(task)")
    }
}

/// Greet a new subscriber.
struct SendWelcome: OutboxTask, Codable {
    static let kind = "mail.welcome"
    let to: String
}
