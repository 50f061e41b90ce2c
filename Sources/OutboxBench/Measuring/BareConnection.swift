// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import CLibPQ

#if canImport(Darwin)
internal import Darwin
#else
internal import Glibc
#endif

/// A connection by libpq and nothing else, whose calls block: for floors, and for load.
///
/// Statements are prepared once and sent with parameters in text; several may go in one round trip.
final class BareConnection {
    /// A server's result, freed when it is let go.
    final class Answer {
        let pointer: OpaquePointer
        init(_ pointer: OpaquePointer) { self.pointer = pointer }
        deinit { PQclear(pointer) }

        var rows: Int32 { PQntuples(pointer) }
        /// The bytes of a value, in whichever format was asked for.
        func bytes(_ row: Int32, _ column: Int32) -> UnsafeRawBufferPointer {
            UnsafeRawBufferPointer(
                start: PQgetvalue(pointer, row, column), count: Int(PQgetlength(pointer, row, column)))
        }
        func isNull(_ row: Int32, _ column: Int32) -> Bool { PQgetisnull(pointer, row, column) == 1 }
    }

    let pointer: OpaquePointer

    init(_ url: String) throws {
        guard let pointer = PQconnectdb(url) else { throw BenchFailure("out of memory") }
        self.pointer = pointer
        guard PQstatus(pointer) == CONNECTION_OK else {
            defer { PQfinish(pointer) }
            throw BenchFailure("a connection for the load failed: \(String(cString: PQerrorMessage(pointer)))")
        }
        PQsetNoticeReceiver(pointer, { _, _ in }, nil)
    }

    deinit { PQfinish(pointer) }

    /// Runs a text of one or several statements without parameters.
    func run(_ text: String) throws {
        _ = try checked(PQexec(pointer, text))
    }

    func prepare(_ name: String, _ text: String) throws {
        _ = try checked(PQprepare(pointer, name, text, 0, nil))
    }

    /// Runs a prepared statement with parameters in text, and waits for its answer.
    @discardableResult
    func execute(_ name: String, _ values: [String] = []) throws -> Answer {
        var copies = values.map { UnsafePointer<CChar>(strdup($0)) }
        defer { for copy in copies { free(UnsafeMutablePointer(mutating: copy)) } }
        return try checked(PQexecPrepared(pointer, name, Int32(values.count), &copies, nil, nil, 0))
    }

    /// From now on statements are sent by ``send(_:binary:)`` and answered after ``sync(_:)``.
    func enterPipeline() throws {
        guard PQenterPipelineMode(pointer) == 1 else { throw failure }
    }

    func leavePipeline() throws {
        guard PQexitPipelineMode(pointer) == 1 else { throw failure }
    }

    /// Waits until the server notifies this session, at most so long; what it notified of is forgotten.
    func awaitNotification(milliseconds: Int32) throws {
        guard !takeNotifications() else { return }
        var socket = pollfd(fd: PQsocket(pointer), events: Int16(POLLIN), revents: 0)
        guard poll(&socket, 1, milliseconds) > 0 else { return }
        guard PQconsumeInput(pointer) == 1 else { throw failure }
        _ = takeNotifications()
    }

    private func takeNotifications() -> Bool {
        var found = false
        while let notification = PQnotifies(pointer) {
            PQfreemem(notification)
            found = true
        }
        return found
    }

    /// Sends a prepared statement with parameters and results in binary.
    func send(_ name: String, binary values: [[UInt8]?]) throws {
        let lengths = values.map { Int32($0?.count ?? 0) }
        let formats = [Int32](repeating: 1, count: values.count)
        // one buffer for all: the pointers must live as long as the call
        let all = values.flatMap { $0 ?? [] }
        let sent = all.withUnsafeBufferPointer { buffer in
            var offset = 0
            let pointers = values.map { value -> UnsafePointer<CChar>? in
                guard let value else { return nil }
                defer { offset += value.count }
                guard let base = buffer.baseAddress else { return nil }
                return UnsafeRawPointer(base + offset).assumingMemoryBound(to: CChar.self)
            }
            return PQsendQueryPrepared(pointer, name, Int32(values.count), pointers, lengths, formats, 1)
        }
        guard sent == 1 else { throw failure }
    }

    /// Ends the batch, and gives the answers of its statements.
    func sync(_ count: Int) throws -> [Answer] {
        guard PQpipelineSync(pointer) == 1 else { throw failure }
        var answers: [Answer] = []
        for _ in 0..<count {
            answers.append(try checked(PQgetResult(pointer)))
            // the end of the statement's results
            while let extra = PQgetResult(pointer) { PQclear(extra) }
        }
        while let end = PQgetResult(pointer) {
            defer { PQclear(end) }
            if PQresultStatus(end) == PGRES_PIPELINE_SYNC { break }
        }
        return answers
    }

    private func checked(_ result: OpaquePointer?) throws -> Answer {
        guard let result else { throw failure }
        let answer = Answer(result)
        switch PQresultStatus(result) {
        case PGRES_TUPLES_OK, PGRES_COMMAND_OK: return answer
        default: throw BenchFailure("the load failed: \(String(cString: PQresultErrorMessage(result)))")
        }
    }

    private var failure: BenchFailure {
        BenchFailure("the load failed: \(String(cString: PQerrorMessage(pointer)))")
    }
}
