// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import CLibPQ

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// Owns one `PGconn`: the calls on it that do not wait.
///
/// Not `Sendable`, so the compiler proves what libpq asks for: one thread at a time per connection.
final class Handle {
    let pointer: OpaquePointer
    /// Set by libpq's callback, which runs inside the calls below and so on the thread that makes them.
    private let hasSaidFarewell = UnsafeMutablePointer<Bool>.allocate(capacity: 1)

    /// Takes over a connection, from its first moment on: libpq prints notices to standard error otherwise.
    init(adopting pointer: OpaquePointer) {
        self.pointer = pointer
        hasSaidFarewell.initialize(to: false)
        PQsetNoticeReceiver(
            pointer,
            { flag, notice in
                // What ends the session while nothing is under way, such as a shutdown, comes as a notice, some time
                // before the socket is closed. Other notices are dropped.
                guard let severity = PQresultErrorField(notice, Int32(UInt8(ascii: "V"))) else { return }
                if strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0 {
                    flag?.assumingMemoryBound(to: Bool.self).pointee = true
                }
            }, hasSaidFarewell)
    }

    deinit {
        PQfinish(pointer)
        hasSaidFarewell.deallocate()
    }

    /// The descriptor to wait for. It changes while connecting: read it before every wait.
    var descriptor: Int32 { PQsocket(pointer) }

    var isBroken: Bool { PQstatus(pointer) == CONNECTION_BAD }

    var isInTransaction: Bool { PQtransactionStatus(pointer) != PQTRANS_IDLE }

    var lostConnection: PostgresError { PostgresError(connectionLost: String(cString: PQerrorMessage(pointer))) }

    /// Queues a statement in libpq's buffer, to be sent by `flush`: Parse, Bind, Describe and Execute of the unnamed
    /// statement, which a pooler in transaction mode lets pass.
    func send(_ statement: Statement) -> Bool {
        let binds = statement.binds
        if binds.isEmpty {
            return PQsendQueryParams(pointer, statement.text, 0, nil, nil, nil, nil, 1) == 1
        }
        let types = binds.map(\.type)
        let lengths = binds.map { Int32(truncatingIfNeeded: $0.bytes?.count ?? 0) }
        let formats = binds.map { $0.format == .binary ? Int32(1) : 0 }
        // All values in one buffer, each with a NUL behind it: in text form libpq reads C strings.
        var buffer: [UInt8] = []
        buffer.reserveCapacity(binds.reduce(0) { $0 + ($1.bytes?.count ?? 0) + 1 })
        let offsets: [Int?] = binds.map { bind in
            guard let bytes = bind.bytes else { return nil }
            defer {
                buffer.append(contentsOf: bytes)
                buffer.append(0)
            }
            return buffer.count
        }
        return buffer.withUnsafeBytes { buffer in
            let values = offsets.map { offset in
                offset.flatMap { buffer.baseAddress?.advanced(by: $0).assumingMemoryBound(to: CChar.self) }
            }
            return PQsendQueryParams(
                pointer, statement.text, Int32(binds.count), types, values, lengths, formats, 1
            ) == 1
        }
    }

    /// Ends a batch: what stands before it since the last Sync is one implicit transaction.
    func sendSync() -> Bool { PQpipelineSync(pointer) == 1 }

    enum FlushOutcome {
        case sent, blocked, failed
    }

    func flush() -> FlushOutcome {
        switch PQflush(pointer) {
        case 0: .sent
        case 1: .blocked
        default: .failed
        }
    }

    func consumeInput() -> Bool { PQconsumeInput(pointer) == 1 }

    /// Reads what has arrived; true when there is a result to take, or nothing more will come.
    func absorb() -> Bool { !consumeInput() || PQisBusy(pointer) == 0 }

    /// The next notification that has arrived; call `consumeInput` first.
    func nextNotification() -> Notification? {
        guard let notify = PQnotifies(pointer) else { return nil }
        defer { PQfreemem(notify) }
        return Notification(
            channel: String(cString: notify.pointee.relname), payload: String(cString: notify.pointee.extra),
            processID: notify.pointee.be_pid
        )
    }

    /// Whether the connection, on which nothing is under way, still stands, as far as this side can know.
    ///
    /// Reads what has arrived meanwhile: a notice, a parameter's change, or the server's farewell.
    func isAliveWhileIdle() -> Bool {
        guard !isBroken, PQisBusy(pointer) == 0 else { return false }
        // A farewell is a message and then the end: two reads. The bound only guards against a chatty server.
        for _ in 0..<16 {
            var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            guard poll(&entry, 1, 0) > 0 else { break }
            guard consumeInput(), PQisBusy(pointer) == 0 else { return false }
        }
        return !isBroken && !hasSaidFarewell.pointee
    }

    /// Ends the use of pipeline mode or begins it; only between conversations.
    func setPipelineMode(_ on: Bool) -> Bool {
        (on ? PQenterPipelineMode(pointer) : PQexitPipelineMode(pointer)) == 1
    }

    /// Asks the server to cancel what it runs for this connection, and returns when it has taken note.
    ///
    /// `PQcancel` opens a connection of its own and blocks, so it runs on a throw-away thread.
    ///
    /// - Returns: whether the request is over. While it is not, a cancellation may still come and would then hit
    ///   the next statement: the connection must not be used again.
    func cancel(
        until deadline: ContinuousClock.Instant, poller: Poller, isolation: isolated (any Actor)? = #isolation
    ) async -> Bool {
        guard let request = PQgetCancel(pointer) else { return true }
        // An address, because the compiler cannot know that a PGcancel may be used on any thread; only the thread
        // below uses it from here on.
        let address = UInt(bitPattern: request)
        let outcome = await callOffThread(until: deadline, heedingCancellation: false, poller: poller) {
            let request = OpaquePointer(bitPattern: address)
            var problem = [CChar](repeating: 0, count: 256)
            let isAccepted = PQcancel(request, &problem, Int32(problem.count)) == 1
            PQfreeCancel(request)
            return isAccepted
        }
        switch outcome {
        case .finished: return true
        case .timedOut, .cancelled: return false
        case .notStarted:
            PQfreeCancel(request)
            return true
        }
    }
}
