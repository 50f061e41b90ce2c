// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

#if canImport(FoundationEssentials)
public import FoundationEssentials
#else
public import Foundation
#endif

/// How a task is to be run; everything has a default.
public struct EnqueueOptions: Sendable {
    /// When a task may run.
    public enum Start: Sendable, Hashable {
        /// As soon as the transaction has committed.
        case atOnce
        /// Not before so long from now, by the database's clock. At most ten years.
        case after(Duration)
        /// Not before this time; one in the past means at once.
        case at(Date)
    }

    /// The queue, a lane with its own limits. Default: `default`.
    public var queue: String
    /// 0 runs first, 9 last. Default: 5.
    public var priority: Int
    public var start: Start
    /// A task that has not succeeded by then becomes a dead letter. Default: never.
    public var expiresAt: Date?
    /// The name of the logical operation, such as `order-42-charge`, sent on every attempt so that receivers can
    /// recognise a repetition: 1 to 255 visible ASCII characters. Default: the task's id.
    public var idempotencyKey: String?
    /// Sent to an HTTP endpoint. Names are HTTP field names, values visible ASCII.
    public var headers: [String: String]
    /// The HTTP endpoint to deliver to, by its name in the relay's configuration. Default: the relay's routes decide.
    public var endpoint: String?
    /// How many attempts may be charged. Default: the policy of the handler or endpoint.
    public var maxAttempts: Int?
    /// The task's identity. Default: a random one.
    public var id: TaskID?

    public init(
        queue: String = "default", priority: Int = 5, start: Start = .atOnce, expiresAt: Date? = nil,
        idempotencyKey: String? = nil, headers: [String: String] = [:], endpoint: String? = nil,
        maxAttempts: Int? = nil, id: TaskID? = nil
    ) {
        self.queue = queue
        self.priority = priority
        self.start = start
        self.expiresAt = expiresAt
        self.idempotencyKey = idempotencyKey
        self.headers = headers
        self.endpoint = endpoint
        self.maxAttempts = maxAttempts
        self.id = id
    }
}

extension EnqueueOptions {
    /// Checks what the SQL functions check, so that bad input cannot abort the business transaction.
    func validate() throws(EnqueueError) {
        func refuse(_ argument: String, _ problem: String, _ hint: String) -> EnqueueError {
            EnqueueError(argument: argument, problem: problem, hint: hint)
        }
        guard Names.isName(queue) else {
            throw refuse("queue", Names.rule, "leave it out for the queue \"default\"")
        }
        guard (0...9).contains(priority) else {
            throw refuse("priority", "must be 0 (first) to 9 (last)", "leave it out for 5")
        }
        if case .at(let date) = start, !Names.isTime(date) {
            throw refuse("run_at", "must be a finite time", "a time in the past means at once")
        }
        if let expiresAt, !Names.isTime(expiresAt) {
            throw refuse("expires_at", "must be a finite time", "leave it out for a task that never expires")
        }
        if case .after(let delay) = start, delay < .zero || delay > .seconds(315_576_000) {
            throw refuse("delay", "must not be negative, and at most ten years", "leave it out to run at once")
        }
        if let endpoint, !Names.isName(endpoint) {
            throw refuse("endpoint", Names.rule, "use the name that the relay's configuration gives the endpoint")
        }
        if let maxAttempts, !(1...1000).contains(maxAttempts) {
            throw refuse("max_attempts", "must be 1 to 1000", "leave it out for the policy of the handler or endpoint")
        }
        if let idempotencyKey, !Names.isKey(idempotencyKey) {
            throw refuse(
                "idempotency_key", "must be 1 to 255 visible ASCII characters",
                "it is sent in an HTTP header; leave it out for the task's id")
        }
        if let problem = HeaderRules.problem(in: headers.map { (name: $0.key, value: $0.value) }) {
            throw refuse("headers", problem, "put other data into the payload")
        }
    }
}

/// The grammar of names, as the SQL functions check it.
package enum Names {
    package static let rule = "must be 1 to 63 of a-z, 0-9, \"_\", \".\" and \"-\", and begin with a letter or digit"

    package static func isName(_ text: String) -> Bool {
        guard let first = text.utf8.first, (1...63).contains(text.utf8.count) else { return false }
        return isLowerOrDigit(first)
            && text.utf8.allSatisfy {
                isLowerOrDigit($0) || $0 == UInt8(ascii: "_") || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "-")
            }
    }

    package static func isKind(_ text: String) -> Bool {
        (1...128).contains(text.utf8.count)
            && text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).allSatisfy { part in
                !part.isEmpty
                    && part.allSatisfy {
                        isLowerOrDigit($0) || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0)
                            || $0 == UInt8(ascii: "_") || $0 == UInt8(ascii: "-")
                    }
            }
    }

    /// Whether Postgres can hold the time: years -4712 to 294275.
    static func isTime(_ date: Date) -> Bool {
        (-210_866_803_200.0...9_224_286_480_000.0).contains(date.timeIntervalSince1970)
    }

    static func isKey(_ text: String) -> Bool {
        (1...255).contains(text.utf8.count)
            && text.utf8.allSatisfy { (UInt8(ascii: " ")...UInt8(ascii: "~")).contains($0) }
    }

    private static func isLowerOrDigit(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
    }
}
