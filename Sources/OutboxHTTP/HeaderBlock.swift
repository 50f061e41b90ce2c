// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import CLibCurl

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// Header lines as libcurl reads them, one after the other in one piece of memory, each with the NUL of a C string.
///
/// A list that is built line by line costs two allocations a line, and as many to free; this one costs one.
package struct HeaderBlock: Sendable {
    fileprivate private(set) var bytes: [UInt8] = []
    fileprivate private(set) var lines = 0

    package init() {}

    /// Empty, with room for so many bytes.
    init(capacity: Int) {
        bytes.reserveCapacity(capacity)
    }

    /// Adds a header. libcurl takes `Name:` for "leave this header out", and `Name;` for an empty value.
    mutating func add(_ name: String, _ value: String) {
        bytes.append(contentsOf: name.utf8)
        if value.isEmpty {
            bytes.append(UInt8(ascii: ";"))
        } else {
            bytes.append(UInt8(ascii: ":"))
            bytes.append(UInt8(ascii: " "))
            bytes.append(contentsOf: value.utf8)
        }
        endLine()
    }

    /// Has libcurl leave out a header that it would send by itself.
    mutating func omit(_ name: String) {
        bytes.append(contentsOf: name.utf8)
        bytes.append(UInt8(ascii: ":"))
        endLine()
    }

    mutating func add(_ others: HeaderBlock) {
        bytes.append(contentsOf: others.bytes)
        lines += others.lines
    }

    private mutating func endLine() {
        bytes.append(0)
        lines += 1
    }
}

/// A ``HeaderBlock`` as the list that libcurl wants, in memory that is used again for the next request.
///
/// libcurl reads the list while the transfer runs and frees nothing of it:
/// <https://curl.se/libcurl/c/CURLOPT_HTTPHEADER.html>.
struct HeaderList: ~Copyable {
    private var text = UnsafeMutableBufferPointer<CChar>(start: nil, count: 0)
    private var nodes = UnsafeMutableBufferPointer<curl_slist>(start: nil, count: 0)

    deinit {
        text.deallocate()
        nodes.deallocate()
    }

    /// Replaces the list; what it was before is not to be read any more.
    mutating func set(_ block: HeaderBlock) -> UnsafeMutablePointer<curl_slist>? {
        if text.count < block.bytes.count {
            text.deallocate()
            text = .allocate(capacity: max(512, block.bytes.count))
        }
        if nodes.count < block.lines {
            nodes.deallocate()
            nodes = .allocate(capacity: max(8, block.lines))
        }
        guard block.lines > 0, let start = text.baseAddress, let first = nodes.baseAddress else { return nil }
        block.bytes.withUnsafeBytes {
            UnsafeMutableRawPointer(start).copyMemory(from: $0.baseAddress!, byteCount: $0.count)
        }
        var line = start
        for number in 0..<block.lines {
            let isLast = number == block.lines - 1
            (first + number).initialize(to: curl_slist(data: line, next: isLast ? nil : first + number + 1))
            if !isLast { line += strlen(line) + 1 }
        }
        return first
    }
}
