// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

public import OutboxCore

/// News of an incident: dead letters of one kind, endpoint and error, told once and then at intervals; or tasks that no
/// relay can run.
///
/// Alerts hold what a person needs to start looking. They never hold a payload.
public struct Alert: Hashable, Sendable {
    /// What the incident is about.
    public enum Subject: String, Sendable, CaseIterable {
        /// Tasks became dead letters.
        case deadLetter = "dead_letter"
        /// Tasks wait, and no relay that is alive can run their kind or reach their endpoint. The count is 1.
        case unhandled
    }

    /// What happened to the incident.
    public enum Event: String, Sendable, CaseIterable {
        /// The first dead letters arrived.
        case opened
        /// More arrived since the last alert.
        case updated
    }

    /// The incident's number in the database.
    public var incident: Int64
    /// The same for every alert of one incident's group: the SHA-256 of the group's key in 64 hexadecimal digits.
    /// Receivers that page people fold alerts together by it.
    public var dedupKey: String
    /// Whether this is the first news or more of the same.
    public var subject: Subject
    public var event: Event
    /// The kind of the tasks that died.
    public var kind: String
    /// The endpoint that they were for; `nil` if a handler ran them.
    public var endpoint: String?
    /// The stable type of their failure, as in ``Failure/type``.
    public var errorType: String
    /// The message of one of the failures.
    public var message: String
    /// The beginning of what the endpoint answered to one of them.
    public var responseExcerpt: String?
    /// How many dead letters the incident has had so far.
    public var count: Int
    /// How many of them are new since the last alert.
    public var newSinceLast: Int
    /// When the incident opened, in microseconds since the Unix epoch, by the database's clock.
    public var openedAt: Int64
    /// When its latest dead letter arrived, in microseconds since the Unix epoch, by the database's clock.
    public var lastAt: Int64
    /// One of the dead letters, to look at.
    public var sampleTaskID: TaskID?
    /// The relay that sends the alert.
    public var relay: String

    /// Makes an alert of what the database says about an incident.
    public init(
        incident: Int64, dedupKey: String, subject: Subject = .deadLetter, event: Event, kind: String,
        endpoint: String? = nil, errorType: String,
        message: String, responseExcerpt: String? = nil, count: Int, newSinceLast: Int, openedAt: Int64, lastAt: Int64,
        sampleTaskID: TaskID? = nil,
        relay: String
    ) {
        self.incident = incident
        self.dedupKey = dedupKey
        self.subject = subject
        self.event = event
        self.kind = kind
        self.endpoint = endpoint
        self.errorType = errorType
        self.message = message
        self.responseExcerpt = responseExcerpt
        self.count = count
        self.newSinceLast = newSinceLast
        self.openedAt = openedAt
        self.lastAt = lastAt
        self.sampleTaskID = sampleTaskID
        self.relay = relay
    }
}

extension Alert {
    /// The alert as the JSON text that the command and webhook channels send:
    /// `{"type":"outbox.dead_letter.opened","timestamp":"2026-11-24T20:49:15.000000Z","data":{…}}`.
    ///
    /// The timestamp is ``lastAt``. The members of `data` are this type's properties in snake case, times in RFC 3339;
    /// `endpoint`, `response_excerpt` and `sample_task_id` can be null.
    public func json() -> [UInt8] {
        var json = JSONWriter()
        json.object {
            $0.member("type", "outbox.\(subject.rawValue).\(event.rawValue)")
            $0.member("timestamp", CalendarTime.rfc3339(microsecondsSinceEpoch: lastAt))
            $0.member("data") {
                $0.object {
                    $0.member("incident", incident)
                    $0.member("dedup_key", dedupKey)
                    $0.member("kind", kind)
                    $0.member("endpoint", endpoint)
                    $0.member("error_type", errorType)
                    $0.member("message", message)
                    $0.member("response_excerpt", responseExcerpt)
                    $0.member("count", count)
                    $0.member("new_since_last", newSinceLast)
                    $0.member("opened_at", CalendarTime.rfc3339(microsecondsSinceEpoch: openedAt))
                    $0.member("last_at", CalendarTime.rfc3339(microsecondsSinceEpoch: lastAt))
                    $0.member("sample_task_id", sampleTaskID?.description)
                    $0.member("relay", relay)
                }
            }
        }
        return json.bytes
    }
}
