// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// Two connected stream sockets that no child process inherits: what is written to one is read from the other,
/// and closing one ends the other.
///
/// A pipe would do, but only a socket pair can be made close-on-exec in one step without GNU extensions. Between
/// `pipe` and `fcntl` another thread may start a child, which then holds the writing end open for as long as it runs.
package struct DescriptorPair: Sendable {
    package let near: Int32
    package let far: Int32

    /// Makes a pair, or returns the `errno` that says why not.
    package static func make() -> Result<DescriptorPair, SystemFailure> {
        var descriptors: [Int32] = [-1, -1]
        #if canImport(Glibc)
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        guard socketpair(AF_UNIX, kind, 0, &descriptors) == 0 else { return .failure(SystemFailure(number: errno)) }
        #else
        guard socketpair(AF_UNIX, SOCK_STREAM, 0, &descriptors) == 0 else {
            return .failure(SystemFailure(number: errno))
        }
        for descriptor in descriptors {
            _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
            var on: Int32 = 1
            setsockopt(descriptor, SOL_SOCKET, SO_NOSIGPIPE, &on, socklen_t(MemoryLayout<Int32>.size))
        }
        #endif
        return .success(DescriptorPair(near: descriptors[0], far: descriptors[1]))
    }
}

/// What a system call left in `errno`.
package struct SystemFailure: Error, Hashable, CustomStringConvertible {
    package let number: Int32

    package init(number: Int32) {
        self.number = number
    }

    package var description: String {
        var text = [CChar](repeating: 0, count: 256)
        guard strerror_r(number, &text, text.count) == 0 else { return "errno \(number)" }
        let message = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return "\(message) (errno \(number))"
    }
}

/// Sends one byte without ever raising SIGPIPE; a full or closed receiver is not an error here.
func nudge(_ descriptor: Int32) {
    var byte: UInt8 = 1
    #if canImport(Glibc)
    _ = send(descriptor, &byte, 1, Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL))
    #else
    _ = send(descriptor, &byte, 1, MSG_DONTWAIT)
    #endif
}

/// Throws away the bytes that wait at a descriptor.
func discardNudges(at descriptor: Int32) {
    var bytes: (UInt64, UInt64) = (0, 0)
    #if canImport(Glibc)
    _ = recv(descriptor, &bytes, MemoryLayout.size(ofValue: bytes), Int32(MSG_DONTWAIT))
    #else
    _ = recv(descriptor, &bytes, MemoryLayout.size(ofValue: bytes), MSG_DONTWAIT)
    #endif
}
