// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import CLibCurl
import OutboxCore

/// The driver's thread: owns the multi handle, the easy handles and every running transfer.
///
/// It is made, used and dropped on its own thread and is deliberately not `Sendable`.
final class CurlLoop {
    private let multi: UnsafeMutableRawPointer
    private let queue: CurlQueue
    private let limits: CurlDriver.Limits
    private var running: [UInt64: CurlTransfer] = [:]
    /// Transfers that are over and of which nobody has been told yet.
    private var finished: [(job: CurlJob, result: Result<CurlResponse, any Error>)] = []
    private var tellAt = ContinuousClock.now
    private let kept: KeptConnections
    /// Easy handles between transfers, with their constant options set.
    private var spare: [CurlHandle] = []
    private static let maximumSpare = 64

    init?(queue: CurlQueue, limits: CurlDriver.Limits) {
        guard let multi = curl_multi_init() else { return nil }
        outbox_multi_setopt_long(multi, CURLMOPT_MAXCONNECTS, limits.connections)
        self.multi = multi
        self.queue = queue
        self.limits = limits
        kept = KeptConnections(most: limits.connections * 4)
    }

    deinit {
        spare = []
        curl_multi_cleanup(multi)
    }

    func run() {
        queue.attach(CurlWaker(multi))
        while true {
            let work = queue.take()
            for job in work.jobs { begin(job) }
            for id in work.cancelled { fail(id, CancellationError()) }
            if let deadline = work.deadline, running.isEmpty || deadline <= .now { break }
            guard advance() else { continue }
            collect()
            if isTimeToTell { tell() }
            wait(until: work.deadline)
        }
        tell()
        for id in running.keys { fail(id, CurlError.shutDown) }
        queue.close()
    }

    private func begin(_ job: CurlJob) {
        guard let handle = spare.popLast() ?? CurlHandle() else {
            return job.completion(.failure(CurlError.local("libcurl has no memory for a request")))
        }
        let transfer = CurlTransfer(job: job, handle: handle, limits: limits, kept: kept)
        do {
            try transfer.prepare()
        } catch {
            return job.completion(.failure(error))
        }
        guard curl_multi_add_handle(multi, handle.easy) == CURLM_OK else {
            return job.completion(.failure(CurlError.local("libcurl did not accept a request")))
        }
        running[job.id] = transfer
    }

    /// Moves every transfer as far as it goes without waiting. False if libcurl is beyond help: all have failed then.
    private func advance() -> Bool {
        var count: CInt = 0
        let code = curl_multi_perform(multi, &count)
        if code == CURLM_OK { return true }
        let message = String(cString: curl_multi_strerror(code))
        for id in running.keys { fail(id, CurlError.local(message)) }
        return false
    }

    /// Takes the results of all transfers that are over.
    private func collect() {
        let hadNone = finished.isEmpty
        var left: CInt = 0
        while let message = curl_multi_info_read(multi, &left) {
            guard message.pointee.msg == CURLMSG_DONE, let easy = message.pointee.easy_handle else { continue }
            // Both are read here: the message does not survive the removal of its handle.
            let code = message.pointee.data.result
            guard let transfer = CurlHandle.transfer(of: easy) else { continue }
            let result = transfer.result(code)
            if !transfer.isKnownConnection { kept.note(transfer.handle) }
            remove(transfer)
            if transfer.needsAnotherConnection || isMisdirected(result, transfer.job) {
                begin(transfer.job.overFreshConnection)
            } else {
                finished.append((transfer.job, result))
            }
        }
        if hadNone, !finished.isEmpty { tellAt = .now + Self.longestGathering }
    }

    /// How long a result waits for others.
    private static let longestGathering: Duration = .milliseconds(1)

    /// Whether so many are over that it is worth waking whoever waits for them: an eighth of what runs, so that nothing
    /// gathers where little runs. Waking a thread for each took as much time as telling it of eight.
    private var isTimeToTell: Bool { finished.count * 8 >= running.count || tellAt <= .now }

    /// Answers the callers of all transfers that are over.
    private func tell() {
        guard !finished.isEmpty else { return }
        let told = finished
        finished = []
        for (job, result) in told { job.completion(result) }
        queue.giveBack(told.lazy.map(\.job))
    }

    /// Whether the server says that this connection does not lead to the host (421, RFC 9110 section 15.5.20): it has
    /// then not looked at the request, which may go once more over a new one.
    private func isMisdirected(_ result: Result<CurlResponse, any Error>, _ job: CurlJob) -> Bool {
        guard case .success(let response) = result else { return false }
        return response.status == 421 && !job.request.needsFreshConnection
    }

    private func wait(until deadline: ContinuousClock.Instant?) {
        // a thread that is to stop has nothing to wait for any more when its last transfer is over
        guard deadline == nil || !running.isEmpty, queue.sleep(isStopping: deadline != nil) else { return }
        // libcurl shortens this to the next of its own timeouts, and a caller with work cuts it short.
        var limit = Duration.seconds(60)
        if let deadline { limit = min(limit, max(.zero, deadline - .now)) }
        if !finished.isEmpty { limit = Self.longestGathering }
        curl_multi_poll(multi, nil, 0, CInt(limit.roundedUpMilliseconds), nil)
    }

    /// Gives a transfer up. One that has finished meanwhile is not found, and nothing happens.
    private func fail(_ id: UInt64, _ error: any Error) {
        guard let transfer = running[id] else { return }
        remove(transfer)
        transfer.job.completion(.failure(error))
    }

    private func remove(_ transfer: CurlTransfer) {
        running[transfer.job.id] = nil
        // Closes the connection too, unless the transfer is complete.
        curl_multi_remove_handle(multi, transfer.handle.easy)
        transfer.handle.clear()
        if spare.count < Self.maximumSpare { spare.append(transfer.handle) }
    }
}

extension Duration {
    /// Whole milliseconds, never fewer than the duration, from 1 on: libcurl takes 0 as "no limit".
    var roundedUpMilliseconds: Int {
        let (seconds, attoseconds) = components
        let milliseconds = seconds * 1000 + (attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000
        return Int(min(max(1, milliseconds), Int64(Int32.max)))
    }
}
