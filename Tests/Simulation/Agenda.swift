// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// What is still to happen, the earliest first; what is due at the same time in the order in which it was planned.
struct Agenda: Sendable {
    /// Something that happens at a time. A life is one run of a relay's process: what was meant for an earlier one is void.
    enum Happening: Sendable {
        case starts(relay: Int)
        case turn(relay: Int, life: Int)
        case wakes(relay: Int, life: Int)
        case arrives(call: Int)
        case returns(call: Int)
        case completes(run: Int)
        case commitsCompletion(run: Int)
        case ends(run: Int)
        case commits(task: Int)
        case databaseReturns
    }
    private struct Entry: Sendable {
        let time: Int64
        let order: Int64
        let happening: Happening
    }
    private var heap: [Entry] = []
    private var planned: Int64 = 0

    var next: Int64? { heap.first?.time }

    private static func isBefore(_ one: Entry, _ other: Entry) -> Bool {
        one.time != other.time ? one.time < other.time : one.order < other.order
    }

    mutating func plan(_ happening: Happening, at time: Int64) {
        planned += 1
        heap.append(Entry(time: time, order: planned, happening: happening))
        var place = heap.count - 1
        while place > 0 {
            let parent = (place - 1) / 2
            guard Self.isBefore(heap[place], heap[parent]) else { return }
            heap.swapAt(place, parent)
            place = parent
        }
    }

    mutating func take() -> (time: Int64, happening: Happening)? {
        guard let first = heap.first else { return nil }
        let last = heap.removeLast()
        guard !heap.isEmpty else { return (first.time, first.happening) }
        heap[0] = last
        var place = 0
        while true {
            var least = place
            for child in [2 * place + 1, 2 * place + 2] where child < heap.count {
                if Self.isBefore(heap[child], heap[least]) { least = child }
            }
            if least == place { return (first.time, first.happening) }
            heap.swapAt(place, least)
            place = least
        }
    }
}
