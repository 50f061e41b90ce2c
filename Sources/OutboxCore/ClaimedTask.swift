// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// A task as a relay holds it while an attempt runs: what was enqueued, byte for byte, and which attempt this is.
public struct ClaimedTask: Sendable {
    /// The task's identity, the same on every attempt and after every replay.
    public let id: TaskID
    /// The stable name that chose the handler or the endpoint.
    public let kind: String
    /// The name of the logical operation, the same on every attempt and after every replay.
    /// Receivers use it to recognise a repetition. It is the identity unless the producer gave another.
    public var idempotencyKey: String { givenKey ?? id.description }
    /// The producer's. The identity's text is made when somebody asks for it: most handlers have keys of their own.
    private let givenKey: String?
    /// The number of this attempt: 1 at the first claim, higher at every later one, never lowered.
    public let attempt: Int
    /// The headers that the producer gave, in the order of their names.
    public let headers: [(name: String, value: String)]
    /// The media type of the payload, `application/json` unless the producer gave another.
    public let contentType: String
    /// The payload's bytes as they were enqueued.
    public let payload: [UInt8]

    public init(
        id: TaskID, kind: String, idempotencyKey: String? = nil, attempt: Int,
        headers: [(name: String, value: String)] = [], contentType: String = "application/json", payload: [UInt8]
    ) {
        self.id = id
        self.kind = kind
        givenKey = idempotencyKey
        self.attempt = attempt
        self.headers = headers
        self.contentType = contentType
        self.payload = payload
    }
}
