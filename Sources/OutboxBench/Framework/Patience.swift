// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// How long to wait for something that grows: as long as it does, and a minute beyond.
struct Patience {
    private let what: String
    private var last = -1
    private var since = Monotonic.now

    /// - Parameter what: What is waited for, for the error's text.
    init(_ what: String) { self.what = what }

    /// Waits a moment.
    ///
    /// - Throws: ``BenchFailure`` if the number has been the same for a minute; `CancellationError`.
    mutating func pause(at number: Int) async throws {
        if number != last { (last, since) = (number, Monotonic.now) }
        guard Monotonic.now - since < 60_000_000_000 else {
            throw BenchFailure("waited in vain for \(what): it came to \(number) a minute ago, and no further")
        }
        try await Task.sleep(for: .milliseconds(1))
    }
}
