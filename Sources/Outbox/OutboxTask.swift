// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// A unit of work as a Swift type: what a service enqueues and a handler receives.
///
///     struct ChargeCard: OutboxTask {
///         static let kind = "payments.charge"
///         let order: Int
///         let cents: Int
///     }
///
/// The kind and the payload's form are the contract between the versions of your services: tasks that were enqueued
/// yesterday are run by today's code. Add members as optionals, and give a changed form a new kind.
public protocol OutboxTask: Sendable {
    /// The stable name of this kind of task: up to 128 letters, digits, `_` and `-` in parts joined by `.`.
    static var kind: String { get }
    /// The media type of the payload. Default: `application/json`.
    static var contentType: String { get }
    /// The payload's bytes, which are stored and sent as they are.
    func payload() throws -> [UInt8]
    /// Reads a payload. An error it throws means that no later attempt can read it either: the task is rejected.
    init(payload: [UInt8]) throws
}

extension OutboxTask {
    public static var contentType: String { "application/json" }
}

extension OutboxTask where Self: Codable {
    /// JSON with sorted keys, so that equal tasks have equal bytes.
    public func payload() throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return Array(try encoder.encode(self))
    }

    public init(payload: [UInt8]) throws {
        self = try JSONDecoder().decode(Self.self, from: Data(payload))
    }
}
