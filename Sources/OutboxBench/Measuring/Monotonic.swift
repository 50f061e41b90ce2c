// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

#if canImport(Darwin)
internal import Darwin
#else
internal import Glibc
#endif

/// The machine's monotonic clock in nanoseconds: the same in every process, so that a commit in one and a handler's
/// start in another can be compared.
package enum Monotonic {
    package static var now: Int64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }
}
