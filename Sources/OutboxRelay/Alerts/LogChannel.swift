// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

public import Logging
import OutboxCore

/// Writes alerts to the log at level `error`: the channel that is always on.
///
/// The message is constant, so that a log search can watch for it; what differs is in the metadata. The failure's own
/// text is not there, since it may quote a receiver's answer: it is in the database beside the named task.
public struct LogChannel: AlertChannel {
    /// Always `log`.
    public let name = "log"
    private let logger: Logger

    /// Writes to the given logger.
    public init(logger: Logger) {
        self.logger = logger
    }

    /// Logs the alert; never throws.
    public func send(_ alert: Alert) async {
        var metadata: Logger.Metadata = [
            "incident": "\(alert.incident)",
            "event": "\(alert.event.rawValue)",
            "kind": "\(alert.kind)",
            "error_type": "\(alert.errorType)",
            "count": "\(alert.count)",
            "new_since_last": "\(alert.newSinceLast)",
            "opened_at": "\(CalendarTime.rfc3339(microsecondsSinceEpoch: alert.openedAt))",
            "last_at": "\(CalendarTime.rfc3339(microsecondsSinceEpoch: alert.lastAt))",
            "dedup_key": "\(alert.dedupKey)",
            "relay": "\(alert.relay)",
        ]
        if let endpoint = alert.endpoint { metadata["endpoint"] = "\(endpoint)" }
        if let task = alert.sampleTaskID { metadata["task"] = "\(task)" }
        switch alert.subject {
        case .deadLetter: logger.error("tasks became dead letters", metadata: metadata)
        case .unhandled: logger.error("tasks wait, and no relay can run them", metadata: metadata)
        }
    }
}
