// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

#if canImport(Darwin)
internal import Darwin
#else
internal import Glibc
#endif

/// Reads a descriptor line by line, waiting for each.
struct LineSource {
    private let descriptor: CInt
    private var buffered: [UInt8] = []
    /// Up to where there is no line feed.
    private var searched = 0

    init(descriptor: CInt) { self.descriptor = descriptor }

    /// The next line without its line feed; `nil` at the end.
    mutating func next() -> [UInt8]? {
        while true {
            if let end = buffered[searched...].firstIndex(of: UInt8(ascii: "\n")) {
                defer {
                    buffered.removeSubrange(...end)
                    searched = 0
                }
                return Array(buffered[..<end])
            }
            searched = buffered.count
            var chunk = [UInt8](repeating: 0, count: 65_536)
            let count = read(descriptor, &chunk, chunk.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return nil }
            buffered += chunk[..<count]
        }
    }
}

/// Writes all of it, waiting as long as that takes; false if nobody reads any more.
func writeAll(_ descriptor: CInt, _ bytes: [UInt8]) -> Bool {
    var rest = bytes[...]
    while !rest.isEmpty {
        let written = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
        if written < 0 {
            guard errno == EINTR else { return false }
            continue
        }
        rest = rest.dropFirst(written)
    }
    return true
}
