// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Synchronization

#if canImport(Darwin)
internal import Darwin
#else
internal import Glibc
#endif

/// The receiver of the benchmarks: HTTP/1.1 with keep-alive on the loopback interface, on one thread.
///
/// It does as little as a server can, since what it takes is taken from the relay under test: one `recv` and one `send`
/// a request, and one `poll` for all connections that have something.
struct Receiver: ~Copyable {
    private let listener: CInt
    private let ledger: SharedLedger
    private var descriptors: [pollfd]
    /// What has come of requests that are not complete; most connections never have any.
    private var partial: [CInt: [UInt8]] = [:]
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 * 1024, alignment: 16)

    init(_ listener: CInt, ledger: SharedLedger) {
        self.listener = listener
        self.ledger = ledger
        descriptors = [pollfd(fd: listener, events: Int16(POLLIN), revents: 0)]
    }

    deinit {
        buffer.deallocate()
    }

    /// Serves for as long as the process lives.
    mutating func run() {
        while true {
            guard poll(&descriptors, nfds_t(descriptors.count), -1) > 0 else { continue }
            let mayAccept = descriptors[0].revents != 0
            var index = 1
            while index < descriptors.count {
                if descriptors[index].revents != 0, !serve(descriptors[index].fd) {
                    hangUp(descriptors[index].fd)
                    descriptors.swapAt(index, descriptors.count - 1)
                    descriptors.removeLast()
                } else {
                    index += 1
                }
            }
            if mayAccept { acceptOne() }
        }
    }

    private mutating func acceptOne() {
        let descriptor = accept(listener, nil, nil)
        guard descriptor >= 0 else { return }
        // an answer is one small segment: it must not wait for the acknowledgement of the one before
        var on: CInt = 1
        setsockopt(descriptor, CInt(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<CInt>.size))
        descriptors.append(pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0))
    }

    private mutating func hangUp(_ descriptor: CInt) {
        partial[descriptor] = nil
        close(descriptor)
    }

    /// Reads once, answers what is complete, and keeps the rest. False when the connection is over.
    private mutating func serve(_ descriptor: CInt) -> Bool {
        var filled = 0
        if !partial.isEmpty, let rest = partial.removeValue(forKey: descriptor) {
            guard rest.count < buffer.count else { return false }
            buffer.copyBytes(from: rest)
            filled = rest.count
        }
        let free = UnsafeMutableRawBufferPointer(rebasing: buffer[filled...])
        let count = recv(descriptor, free.baseAddress, free.count, CInt(MSG_DONTWAIT))
        guard count > 0 else { return false }
        filled += count
        var offset = 0
        while let request = ReceivedRequest(UnsafeRawBufferPointer(rebasing: buffer[offset..<filled])) {
            offset += request.byteCount
            guard answer(ledger.note(request), to: descriptor) else { return false }
        }
        if offset < filled { partial[descriptor] = Array(buffer[offset..<filled]) }
        return true
    }

    private func answer(_ status: Int, to descriptor: CInt) -> Bool {
        let answer: StaticString =
            switch status {
            case 200: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
            case 429: "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n"
            case 503: "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
            default: "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
            }
        let sent = send(descriptor, answer.utf8Start, answer.utf8CodeUnitCount, CInt(MSG_NOSIGNAL))
        return sent == answer.utf8CodeUnitCount
    }

    /// A socket that listens on a free port of the loopback interface.
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
        guard result == 0 else { throw BenchFailure("a port for the receiver could not be opened") }
        return (descriptor, Int(UInt16(bigEndian: address.sin_port)))
    }
}

/// The ledger, which the receiver's thread writes and the one that takes orders reads.
final class SharedLedger: Sendable {
    private let ledger = Mutex(RequestLedger())

    func note(_ request: ReceivedRequest) -> Int { ledger.withLock { $0.note(request) } }

    func carryOut(_ order: ReceiverLoad.Order) -> [ReceiverLoad.Seen] { ledger.withLock { $0.carryOut(order) } }
}

// Outside the type, whose method of the same name would hide the system's.
private func startListening(_ descriptor: CInt) -> CInt { listen(descriptor, 1024) }
