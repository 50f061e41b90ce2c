// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

#if canImport(Darwin)
internal import Darwin
#else
internal import Glibc
#endif

/// Reads a file or a pipe line by line and holds no more of it than a line and a piece.
final class LineReader {
    enum Failure: Error, Equatable {
        /// A line has more bytes than a task could hold.
        case tooLong
        case unreadable(String)
    }

    /// The longest line: a payload of the greatest size and much around it.
    static let longest = 16 << 20
    private static let piece = 256 << 10

    private let descriptor: Int32
    private let closesDescriptor: Bool
    private var buffer: [UInt8] = []
    /// Where the next line begins, and how far no line feed was found.
    private var start = 0
    private var searched = 0
    private var isAtEnd = false

    /// Opens a file; `-` is standard input.
    init(path: String) throws(Failure) {
        guard path != "-" else {
            descriptor = 0
            closesDescriptor = false
            return
        }
        let opened = open(path, O_RDONLY | O_CLOEXEC)
        guard opened >= 0 else { throw .unreadable(String(cString: strerror(errno))) }
        descriptor = opened
        closesDescriptor = true
    }

    deinit {
        if closesDescriptor { close(descriptor) }
    }

    /// All there is, as the payload of one task; reads no further than shows that it is more than `most`.
    func all(atMost most: Int) throws(Failure) -> [UInt8] {
        while !isAtEnd && buffer.count <= most { try fill() }
        return buffer
    }

    /// The next line without its line feed, or carriage return and line feed; `nil` at the end.
    func next() throws(Failure) -> [UInt8]? {
        while true {
            if let end = buffer[searched...].firstIndex(of: UInt8(ascii: "\n")) {
                let line = buffer[start..<end]
                start = end + 1
                searched = start
                return Array(line.last == UInt8(ascii: "\r") ? line.dropLast() : line)
            }
            searched = buffer.count
            if isAtEnd {
                guard start < buffer.count else { return nil }
                defer { start = buffer.count }
                return Array(buffer[start...])
            }
            guard buffer.count - start <= Self.longest else { throw .tooLong }
            try fill()
        }
    }

    private func fill() throws(Failure) {
        buffer.removeFirst(start)
        searched -= start
        start = 0
        let count = buffer.count
        buffer.append(contentsOf: repeatElement(0, count: Self.piece))
        var got: Int
        repeat {
            got = buffer.withUnsafeMutableBytes {
                read(descriptor, $0.baseAddress?.advanced(by: count), Self.piece)
            }
        } while got < 0 && errno == EINTR
        buffer.removeLast(Self.piece - max(0, got))
        if got < 0 { throw .unreadable(String(cString: strerror(errno))) }
        if got == 0 { isAtEnd = true }
    }
}
