// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Synchronization

/// When each task began to run, by ``Monotonic``.
final class Starts: Sendable {
    private let times = Mutex<[Int: Int64]>([:])
    private let repeated = Flag()

    func note(_ numbers: [Int]) {
        let now = Monotonic.now
        times.withLock { times in
            for number in numbers where times.updateValue(now, forKey: number) != nil { repeated.raise() }
        }
    }

    var count: Int { times.withLock(\.count) }

    /// The milliseconds from each commit of a report to the start of its task, in the report's order.
    ///
    /// - Throws: ``BenchFailure`` if a task ran twice, or has not begun a minute after the last one did.
    func delays(after report: DatabaseReport) async throws -> [Double] {
        var patience = Patience("\(report.numbers.count) tasks to begin")
        while count < report.numbers.count { try await patience.pause(at: count) }
        guard !repeated.isRaised else { throw BenchFailure("a task ran more than once") }
        let times = times.withLock(\.self)
        return try zip(report.numbers, report.times).map { number, committed in
            guard let start = times[number] else { throw BenchFailure("task \(number) was lost") }
            return Double(start - committed) / 1e6
        }
    }
}
