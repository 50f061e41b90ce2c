// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import OutboxRelay
import Synchronization

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// A server that a test scripts: it records the exact bytes of every request and answers as it is told, rightly or
/// wrongly. It listens on a free port of 127.0.0.1 and gives every connection a thread.
final class ScriptedServer: Sendable {
    struct Request: Sendable {
        /// Everything up to the empty line, as it came.
        let head: String
        let body: [UInt8]
        /// The number of the connection, from 1.
        let connection: Int

        var lines: [String] { head.split(separator: "\r\n").map(String.init) }

        func header(_ name: String) -> String? {
            lines.dropFirst().first { $0.lowercased().hasPrefix(name.lowercased() + ":") }
                .map { String($0.dropFirst(name.count + 1).drop { $0 == " " }) }
        }
    }

    enum Reply: Sendable {
        /// These bytes, then the next request on the same connection.
        case send(String)
        /// These bytes, then the end of the connection; no bytes is an end without an answer.
        case sendAndClose(String)
        /// These bytes (mostly none), then a reset instead of an orderly end.
        case reset(String)
        /// Nothing, until the client gives up.
        case hold
        /// The first text, then the second again and again until the client gives up.
        case endless(String, String)
    }

    enum Event: Sendable {
        case request(Request)
        /// The client closed a connection that was held or sent to without end.
        case clientLeft
    }

    let port: UInt16
    /// What happens, in order; for one reader.
    let events: AsyncStream<Event>
    private let continuation: AsyncStream<Event>.Continuation
    private let state = Mutex((requests: [Request](), connections: 0, open: Set<CInt>()))
    private let script: @Sendable (Request, _ number: Int) -> Reply

    var url: String { "http://127.0.0.1:\(port)/" }
    var requests: [Request] { state.withLock { $0.requests } }
    var connections: Int { state.withLock { $0.connections } }

    /// The script is asked for every complete request, with its number from 1.
    init(_ script: @escaping @Sendable (Request, _ number: Int) -> Reply) throws {
        self.script = script
        (events, continuation) = AsyncStream.makeStream()
        let listener: CInt
        (listener, port) = try Self.listen()
        state.withLock { _ = $0.open.insert(listener) }
        guard DetachedThread.start({ [self] in accept(on: listener) }) else { throw Refusal() }
    }

    convenience init(always reply: Reply) throws {
        try self.init { _, _ in reply }
    }

    struct Refusal: Error {}

    static func listen() throws -> (descriptor: CInt, port: UInt16) {
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
        guard result == 0 else { throw Refusal() }
        return (descriptor, UInt16(bigEndian: address.sin_port))
    }

    /// Sends bytes on every open connection, whether anybody asked for them or not.
    func say(_ text: String) {
        state.withLock { state in
            for descriptor in state.open { sayTo(descriptor, Array(text.utf8)) }
        }
    }

    /// Ends every connection and the threads behind them.
    func stop() {
        // Under the lock, so that none of them is closed, and its number given to another test's socket, meanwhile.
        state.withLock { state in
            for descriptor in state.open { shutdown(descriptor, CInt(SHUT_RDWR)) }
        }
    }

    private func accept(on listener: CInt) {
        while true {
            let descriptor = nextConnection(listener)
            guard descriptor >= 0 else { break }
            let number = state.withLock { state in
                state.connections += 1
                state.open.insert(descriptor)
                return state.connections
            }
            if !DetachedThread.start({ [self] in serve(descriptor, number) }) { finish(descriptor) }
        }
        finish(listener)
        continuation.finish()
        // A connection may have come in while the others were being stopped.
        stop()
    }

    private func finish(_ descriptor: CInt) {
        state.withLock { _ = $0.open.remove(descriptor) }
        close(descriptor)
    }

    private func serve(_ descriptor: CInt, _ connection: Int) {
        var received: [UInt8] = []
        while let request = receive(descriptor, connection, &received) {
            let number = state.withLock { state in
                state.requests.append(request)
                return state.requests.count
            }
            let reply = script(request, number)
            continuation.yield(.request(request))
            switch reply {
            case .send(let text):
                if send(descriptor, text) { continue }
            case .sendAndClose(let text):
                _ = send(descriptor, text)
            case .reset(let text):
                _ = send(descriptor, text)
                var now = linger(l_onoff: 1, l_linger: 0)
                setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &now, socklen_t(MemoryLayout<linger>.size))
            case .hold:
                while read(descriptor, &received) {}
                continuation.yield(.clientLeft)
            case .endless(let head, let rest):
                if send(descriptor, head) { while send(descriptor, rest) {} }
                continuation.yield(.clientLeft)
            }
            break
        }
        finish(descriptor)
    }

    private func receive(_ descriptor: CInt, _ connection: Int, _ received: inout [UInt8]) -> Request? {
        while true {
            if let end = received.firstRange(of: Array("\r\n\r\n".utf8)) {
                let head = Request(
                    head: String(decoding: received[..<end.lowerBound], as: UTF8.self), body: [], connection: connection
                )
                let length = head.header("Content-Length").flatMap { Int($0) } ?? 0
                if received.count >= end.upperBound + length {
                    let body = Array(received[end.upperBound..<end.upperBound + length])
                    received.removeFirst(end.upperBound + length)
                    return Request(head: head.head, body: body, connection: connection)
                }
            }
            guard read(descriptor, &received) else { return nil }
        }
    }

    private func read(_ descriptor: CInt, _ received: inout [UInt8]) -> Bool {
        var buffer = [UInt8](repeating: 0, count: 65_536)
        let count = recv(descriptor, &buffer, buffer.count, 0)
        if count > 0 { received.append(contentsOf: buffer[..<count]) }
        return count > 0
    }

    private func send(_ descriptor: CInt, _ text: String) -> Bool {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let sent = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
            guard sent > 0 else { return false }
            rest = rest.dropFirst(sent)
        }
        return true
    }
}

// Outside the class, whose methods of the same names would hide the system's.

private func startListening(_ descriptor: CInt) -> CInt { listen(descriptor, 1024) }
private func nextConnection(_ listener: CInt) -> CInt { accept(listener, nil, nil) }
// The listener is among those it is called for: nobody is there, and that must not end the process.
private func sayTo(_ descriptor: CInt, _ bytes: [UInt8]) { send(descriptor, bytes, bytes.count, CInt(MSG_NOSIGNAL)) }
