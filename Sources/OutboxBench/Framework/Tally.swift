// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Synchronization

#if canImport(Darwin)
internal import Darwin
#else
internal import Glibc
#endif

/// Counts the tasks that ran where nobody knows beforehand how many there will be; none may run twice.
final class Tally: Sendable {
    private struct State {
        var seen: [Bool] = []
        var count = 0
        var repeated = 0
    }
    private let state = Mutex(State())

    func note(_ number: Int) {
        state.withLock { state in
            if number >= state.seen.count {
                state.seen += repeatElement(false, count: max(65_536, number + 1 - state.seen.count))
            }
            if state.seen[number] { state.repeated += 1 } else { state.count += 1 }
            state.seen[number] = true
        }
    }

    /// How many tasks ran so far.
    var count: Int { state.withLock(\.count) }

    /// Waits until so many have run.
    ///
    /// - Parameter who: Who runs them, to be named if that fails.
    /// - Throws: ``BenchFailure`` if a task ran twice, or for a minute none did although some are missing.
    func wait(for tasks: Int, by who: String) async throws {
        var patience = Patience("\(who) to run \(tasks) tasks")
        while true {
            let (count, repeated) = state.withLock { ($0.count, $0.repeated) }
            guard repeated == 0 else { throw BenchFailure("\(who) ran \(repeated) tasks more than once") }
            if count == tasks { return }
            guard count < tasks else {
                throw BenchFailure("\(who) ran \(count) tasks, and only \(tasks) were enqueued")
            }
            try await patience.pause(at: count)
        }
    }
}

/// Stands still; for threads of one's own.
func pause(milliseconds: Int) { usleep(UInt32(milliseconds * 1000)) }
