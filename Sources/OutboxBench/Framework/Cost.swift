// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// What the tasks of a measurement cost; `nil` is what cannot be known here, such as the CPU of a server elsewhere.
package struct Cost: Sendable {
    /// CPU milliseconds of this process, which is the relay or the floor's loop, for a thousand tasks.
    package var ownCPU: Double?
    /// CPU milliseconds of the whole server, with its background processes and with what others do there meanwhile.
    package var postgresCPU: Double?
    /// Bytes of write-ahead log for a task, by anyone in the cluster.
    package var walBytes: Double?
    /// Full-page images for a thousand tasks: they come after a checkpoint and tell why two WAL figures differ.
    package var fullPageImages: Double?
    /// Shared buffers that one claim of the relay touched.
    package var claimBuffers: Double?
    /// Resident memory of this process at the end, in bytes.
    package var residentBytes: Double?

    package init() {}

    /// The medians of several measurements' costs, each over those where it is known.
    package init(medianOf costs: [Cost]) {
        func median(_ path: KeyPath<Cost, Double?>) -> Double? {
            let known = costs.compactMap { $0[keyPath: path] }
            return known.isEmpty ? nil : known.median
        }
        ownCPU = median(\.ownCPU)
        postgresCPU = median(\.postgresCPU)
        walBytes = median(\.walBytes)
        fullPageImages = median(\.fullPageImages)
        claimBuffers = median(\.claimBuffers)
        residentBytes = median(\.residentBytes)
    }
}
