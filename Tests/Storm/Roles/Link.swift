// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// One connection through the proxy, which follows the protocol as far as it has to: where a message ends, what a round
/// of messages asks for, and when it is answered.
///
/// A round is what the client sends up to a Sync, or a simple Query; the server ends its answer with ReadyForQuery.
/// https://www.postgresql.org/docs/current/protocol-message-formats.html
final class Link {
    /// What a round asks for, if somebody might want to lose the answer.
    enum Subject: String, CaseIterable {
        case commit, claim, settle
    }

    let client: CInt
    let server: CInt
    var isFrozen = false
    /// What the client has sent and is not yet a whole message.
    private var upward: [UInt8] = []
    private var downward: [UInt8] = []
    private var hasStarted = false
    /// Whether the answer to each round under way is to be lost; the first one is the greeting.
    private var rounds: [Bool] = [false]
    private var subject: Subject?

    init(client: CInt, server: CInt) {
        self.client = client
        self.server = server
    }

    func hangUp() {
        close(client)
        close(server)
    }

    /// Passes on what the client has sent. False when the connection is over.
    func fromClient(_ drops: (Subject) -> Bool) -> Bool {
        guard let bytes = Self.receive(client) else { return false }
        upward += bytes
        while let message = nextUpward() {
            switch message.first {
            case UInt8(ascii: "P") where hasStarted, UInt8(ascii: "Q") where hasStarted:
                subject = subject ?? Self.subject(of: message)
            default: break
            }
            if hasStarted, message.first == UInt8(ascii: "S") || message.first == UInt8(ascii: "Q") {
                rounds.append(subject.map(drops) ?? false)
                subject = nil
            }
            if !hasStarted, !start(message) { continue }
            guard Self.send(message, to: server) else { return false }
        }
        return true
    }

    /// The first message has no type. A request for encryption is answered here: there is none. False: it is not for the
    /// server.
    private func start(_ message: [UInt8]) -> Bool {
        let code = message.count >= 8 ? Self.number(message[4..<8]) : 0
        if message.count == 8, code == 80_877_103 || code == 80_877_104 {
            _ = Self.send([UInt8(ascii: "N")], to: client)
            return false
        }
        hasStarted = true
        return true
    }

    /// Passes on what the server has answered, but what is to be lost: then it waits for the end of that answer, so that
    /// the statement has taken effect, and ends the connection.
    func fromServer() -> Bool {
        guard let bytes = Self.receive(server) else { return false }
        downward += bytes
        var passed: [UInt8] = []
        while downward.count >= 5 {
            let length = 1 + Self.number(downward[1..<5])
            guard downward.count >= length else { break }
            let message = downward[..<length]
            let isLost = rounds.first ?? false
            if !isLost { passed += message }
            if message.first == UInt8(ascii: "Z") {
                if isLost { return false }
                if !rounds.isEmpty { rounds.removeFirst() }
            }
            downward.removeFirst(length)
        }
        return passed.isEmpty || Self.send(passed, to: client)
    }

    private func nextUpward() -> [UInt8]? {
        let head = hasStarted ? 1 : 0
        guard upward.count >= head + 4 else { return nil }
        let length = head + Self.number(upward[head..<head + 4])
        guard upward.count >= length else { return nil }
        defer { upward.removeFirst(length) }
        return Array(upward[..<length])
    }

    private static func subject(of message: [UInt8]) -> Subject? {
        let text = String(decoding: message.dropFirst(5).prefix(400), as: UTF8.self)
        if text.contains("COMMIT") { return .commit }
        if text.contains("claim_v1") { return .claim }
        return text.contains("settle_v1") || text.contains("fail_v1") ? .settle : nil
    }

    private static func number(_ bytes: ArraySlice<UInt8>) -> Int { bytes.reduce(0) { $0 << 8 | Int($1) } }

    private static func receive(_ descriptor: CInt) -> [UInt8]? {
        var chunk = [UInt8](repeating: 0, count: 65_536)
        let count = recv(descriptor, &chunk, chunk.count, CInt(MSG_DONTWAIT))
        if count < 0, errno == EAGAIN || errno == EINTR { return [] }
        guard count > 0 else { return nil }
        return Array(chunk[..<count])
    }

    private static func send(_ bytes: [UInt8], to descriptor: CInt) -> Bool {
        var rest = bytes[...]
        while !rest.isEmpty {
            let sent = rest.withUnsafeBytes { sendSome(descriptor, $0.baseAddress, $0.count) }
            if sent < 0, errno == EINTR { continue }
            guard sent > 0 else { return false }
            rest = rest.dropFirst(sent)
        }
        return true
    }
}

// Outside the type, whose method of the same name would hide the system's.
private func sendSome(_ descriptor: CInt, _ bytes: UnsafeRawPointer?, _ count: Int) -> Int {
    send(descriptor, bytes, count, TCP.quietly)
}
