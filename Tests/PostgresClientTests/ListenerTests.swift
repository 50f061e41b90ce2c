// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Testing

@testable import PostgresClient

@Suite("Notifications")
struct ListenerTests {
    @Test func whatIsSentArrivesInOrder() async throws {
        try await withDatabase { database in
            let channel = #"odd "channel"; name"#
            let listener = try await Listener.connect(database.configuration, channels: ["plain", channel])
            try await database.withConnection { connection in
                try await connection.run(["SELECT pg_notify(\(channel), \("one"))"])
                try await connection.run(["SELECT pg_notify('plain', \("two"))"])
                let sender = await connection.processID
                #expect(try await listener.next() == Notification(channel: channel, payload: "one", processID: sender))
                #expect(try await listener.next() == Notification(channel: "plain", payload: "two", processID: sender))
            }
            await listener.close()
        }
    }

    @Test func aListenerThatWaitsAlreadyIsWoken() async throws {
        try await withDatabase { database in
            let listener = try await Listener.connect(database.configuration, channels: ["a"])
            async let payloads: [String] = {
                var payloads: [String] = []
                for try await notification in listener {
                    payloads.append(notification.payload)
                    if payloads.count == 3 { break }
                }
                return payloads
            }()
            for number in 0..<3 { try await database.execute("SELECT pg_notify('a', \(String(number)))") }
            #expect(try await payloads == ["0", "1", "2"])
            await listener.close()
        }
    }

    @Test func aDeadlineOrACancellationEndsTheWaitOnly() async throws {
        try await withDatabase { database in
            let listener = try await Listener.connect(database.configuration, channels: ["a"])
            #expect(try await listener.next(until: .now) == nil)
            let task = Task { try await listener.next() }
            task.cancel()
            #expect(try await task.value == nil)
            try await database.execute("SELECT pg_notify('a', 'still here')")
            #expect(try await listener.next()?.payload == "still here")
            await listener.close()
        }
    }

    @Test func aDeadConnectionEndsTheSequenceWithAnError() async throws {
        try await withDatabase { database in
            let listener = try await Listener.connect(database.configuration, channels: ["a"])
            let task = Task { for try await _ in listener {} }
            try await database.execute("SELECT pg_terminate_backend(\(await listener.connection.processID))")
            #expect(try await failure { try await task.value }.code == .connectionLost)
        }
    }
}
