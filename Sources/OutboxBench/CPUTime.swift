// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

#if canImport(Darwin)
internal import Darwin
#else
internal import Glibc
#endif

/// The processor time that this process has used.
package enum CPUTime {
    package static var now: Duration {
        var usage = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &usage)
        return .seconds(Int64(usage.tv_sec)) + .nanoseconds(Int64(usage.tv_nsec))
    }
}
