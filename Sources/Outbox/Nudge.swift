// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import PostgresClient

#if canImport(Darwin)
package import Darwin
#else
package import Glibc
#endif

/// Tells a relay in another process of this machine that a transaction has committed, so that it looks at once.
///
///     let nudge = try Nudge(socket: "/run/outbox/nudge.sock")
///     try await database.transaction { transaction in … }
///     nudge.send()
///
/// A hint, sent after the commit and outside the database: relays find every task by polling, and a nudge only spares the
/// wait for the next poll. Nothing depends on it, so it never blocks and never fails. It is not `NOTIFY`, whose commits
/// wait for each other behind one lock of the whole database.
public final class Nudge: Sendable {
    private let address: SocketAddress
    private let descriptor: Int32

    /// Prepares to nudge the relay whose `nudgeSocket` is at this path; it need not run yet.
    ///
    /// - Throws: ``NudgeError`` if the path is too long for a Unix socket, or the process has no descriptor left.
    public init(socket path: String) throws(NudgeError) {
        address = try SocketAddress(path: path)
        descriptor = try SocketAddress.openDatagramSocket()
    }

    deinit { close(descriptor) }

    /// Sends the hint and says whether a relay's socket took it; it has no answer.
    @discardableResult
    public func send() -> Bool {
        let sent = address.withPointer { address, length in
            var byte: UInt8 = 1
            return sendto(descriptor, &byte, 1, Int32(MSG_DONTWAIT), address, length)
        }
        // a full queue holds nudges enough
        return sent == 1 || errno == EAGAIN || errno == ENOBUFS
    }
}

/// Why there can be no nudges over a path.
public struct NudgeError: Error, Sendable, CustomStringConvertible {
    public let description: String

    package init(_ description: String) { self.description = description }
}

/// The address of a Unix socket.
package struct SocketAddress: Sendable {
    private let path: [UInt8]
    private static let longest = MemoryLayout.size(ofValue: sockaddr_un().sun_path) - 1

    package init(path: String) throws(NudgeError) {
        self.path = Array(path.utf8)
        guard !path.isEmpty, self.path.count <= Self.longest, !self.path.contains(0) else {
            throw NudgeError(
                "the path of a nudge socket must have 1 to \(Self.longest) bytes, not \(self.path.count): \(path)")
        }
    }

    package func withPointer<R>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> R) -> R {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path) }
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
    }

    /// A datagram socket that does not block and that no child process inherits.
    package static func openDatagramSocket() throws(NudgeError) -> Int32 {
        #if canImport(Darwin)
        let descriptor = socket(AF_UNIX, SOCK_DGRAM, 0)
        if descriptor >= 0 {
            _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
            _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
        }
        #else
        let kind = Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        let descriptor = socket(AF_UNIX, kind, 0)
        #endif
        guard descriptor >= 0 else {
            throw NudgeError("no socket can be opened: \(SystemFailure(number: errno))")
        }
        return descriptor
    }
}
