// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import OutboxCore

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// Stands between processes and Postgres, and loses what they least like to lose: the reply to a statement that has taken
/// effect. It can also leave connections half open: established, and nothing passes any more.
///
/// Orders, a line each: `drop commit 50` loses 50 in a thousand replies of COMMIT from now on, and so `claim` and
/// `settle`; `freeze` leaves all present connections half open, new ones work; `stats` has it print a ``Counts``.
final class Proxy {
    struct Order: Codable, Sendable {
        /// The server's socket.
        var socket: String
        var seed: UInt64
    }

    struct Counts: Codable, Sendable {
        var connections = 0
        /// Replies that were lost, by what they replied to.
        var dropped: [String: Int] = [:]
        /// Replies that could have been.
        var seen: [String: Int] = [:]
        var frozen = 0
    }

    private struct Orders {
        var dropped: [Link.Subject: Int] = [:]
        var freezes = false
        var counts = Counts()
    }

    private let socket: String
    private let orders = Locked(Orders())
    private var random: SeededGenerator
    private let listener: CInt
    private let port: Int
    private var links: [Link] = []

    init(_ order: Order) throws {
        socket = order.socket
        random = SeededGenerator(seed: order.seed, for: "proxy")
        (listener, port) = try TCP.listen()
    }

    /// Prints its port and serves until the input ends.
    func run() throws {
        try Role.obey { [orders] line in Self.obey(line, orders) }
        writeLine("\(port)", to: 1)
        while true {
            let freezes = orders.withLock { orders in
                defer { orders.freezes = false }
                return orders.freezes
            }
            if freezes {
                for link in links { link.isFrozen = true }
                let count = links.count
                orders.withLock { $0.counts.frozen += count }
            }
            turn()
        }
    }

    private static func obey(_ line: String, _ orders: Locked<Orders>) {
        let words = line.split(separator: " ")
        switch words.first {
        case "drop":
            guard words.count == 3, let subject = Link.Subject(rawValue: String(words[1])), let share = Int(words[2])
            else { return }
            orders.withLock { $0.dropped[subject] = share }
        case "freeze": orders.withLock { $0.freezes = true }
        case "stats":
            let counts = orders.withLock { $0.counts }
            if let json = try? JSONEncoder().encode(counts) { writeLine(String(decoding: json, as: UTF8.self), to: 1) }
        default: break
        }
    }

    private func turn() {
        let moving = links.filter { !$0.isFrozen }
        var entries = [pollfd(fd: listener, events: Int16(POLLIN), revents: 0)]
        for link in moving {
            entries.append(pollfd(fd: link.client, events: Int16(POLLIN), revents: 0))
            entries.append(pollfd(fd: link.server, events: Int16(POLLIN), revents: 0))
        }
        guard poll(&entries, nfds_t(entries.count), 20) > 0 else { return }
        if entries[0].revents != 0 { acceptOne() }
        var over: [Link] = []
        for (index, link) in moving.enumerated() {
            var lives = true
            if entries[1 + 2 * index].revents != 0 { lives = link.fromClient { drops($0) } }
            if lives, entries[2 + 2 * index].revents != 0 { lives = link.fromServer() }
            if !lives { over.append(link) }
        }
        for link in over {
            link.hangUp()
            links.removeAll { $0 === link }
        }
    }

    private func drops(_ subject: Link.Subject) -> Bool {
        let roll = Int.random(in: 0..<1000, using: &random)
        return orders.withLock { orders in
            orders.counts.seen[subject.rawValue, default: 0] += 1
            guard roll < orders.dropped[subject] ?? 0 else { return false }
            orders.counts.dropped[subject.rawValue, default: 0] += 1
            return true
        }
    }

    private func acceptOne() {
        let client = accept(listener, nil, nil)
        guard client >= 0 else { return }
        TCP.sendAtOnce(client)
        guard let server = Self.connect(to: socket) else {
            // the server is away: so is this door
            close(client)
            return
        }
        orders.withLock { $0.counts.connections += 1 }
        links.append(Link(client: client, server: server))
    }

    private static func connect(to path: String) -> CInt? {
        #if canImport(Darwin)
        let descriptor = Darwin.socket(AF_UNIX, SOCK_STREAM, 0)
        #else
        let descriptor = Glibc.socket(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0)
        #endif
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8.prefix($0.count - 1)) }
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                open(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard result == 0 else {
            close(descriptor)
            return nil
        }
        return descriptor
    }
}

// Outside the type, whose method of the same name would hide the system's.
private func open(_ descriptor: CInt, _ address: UnsafePointer<sockaddr>, _ length: socklen_t) -> CInt {
    connect(descriptor, address, length)
}
