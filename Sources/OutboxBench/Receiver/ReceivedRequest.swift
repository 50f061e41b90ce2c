// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

#if canImport(Darwin)
internal import Darwin
#else
internal import Glibc
#endif

/// A complete request at the beginning of a buffer, as far as a benchmark wants to know it.
///
/// It points into the buffer: nothing is copied, and only a few hundred bytes of head are looked at.
struct ReceivedRequest {
    /// Head and body together.
    let byteCount: Int
    let path: UnsafeRawBufferPointer
    /// The `webhook-id`, which is the task's identity; empty if there is none.
    let id: UnsafeRawBufferPointer
    /// The `outbox-attempt`, 0 if there is none.
    let attempt: Int

    /// `nil` while something of it is missing.
    init?(_ buffer: UnsafeRawBufferPointer) {
        guard let start = buffer.baseAddress else { return nil }
        var length = 0
        var attempt = 0
        var path = UnsafeRawBufferPointer(start: nil, count: 0)
        var id = path
        var offset = 0
        while true {
            guard offset < buffer.count, let newline = memchr(start + offset, 0x0A, buffer.count - offset) else {
                return nil
            }
            let next = UnsafeRawPointer(newline) - start + 1
            let line = UnsafeRawBufferPointer(rebasing: buffer[offset..<max(offset, next - 2)])
            if offset == 0 {
                path = Self.target(of: line)
            } else if let value = Self.value(of: line, if: "content-length:") {
                length = Self.number(value)
            } else if let value = Self.value(of: line, if: "webhook-id:") {
                id = value
            } else if let value = Self.value(of: line, if: "outbox-attempt:") {
                attempt = Self.number(value)
            }
            offset = next
            if line.isEmpty { break }
        }
        guard buffer.count >= offset + length else { return nil }
        byteCount = offset + length
        self.path = path
        self.id = id
        self.attempt = attempt
    }

    /// The second word of a request line.
    private static func target(of line: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        guard let first = line.firstIndex(of: 0x20) else { return UnsafeRawBufferPointer(rebasing: line[..<0]) }
        let rest = line[(first + 1)...]
        return UnsafeRawBufferPointer(rebasing: rest.prefix { $0 != 0x20 })
    }

    /// What follows a field's name, given in lower case with its colon.
    private static func value(of line: UnsafeRawBufferPointer, if name: StaticString) -> UnsafeRawBufferPointer? {
        let count = name.utf8CodeUnitCount
        guard line.count > count, let start = line.baseAddress,
            strncasecmp(start.assumingMemoryBound(to: CChar.self), pointer(name), count) == 0
        else { return nil }
        return UnsafeRawBufferPointer(rebasing: line[count...].drop { $0 == 0x20 })
    }

    private static func pointer(_ text: StaticString) -> UnsafePointer<CChar> {
        UnsafeRawPointer(text.utf8Start).assumingMemoryBound(to: CChar.self)
    }

    private static func number(_ digits: UnsafeRawBufferPointer) -> Int {
        digits.reduce(0) { (0x30...0x39).contains($1) ? $0 &* 10 &+ Int($1 &- 0x30) : $0 }
    }
}
