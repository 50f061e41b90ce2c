// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import OutboxRelay
internal import Synchronization

/// Runs a blocking body on so many threads at once, and returns what each returned.
func onThreads<R: Sendable>(
    _ count: Int, _ body: @escaping @Sendable (Int) throws -> R
) async throws -> [R] {
    try await withThrowingTaskGroup(of: (Int, R).self) { group in
        for index in 0..<count {
            group.addTask { (index, try await onThread { try body(index) }) }
        }
        return try await group.reduce(into: []) { $0.append($1) }.sorted { $0.0 < $1.0 }.map(\.1)
    }
}

/// Runs a blocking body on a thread of its own, since Swift's cooperative threads are few and must not wait.
func onThread<R: Sendable>(_ body: @escaping @Sendable () throws -> R) async throws -> R {
    try await withCheckedThrowingContinuation { continuation in
        let started = DetachedThread.start { continuation.resume(with: Swift.Result { try body() }) }
        if !started { continuation.resume(throwing: BenchFailure("the system has no room for another thread")) }
    }
}

/// Says to a thread that it is to stop.
final class Flag: Sendable {
    private let value = Atomic(false)
    var isRaised: Bool { value.load(ordering: .relaxed) }
    func raise() { value.store(true, ordering: .relaxed) }
}
