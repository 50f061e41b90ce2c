// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Logging
internal import Outbox
internal import OutboxCore
internal import PostgresClient

/// Delivers alerts: claims what is due, tells the channel, and records that it was told, or when to try again.
///
/// Delivery is at least once: a courier that vanishes in between leaves its claim to the lease, and the next one tells
/// again, under the same key. A channel that fails is tried again for ever, with backoff.
struct AlertCourier: Sendable {
    let store: RelayStore
    let channels: [any AlertChannel]
    let groupInterval: Duration
    let logger: Logger

    private static let lease: Duration = .seconds(120)
    /// How long a channel may take: beyond its lease, another relay tells the same.
    private static let patience: Duration = .seconds(100)
    private static let backoff = Backoff(base: .seconds(2), factor: 2, cap: .seconds(300))

    /// Delivers until nothing is due, or the relay stops.
    func deliverAll() async {
        while !Task.isCancelled {
            let due: [DueAlert]
            do {
                due = try await claim()
            } catch {
                logger.warning("alerts could not be claimed; trying again", metadata: ["error": "\(error)"])
                return
            }
            guard !due.isEmpty else { return }
            await withDiscardingTaskGroup { group in
                for alert in due { group.addTask { await deliver(alert) } }
            }
        }
    }

    private struct DueAlert: Sendable {
        let channel: String
        let attempt: Int32
        let failures: Int
        let alert: Alert
    }

    private func claim() async throws -> [DueAlert] {
        let result = try await store.callUpkeep(
            "SELECT * FROM \(store.schema.quoted).claim_alerts_v1($1, $2, $3, 10)",
            store.relay.id, channels.map(\.name), Self.lease)
        return try result.map { row in
            let told = try row.decode(Int.self, "told")
            let count = try row.decode(Int.self, "count")
            return DueAlert(
                channel: try row.decode(String.self, "channel"), attempt: try row.decode(Int32.self, "attempt"),
                failures: try row.decode(Int.self, "failures"),
                alert: Alert(
                    incident: try row.decode(Int64.self, "incident"),
                    dedupKey: try row.decode(String.self, "group_key"),
                    subject: Alert.Subject(rawValue: try row.decode(String.self, "subject")) ?? .deadLetter,
                    event: told == 0 ? .opened : .updated, kind: try row.decode(String.self, "kind"),
                    endpoint: try row.decode(String?.self, "endpoint"),
                    errorType: try row.decode(String.self, "error_type"),
                    message: try row.decode(String.self, "error_message"),
                    responseExcerpt: try row.decode(String?.self, "response_excerpt"), count: count,
                    newSinceLast: count - told,
                    openedAt: try row.decode(PostgresTimestamp.self, "opened_at").microsecondsSinceEpoch,
                    lastAt: try row.decode(PostgresTimestamp.self, "last_at").microsecondsSinceEpoch,
                    sampleTaskID: TaskID(try row.decode(PostgresUUID.self, "sample")), relay: store.relay.name
                )
            )
        }
    }

    /// Sends, and cancels a channel that takes too long: it would hold up the alerts of all the others.
    static func send(_ alert: Alert, over channel: any AlertChannel, within limit: Duration) async throws {
        try await withThrowingTaskGroup { group in
            // not on the relay's own thread: a channel may block, as any code of a user's
            group.addTask(executorPreference: globalConcurrentExecutor) { try await channel.send(alert) }
            group.addTask {
                try await Task.sleep(for: limit)
                throw AlertError(.timedOut, channel: channel.name, message: "was cancelled after \(limit)")
            }
            defer { group.cancelAll() }
            try await group.next()
        }
    }

    private func deliver(_ due: DueAlert) async {
        var failure: String?
        do {
            guard let channel = channels.first(where: { $0.name == due.channel }) else { return }
            try await Self.send(due.alert, over: channel, within: Self.patience)
        } catch {
            failure = String(describing: error)
            logger.error(
                "an alert could not be delivered; trying again",
                metadata: ["incident": "\(due.alert.incident)", "channel": "\(due.channel)", "error": "\(error)"])
        }
        var generator = SystemRandomNumberGenerator()
        let backoff = Self.backoff.delay(afterFailure: due.failures + 1, using: &generator)
        do {
            let isRecorded = try await store.callUpkeep(
                "SELECT \(store.schema.quoted).settle_alert_v1($1, $2, $3, $4, $5, $6, $7)",
                due.alert.incident, due.channel, due.attempt, due.alert.count,
                failure.map { RelayStore.storable($0, 1000) }, backoff, groupInterval
            )[0].decode(Bool.self, at: 0)
            if !isRecorded {
                logger.warning("another relay has the alert by now", metadata: ["incident": "\(due.alert.incident)"])
            }
        } catch {
            // its lease ends, and it is told again under the same key
            logger.warning(
                "an alert's delivery could not be recorded; it will be repeated",
                metadata: ["incident": "\(due.alert.incident)", "error": "\(error)"])
        }
    }
}
