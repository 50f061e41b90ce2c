// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// Microseconds of the machine's monotonic clock, which is the same for all processes and which nobody sets.
enum Instant {
    static var now: Int64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1000
    }

    static func seconds(_ seconds: Double) -> Int64 { Int64(seconds * 1e6) }
}

/// A file to which a process appends lines, each with one write, so that a kill cuts off nothing but the last.
final class LinesFile: Sendable {
    private let descriptor: CInt

    init(_ path: String) throws {
        descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw StormError("\(path) cannot be written") }
    }

    deinit { close(descriptor) }

    func append(_ line: String) {
        let bytes = Array("\(line)\n".utf8)
        guard write(descriptor, bytes, bytes.count) == bytes.count else {
            // a ledger with a hole would accuse the wrong one
            _exit(74)
        }
    }
}

/// Why a storm could not be raised; says nothing about what it was to test.
struct StormError: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// Reads a descriptor line by line, waiting for each.
struct LineReader {
    private let descriptor: CInt
    private var buffered: [UInt8] = []

    init(_ descriptor: CInt) { self.descriptor = descriptor }

    /// The next line without its end; `nil` when there is no more.
    mutating func next() -> String? {
        while true {
            if let end = buffered.firstIndex(of: 10) {
                defer { buffered.removeSubrange(...end) }
                return String(decoding: buffered[..<end], as: UTF8.self)
            }
            var chunk = [UInt8](repeating: 0, count: 65_536)
            let count = read(descriptor, &chunk, chunk.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return nil }
            buffered += chunk[..<count]
        }
    }
}

/// Writes a line; false if nobody reads any more.
@discardableResult
func writeLine(_ line: String, to descriptor: CInt) -> Bool {
    let bytes = Array("\(line)\n".utf8)
    return write(descriptor, bytes, bytes.count) == bytes.count
}
