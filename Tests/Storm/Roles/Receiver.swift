// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import OutboxAudit

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// The world outside: an HTTP server that writes down every request before it acts on it, and again when its effect has
/// happened, whether or not there is still somebody to be answered.
///
/// One thread and one `poll`; effects that take their time wait in a list.
final class Receiver {
    struct Order: Codable, Sendable {
        var ledger: String
    }

    /// A request whose effect is under way.
    private struct Pending {
        let due: Int64
        let descriptor: CInt
        let status: Int
        var effect: Ledgers.Effect
    }

    private let ledger: LinesFile
    private let listener: CInt
    private let port: Int
    private var descriptors: [pollfd]
    private var received: [CInt: [UInt8]] = [:]
    private var pending: [Pending] = []

    init(_ order: Order) throws {
        ledger = try LinesFile(order.ledger)
        (listener, port) = try TCP.listen()
        descriptors = [pollfd(fd: listener, events: Int16(POLLIN), revents: 0)]
    }

    /// Prints the port and serves until the input ends.
    func run() throws {
        try Role.obey()
        writeLine("\(port)", to: 1)
        while true {
            let next = pending.map(\.due).min().map { max(0, ($0 - Instant.now + 999) / 1000) } ?? 1000
            poll(&descriptors, nfds_t(descriptors.count), CInt(min(next, 1000)))
            finish()
            for entry in descriptors where entry.revents != 0 {
                if entry.fd == listener {
                    let descriptor = accept(listener, nil, nil)
                    guard descriptor >= 0 else { continue }
                    TCP.sendAtOnce(descriptor)
                    descriptors.append(pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0))
                } else if !serve(entry.fd) {
                    hangUp(entry.fd)
                }
            }
        }
    }

    private func hangUp(_ descriptor: CInt) {
        descriptors.removeAll { $0.fd == descriptor }
        received[descriptor] = nil
        // its number will be another's: nobody is to get the answer
        for index in pending.indices where pending[index].descriptor == descriptor {
            pending[index] = Pending(
                due: pending[index].due, descriptor: -1, status: pending[index].status, effect: pending[index].effect)
        }
        close(descriptor)
    }

    private func serve(_ descriptor: CInt) -> Bool {
        var chunk = [UInt8](repeating: 0, count: 65_536)
        let count = recv(descriptor, &chunk, chunk.count, CInt(MSG_DONTWAIT))
        if count < 0, errno == EAGAIN { return true }
        guard count > 0 else { return false }
        received[descriptor, default: []] += chunk[..<count]
        while let request = Request(&received[descriptor, default: []]) { begin(request, descriptor) }
        return true
    }

    private func begin(_ request: Request, _ descriptor: CInt) {
        let attempt = Int(request["outbox-attempt"]) ?? 0
        let effect = Ledgers.Effect(
            task: request["webhook-id"], key: request["idempotency-key"], payload: Work.hash(request.body),
            attempt: attempt, by: request["x-relay"], start: Instant.now)
        ledger.append(effect.lineOfBeginning)
        let work = Work.read(request.body)
        let fails = attempt <= work?.failures ?? 0
        pending.append(
            Pending(
                due: Instant.now + Int64(work?.milliseconds ?? 0) * 1000, descriptor: descriptor,
                status: fails ? 500 : 200, effect: effect))
    }

    private func finish() {
        let now = Instant.now
        for var done in pending where done.due <= now {
            done.effect.end = now
            done.effect.outcome = done.status == 200 ? .succeeded : .failed
            if let line = done.effect.lineOfEnd { ledger.append(line) }
            guard done.descriptor >= 0 else { continue }
            let answer = Array("HTTP/1.1 \(done.status) X\r\nContent-Length: 0\r\n\r\n".utf8)
            _ = send(done.descriptor, answer, answer.count, TCP.quietly)
        }
        pending.removeAll { $0.due <= now }
    }
}

/// A complete request, taken off the front of what has been received.
private struct Request {
    private var fields: [(name: String, value: String)] = []
    let body: [UInt8]

    init?(_ bytes: inout [UInt8]) {
        let gap = Array("\r\n\r\n".utf8)
        guard bytes.count >= 4,
            let head = (0...bytes.count - 4).first(where: { bytes[$0] == 13 && Array(bytes[$0..<$0 + 4]) == gap })
        else { return nil }
        for line in String(decoding: bytes[..<head], as: UTF8.self).split(separator: "\r\n").dropFirst() {
            guard let colon = line.firstIndex(of: ":") else { continue }
            let value = line[line.index(after: colon)...].drop { $0 == " " }
            fields.append((line[..<colon].lowercased(), String(value)))
        }
        let length = fields.first { $0.name == "content-length" }.flatMap { Int($0.value) } ?? 0
        guard bytes.count >= head + 4 + length else { return nil }
        body = Array(bytes[(head + 4)..<(head + 4 + length)])
        bytes.removeSubrange(..<(head + 4 + length))
    }

    subscript(name: String) -> String { fields.first { $0.name == name }?.value ?? "" }
}

/// Sockets of the loopback interface.
enum TCP {
    #if canImport(Darwin)
    static let quietly: CInt = 0
    #else
    static let quietly = CInt(MSG_NOSIGNAL)
    #endif

    /// A socket that listens on a free port.
    static func listen() throws -> (descriptor: CInt, port: Int) {
        #if canImport(Darwin)
        let descriptor = socket(AF_INET, SOCK_STREAM, 0)
        #else
        let descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
        #endif
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, length) | startListening(descriptor) | getsockname(descriptor, $0, &length)
            }
        }
        guard result == 0 else { throw StormError("a port could not be opened") }
        return (descriptor, Int(UInt16(bigEndian: address.sin_port)))
    }

    /// Small segments do not wait for the acknowledgement of the one before.
    static func sendAtOnce(_ descriptor: CInt) {
        var on: CInt = 1
        setsockopt(descriptor, CInt(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<CInt>.size))
    }
}

// Outside the type, whose method of the same name would hide the system's.
private func startListening(_ descriptor: CInt) -> CInt { listen(descriptor, 1024) }
