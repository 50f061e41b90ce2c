// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

package import OutboxCore

/// Runs attempts without a Swift task for each, because it has a thread of its own that waits for all of them.
///
/// A task for an attempt costs more than its making: it starts on one thread, suspends, and is resumed on another, and
/// each time a lock is taken and often a thread woken. With 64 HTTP deliveries in flight that was as much processor time
/// as libcurl and the kernel took for the delivery itself.
package protocol DirectRunner: Sendable {
    /// Begins an attempt and returns at once, with the number by which it can be cancelled.
    ///
    /// `finished` is called once, on any thread, and also before this returns if there is nothing to wait for.
    ///
    /// - Parameter isHeld: Whether the attempt still has its task, asked at the last moment before its effect: the process
    ///   may have stood still, and another attempt may be done by now. If not, it finishes as ``Outcome/released``.
    func begin(
        _ task: ClaimedTask, while isHeld: @escaping @Sendable () -> Bool,
        finished: @escaping @Sendable (Outcome) -> Void
    ) -> UInt64

    /// Gives an attempt up: it finishes as ``Outcome/released`` unless it has finished already.
    func cancel(_ number: UInt64)
}
