// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Synchronization

@testable import PostgresClient

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// A TCP socket that listens on a free port of 127.0.0.1. Nobody accepts: a client connects and hears nothing.
final class SilentListener: Sendable {
    let descriptor: Int32
    let port: Int

    init() throws {
        #if canImport(Glibc)
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        #else
        let descriptor = socket(AF_INET, SOCK_STREAM, 0)
        #endif
        self.descriptor = descriptor
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let problem = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                bind(descriptor, pointer, length) | listen(descriptor, 16) | getsockname(descriptor, pointer, &length)
            }
        }
        guard problem == 0 else { throw SystemFailure(number: errno) }
        port = Int(UInt16(bigEndian: address.sin_port))
    }

    deinit { close(descriptor) }
}

/// A TCP proxy in front of a server's Unix socket that swallows the answer to the first COMMIT and hangs up.
///
///     client ──► "… COMMIT …" ──► server        (forwarded)
///     client ◄── (hung up)        server ──► "COMMIT"  (the transaction is committed)
final class CommitSwallowingProxy: Sendable {
    let listener: SilentListener
    private let hasSeenCommit = Atomic(false)

    init(to socketPath: String) throws {
        listener = try SilentListener()
        _ = detachThread { [self] in
            while true {
                let client = accept(listener.descriptor, nil, nil)
                guard client >= 0 else { return }
                guard let server = connect(to: socketPath) else { return }
                _ = detachThread { [self] in
                    pump(client, server) { bytes in
                        if contains(bytes, "COMMIT") { hasSeenCommit.store(true, ordering: .sequentiallyConsistent) }
                        return true
                    }
                }
                _ = detachThread { [self] in
                    pump(server, client) { _ in !hasSeenCommit.load(ordering: .sequentiallyConsistent) }
                    shutdown(client, Int32(SHUT_RDWR))
                    shutdown(server, Int32(SHUT_RDWR))
                }
            }
        }
    }

    /// Wakes the accepting thread so that it ends.
    func stop() { shutdown(listener.descriptor, Int32(SHUT_RDWR)) }

    /// Forwards what comes until `isForwarded` says no.
    private func pump(_ source: Int32, _ target: Int32, _ isForwarded: (ArraySlice<UInt8>) -> Bool) {
        var bytes = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = read(source, &bytes, bytes.count)
            guard count > 0 else { return }
            guard isForwarded(bytes[..<count]), send(target, bytes, count, noSignal) == count else { return }
        }
    }

    private func contains(_ bytes: ArraySlice<UInt8>, _ word: String) -> Bool {
        bytes.indices.contains { bytes[$0...].starts(with: word.utf8) }
    }

    private func connect(to path: String) -> Int32? {
        #if canImport(Glibc)
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        #else
        let descriptor = socket(AF_UNIX, SOCK_STREAM, 0)
        #endif
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let problem = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                #if canImport(Glibc)
                Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
                #else
                Darwin.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
                #endif
            }
        }
        return problem == 0 ? descriptor : nil
    }
}

#if canImport(Glibc)
private let noSignal = Int32(MSG_NOSIGNAL)
#else
private let noSignal: Int32 = 0
#endif
