// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import CLibCurl
import OutboxCore
import OutboxRelay
import Synchronization

/// Sends HTTP requests with libcurl from one thread, any number at a time.
///
///      callers (any task)                      the driver's thread (CurlLoop)
///      begin ────► CurlQueue.submit ──┐
///                                     ├─ wake, if asleep ──►  take ► add ► perform ► poll
///      cancel ───► CurlQueue.cancel ──┘                                      │
///        ◄─────────────────────── the job's completion ◄─────────── done ────┘
///
/// One thread is enough: of some 19 µs of processor time per request (measured with 64 in flight) 14 are libcurl's and
/// the kernel's, and one thread needs no locks around handles that libcurl allows to one thread at a time only. Idle
/// connections are kept and used again, but for those on which something came unasked for. A request is sent once:
/// libcurl's own repetition, on a kept connection that turns out to be closed, is refused. Only a server that answers 421
/// gets it again, over a new connection.
///
/// The thread, and libcurl with it, starts with the first request: setting up OpenSSL reads 2.2 MB of it into memory,
/// which a relay that has nothing to deliver does without.
///
/// Dropping the last reference stops the thread and fails what is left, as ``shutdown(grace:)`` without grace does.
package final class CurlDriver: Sendable {
    private let queue = CurlQueue()
    private let limits: Limits
    private let hasThread = Mutex(false)
    private let lastID = Atomic<UInt64>(0)

    /// What bounds one driver.
    package struct Limits: Sendable {
        /// How many connections stay open, in use or idle. With fewer than are in flight they are closed and opened
        /// for ever anew, so it belongs above the relay's concurrency.
        package var connections = 512
        /// How much of a body is read before the connection is closed; the status decides all the same.
        package var bodyBytes = 64 * 1024
        /// How much header of one answer is read before the request fails.
        package var headerBytes = 256 * 1024

        package init() {}
    }

    package init(limits: Limits = Limits()) {
        self.limits = limits
    }

    deinit {
        queue.stop(grace: .zero)
    }

    /// Sends one request and waits for its answer, whatever its status.
    ///
    /// Throws ``CurlError`` if there is none, also for want of a thread or of memory for libcurl, and
    /// `CancellationError` as soon as the calling task is cancelled: the transfer is then given up and its connection
    /// closed.
    package func perform(_ request: CurlRequest) async throws -> CurlResponse {
        try startThread()
        let id = lastID.add(1, ordering: .relaxed).newValue
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let job = CurlJob(id: id, request: request) { continuation.resume(with: $0) }
                queue.submit(job, heedsCancellation: true)
            }
        } onCancel: {
            queue.cancel(id)
        }
    }

    /// Sends one request and calls `completion` with its answer, as ``CurlJob/completion`` says; returns the number by
    /// which it can be cancelled.
    ///
    /// - Parameter mayBeSent: Asked right before the request goes out; if not, it fails with `CancellationError`.
    package func begin(
        _ request: CurlRequest, while mayBeSent: @escaping @Sendable () -> Bool,
        completion: @escaping @Sendable (Result<CurlResponse, any Error>) -> Void
    ) -> UInt64 {
        let id = lastID.add(1, ordering: .relaxed).newValue
        do {
            try startThread()
            queue.submit(
                CurlJob(id: id, request: request, while: mayBeSent, completion: completion), heedsCancellation: false)
        } catch {
            completion(.failure(error))
        }
        return id
    }

    /// Gives a request up and closes its connection; it fails with `CancellationError` unless it has finished already.
    package func cancel(_ id: UInt64) {
        queue.cancel(id)
    }

    /// Refuses new requests, lets running ones finish for as long as `grace`, fails the rest with
    /// ``CurlError/shutDown`` and returns when the thread has freed everything. May be called more than once.
    package func shutdown(grace: Duration = .zero) async {
        queue.stop(grace: grace)
        hasThread.withLock { hasThread in
            // the last word is the thread's, where there is one
            if !hasThread { queue.close() }
            hasThread = true
        }
        await queue.closed()
    }

    private func startThread() throws {
        try hasThread.withLock { hasThread in
            guard !hasThread else { return }
            guard CurlLibrary.isReady else { throw CurlError.local("libcurl could not be initialised") }
            hasThread = DetachedThread.start { [queue, limits] in
                // Everything that libcurl owns is made and freed on this thread and never leaves it.
                guard let loop = CurlLoop(queue: queue, limits: limits) else { return queue.close() }
                loop.run()
            }
            guard hasThread else { throw CurlError.local("no thread could be started") }
        }
    }
}

/// libcurl's process-wide state, set up once before the first handle exists.
enum CurlLibrary {
    static let isReady = curl_global_init(Int(CURL_GLOBAL_DEFAULT)) == CURLE_OK
}

extension CurlError {
    static func local(_ message: String) -> CurlError {
        .failed(.local, message: message, detail: "")
    }
}
