// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Outbox
internal import PostgresClient
internal import Synchronization

#if canImport(Darwin)
internal import Darwin
#else
internal import Glibc
#endif

/// Where producers on this machine say that they have committed a task: a datagram socket, each of whose datagrams,
/// whatever it holds, means "look now".
///
/// Whoever may write to the socket's file may nudge. All that this can do is to make the relay poll.
final class NudgeSocket: Sendable {
    private let path: String
    private let descriptor: Int32

    /// Makes the socket, in place of one that a relay left behind that is gone.
    ///
    /// - Throws: ``NudgeError`` if the path is taken by another relay or by something else, or cannot be written.
    init(path: String) throws(NudgeError) {
        // first of all: what is thrown once the object is whole runs its deinit, which would remove what is not ours
        descriptor = try Self.bound(to: path)
        self.path = path
    }

    private static func bound(to path: String) throws(NudgeError) -> Int32 {
        let address = try SocketAddress(path: path)
        let descriptor = try SocketAddress.openDatagramSocket()
        func fail(_ problem: String) -> NudgeError {
            close(descriptor)
            return NudgeError("the nudge socket \(path) \(problem)")
        }
        if address.withPointer({ bind(descriptor, $0, $1) }) == 0 { return descriptor }
        guard errno == EADDRINUSE else { throw fail("cannot be made: \(SystemFailure(number: errno))") }
        var found = stat()
        guard lstat(path, &found) == 0, found.st_mode & S_IFMT == S_IFSOCK else {
            throw fail("cannot be made: something else has that name")
        }
        // only a socket that nobody reads refuses
        guard address.withPointer({ connect(descriptor, $0, $1) }) != 0, errno == ECONNREFUSED else {
            throw fail("belongs to another relay: give each relay a path of its own")
        }
        unlink(path)
        guard address.withPointer({ bind(descriptor, $0, $1) }) == 0 else {
            throw fail("cannot be made: \(SystemFailure(number: errno))")
        }
        return descriptor
    }

    deinit {
        unlink(path)
        close(descriptor)
    }

    /// Calls `body` once for all that have come at a time, until the task is cancelled.
    func listen(with poller: Poller, _ body: @Sendable () -> Void) async {
        while case .ready = await poller.wait(for: descriptor, .read) {
            var byte: UInt8 = 0
            while recv(descriptor, &byte, 1, 0) >= 0 {}
            body()
        }
    }
}

/// Nudges of this process: many before the relay has looked are one.
final class NudgeBell: Sendable {
    private let isRung = Atomic(false)
    private let ring: @Sendable () -> Void

    init(_ ring: @escaping @Sendable () -> Void) { self.ring = ring }

    func nudge() {
        if !isRung.exchange(true, ordering: .acquiringAndReleasing) { ring() }
    }

    /// The relay is about to look: what is committed from now on needs another nudge.
    func heard() { isRung.store(false, ordering: .sequentiallyConsistent) }
}
