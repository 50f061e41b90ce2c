// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import OutboxCore

/// Random numbers by what they are for, so that leaving something out of a run changes nothing else in it.
///
/// One stream for all would shift with every number that is not drawn any more, and a failing run could not be made
/// smaller: each question has a stream of its own instead, which follows from the seed and from what is asked.
struct Dice: Sendable {
    enum Purpose: UInt64 {
        case settings = 1, task, fault, handler, call, relay, turn, nudge
    }
    let seed: UInt64

    func generator(_ purpose: Purpose, _ one: Int = 0, _ two: Int = 0) -> SeededGenerator {
        var mixed = SeededGenerator(seed: seed &+ purpose.rawValue &* 0xD6E8_FEB8_6659_FD93)
        let first = mixed.next() &+ UInt64(bitPattern: Int64(one)) &* 0xA076_1D64_78BD_642F
        return SeededGenerator(seed: first ^ UInt64(bitPattern: Int64(two)) &* 0xE703_7ED1_A0B4_28DB)
    }
}

extension SeededGenerator {
    mutating func within(_ range: ClosedRange<Int64>) -> Int64 {
        // a little uneven, which is no matter here, and much faster than the exact way
        range.lowerBound + Int64(next() % UInt64(range.upperBound - range.lowerBound + 1))
    }
    mutating func chance(_ percent: UInt64) -> Bool { next() % 100 < percent }
}

/// Times are whole microseconds: a `Duration` has 128 bits, and a simulation does little else than compare times.
func milliseconds(_ count: Int64) -> Int64 { count * 1000 }
func seconds(_ count: Int64) -> Int64 { count * 1_000_000 }
