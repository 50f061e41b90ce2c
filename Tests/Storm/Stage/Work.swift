// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import OutboxCore

/// What a task of a storm is to do, which is its payload: producers write it, handlers and the receiver obey.
struct Work: Codable, Sendable {
    /// The business operation that it belongs to.
    var op: Int
    /// How long its effect takes, in milliseconds.
    var milliseconds: Int
    /// How many attempts fail before one succeeds.
    var failures = 0
    /// Makes the payload as long as payloads are.
    var filling = String(repeating: "x", count: 120)

    static func read(_ payload: [UInt8]) -> Work? { try? JSONDecoder().decode(Work.self, from: Data(payload)) }

    var payload: [UInt8] {
        // the members' order is not the same in each process, and the stored bytes are what counts
        (try? JSONEncoder().encode(self)).map { Array($0) } ?? []
    }

    /// What a ledger says of a payload: 64 bits of FNV-1a, in hexadecimal.
    static func hash(_ payload: some Sequence<UInt8>) -> String {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in payload { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        return String(hash, radix: 16)
    }

    /// The idempotency key of an operation.
    static func key(_ op: Int) -> String { "op-\(op)" }
}

extension SeededGenerator {
    /// A generator for one purpose, so that what one part draws does not depend on how often another one does.
    init(seed: UInt64, for purpose: String) {
        var mixed = seed
        for byte in purpose.utf8 { mixed = (mixed ^ UInt64(byte)) &* 0x100_0000_01B3 }
        self.init(seed: mixed)
    }
}
