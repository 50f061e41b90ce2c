// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

package import OutboxCore
internal import Synchronization

/// Which tasks were run and how often: every benchmark that drains counts each task, so that none that is lost or run
/// twice makes it look fast.
package final class Ledger: Sendable {
    /// Handlers run at once on several cores: neighbours note in different shards, and do not wait for each other.
    private final class Shard: Sendable {
        let counts: Mutex<[UInt8]>
        init(_ count: Int) { counts = Mutex([UInt8](repeating: 0, count: count)) }
    }
    private static let shardCount = 16

    private let shards: [Shard]
    private let left: Atomic<Int>
    private let finished = AsyncStream<Void>.makeStream()
    private let tasks: Int

    /// - Parameter tasks: How many tasks there are, numbered from 0.
    package init(tasks: Int) {
        self.tasks = tasks
        left = Atomic(tasks)
        shards = (0..<Self.shardCount).map { _ in Shard(tasks / Self.shardCount + 1) }
        if tasks == 0 { finished.continuation.finish() }
    }

    /// The number at the beginning of a payload.
    package static func number(_ payload: [UInt8]) -> Int {
        var number = 0
        for byte in payload {
            guard byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") else { break }
            number = number &* 10 &+ Int(byte &- UInt8(ascii: "0"))
        }
        return number
    }

    /// Notes a run of a task, whose number it returns.
    @discardableResult
    package func note(_ task: ClaimedTask) -> Int {
        let number = Self.number(task.payload)
        guard number < tasks else { return number }
        let isFirst = shards[number % Self.shardCount].counts.withLock { counts in
            counts[number / Self.shardCount] &+= 1
            return counts[number / Self.shardCount] == 1
        }
        if isFirst, left.subtract(1, ordering: .relaxed).newValue == 0 { finished.continuation.finish() }
        return number
    }

    package var done: Int { tasks - left.load(ordering: .relaxed) }

    /// Returns when every task has run, or the time is over. To be called once.
    package func wait(atMost limit: Duration = .seconds(600)) async throws {
        let timer = Task { [finished] in
            try? await Task.sleep(for: limit)
            finished.continuation.finish()
        }
        for await _ in finished.stream {}
        timer.cancel()
        try Task.checkCancellation()
    }

    /// Returns when so many tasks have run.
    func wait(for tasks: Int) async throws {
        var patience = Patience("\(tasks) tasks to run")
        while done < tasks { try await patience.pause(at: done) }
    }

    /// - Throws: ``BenchFailure`` unless each task ran exactly once.
    package func check() throws {
        var lost = 0
        var repeated = 0
        for number in 0..<tasks {
            let count = shards[number % Self.shardCount].counts.withLock { $0[number / Self.shardCount] }
            if count == 0 { lost += 1 } else if count > 1 { repeated += 1 }
        }
        guard lost == 0, repeated == 0 else {
            throw BenchFailure("of \(tasks) tasks \(lost) were not run, and \(repeated) more than once")
        }
    }
}
