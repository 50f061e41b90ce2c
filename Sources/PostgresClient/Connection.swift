// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import CLibPQ

/// One session with a server.
///
/// The connection is non-blocking and always in libpq's pipeline mode: a batch of statements goes out in one round
/// trip and ends in one Sync, which makes it one transaction of its own unless it stands inside BEGIN. Statements are
/// unnamed and nothing is set for the session, so that it works through a pooler in transaction mode as well.
///
/// Calls from several tasks take turns in the order in which they came.
package actor Connection {
    private var handle: Handle?
    private let poller: Poller
    private let turnstile = Turnstile(capacity: 1)
    /// An error said that this server takes no writes.
    package private(set) var isOnWrongServer = false

    /// How long a cancelled conversation may take to come to its end before the connection is given up.
    static let drainTimeout: Duration = .seconds(5)

    init(adopting handle: sending Handle, poller: Poller) {
        self.poller = poller
        processID = PQbackendPID(handle.pointer)
        serverVersion = Int(PQserverVersion(handle.pointer))
        self.handle = handle
    }

    /// The process that serves this session, as `pg_stat_activity.pid` shows it; behind a pooler, the pooler's number.
    package let processID: Int32

    /// The server's version as 150004 for 15.4.
    package let serverVersion: Int

    package var isClosed: Bool { handle == nil }

    /// Whether the next user can have the connection: it stands, and is outside a conversation and a transaction.
    package var isReusable: Bool { !isConversing && handle.map { !$0.isBroken && !$0.isInTransaction } ?? false }

    /// Whether users who take turns can go on with the connection. While a conversation is under way nobody may look at
    /// it: the next one finds out when it is its turn.
    package var isShareable: Bool { isConversing && handle != nil || isReusable }
    private var isConversing = false

    /// Looks, without waiting, whether the connection has died since it was last used.
    package func checkIdle() -> Bool {
        guard let handle, handle.isAliveWhileIdle() else {
            self.handle = nil
            return false
        }
        return true
    }

    /// Closes the connection. A conversation that is under way comes to its own end; its task should be cancelled.
    package func close() {
        handle = nil
    }

    /// Runs statements in one round trip and returns their results, one for each.
    ///
    /// Unless the session is in a transaction, the statements are one: if any fails, none has taken effect.
    ///
    /// - Parameters:
    ///   - timeout: The time for waiting for one's turn and for the server's answer together.
    ///   - heedingCancellation: Off for what must be said after a cancellation, such as ROLLBACK.
    ///   - admission: Asked when it is the batch's turn, before anything is sent; throws to refuse it.
    ///   - meanwhile: Called when the batch is on its way and the server has something to do.
    /// - Throws: The first error, with the position of its statement. ``PostgresError/Code/timedOut`` and
    ///   ``PostgresError/Code/cancelled`` mean that the statement was cancelled on the server; one that finished
    ///   all the same returns its result.
    @discardableResult
    package func run(
        _ batch: [Statement], timeout: Duration? = nil, heedingCancellation: Bool = true,
        admission: (@Sendable () throws(PostgresError) -> Void)? = nil, meanwhile: (@Sendable () -> Void)? = nil
    ) async throws(PostgresError) -> [QueryResult] {
        for (index, statement) in batch.enumerated() {
            do { try statement.validate() } catch {
                var error = error
                error.statementIndex = index
                throw error
            }
        }
        guard !batch.isEmpty else { return [] }
        let deadline = timeout.map { ContinuousClock.now + $0 }
        let handle = try await takeTurn(until: deadline, heedingCancellation: heedingCancellation)
        defer { turnstile.leave() }
        try admission?()
        for statement in batch {
            guard handle.send(statement) else { throw abandonUnsent(handle) }
        }
        guard handle.sendSync() else { throw abandonUnsent(handle) }
        let results = try await converse(
            handle, Reply(), until: deadline, heedingCancellation: heedingCancellation, meanwhile: meanwhile
        )
        guard results.count == batch.count else {
            self.handle = nil
            throw PostgresError(
                .connectionLost, "The server gave \(results.count) answers to \(batch.count) statements."
            )
        }
        return results
    }

    /// Runs a text of several statements, such as a migration, in one round trip and, unless it has BEGIN and COMMIT
    /// itself, in one transaction. It takes no parameters. Not for statements built from data.
    package func runScript(_ text: String, timeout: Duration? = nil) async throws(PostgresError) {
        try Statement(text, binds: []).validate()
        let deadline = timeout.map { ContinuousClock.now + $0 }
        let handle = try await takeTurn(until: deadline, heedingCancellation: true)
        defer { turnstile.leave() }
        // Only the simple protocol takes several statements in one text, and libpq refuses it in pipeline mode.
        guard handle.setPipelineMode(false), PQsendQuery(handle.pointer, text) == 1 else { throw abandonUnsent(handle) }
        defer { if self.handle != nil, !handle.setPipelineMode(true) { self.handle = nil } }
        _ = try await converse(handle, Reply(endsWithoutSync: true), until: deadline, heedingCancellation: true)
    }

    /// Waits for the next notification of the channels that this session listens to.
    ///
    /// - Returns: `nil` when the deadline has passed or the task was cancelled.
    /// - Throws: ``PostgresError/Code/connectionLost``.
    package func nextNotification(
        until deadline: ContinuousClock.Instant? = nil
    ) async throws(PostgresError) -> Notification? {
        let handle: Handle
        do {
            handle = try await takeTurn(until: deadline, heedingCancellation: true)
        } catch  where error.code == .timedOut || error.code == .cancelled {
            return nil
        }
        defer { turnstile.leave() }
        while true {
            if let notification = handle.nextNotification() { return notification }
            switch await poller.wait(for: handle.descriptor, .read, until: deadline) {
            case .ready:
                guard handle.consumeInput() else { throw abandon(handle, handle.lostConnection) }
            case .timedOut, .cancelled: return nil
            case .failed(let failure): throw abandon(handle, PostgresError(connectionLost: failure.description))
            }
        }
    }

    // MARK: - The conversation

    private func takeTurn(
        until deadline: ContinuousClock.Instant?, heedingCancellation: Bool
    ) async throws(PostgresError) -> Handle {
        do {
            try await turnstile.enter(until: deadline, heedingCancellation: heedingCancellation)
        } catch {
            throw PostgresError(whileWaiting: error)
        }
        if heedingCancellation, Task.isCancelled {
            turnstile.leave()
            throw PostgresError(whileWaiting: .cancelled)
        }
        guard let handle, !handle.isBroken else {
            self.handle = nil
            turnstile.leave()
            var error = PostgresError(connectionLost: "The connection was closed or broken before the call")
            error.nothingWasSent = true
            throw error
        }
        return handle
    }

    /// Why the conversation has to end early.
    private enum Interruption {
        case timedOut, cancelled

        var error: PostgresError {
            switch self {
            case .timedOut: PostgresError(.timedOut, "The server did not answer in time; the statement was cancelled.")
            case .cancelled: PostgresError(.cancelled, "The task was cancelled, and the statement with it.")
            }
        }
    }

    /// Sends what is queued and reads until the answer is complete.
    ///
    ///     talking ──(complete)──────────────────► results, or the server's error
    ///      │   └────(broken)────────────────────► connectionLost, closed
    ///      └(deadline, cancellation)
    ///          ▼
    ///     cancel request ◄─(1 second)─ draining ──(complete)──► results if it had finished, else timedOut, cancelled
    ///          └────────────────────────►  └──────(5 seconds)─► timedOut or cancelled, closed
    private func converse(
        _ handle: Handle, _ expected: Reply, until deadline: ContinuousClock.Instant?, heedingCancellation: Bool,
        meanwhile: (@Sendable () -> Void)? = nil
    ) async throws(PostgresError) -> [QueryResult] {
        isConversing = true
        defer { isConversing = false }
        var reply = expected
        var wakeUp = deadline
        var interruption: Interruption?
        var giveUp = ContinuousClock.now
        var isCancelRequestOver = true
        var meanwhile = meanwhile
        while true {
            let flushed = handle.flush()
            meanwhile?()
            meanwhile = nil
            // What the server said before it hung up is in libpq's buffer even if nothing can be sent any more.
            reply.collect(from: handle)
            if reply.isComplete { break }
            if reply.isUnintelligible {
                throw abandon(handle, PostgresError(.server, "COPY is not possible on this connection."))
            }
            if flushed == .failed || handle.isBroken { throw abandon(handle, reply.failure ?? handle.lostConnection) }
            // The server may be unable to read before it is read from, so both directions are waited for at once:
            // https://www.postgresql.org/docs/current/libpq-pipeline-mode.html
            // Once all is sent, the poller's thread reads: it alone uses the handle until the wait ends.
            nonisolated(unsafe) let lent = handle
            let absorb: @Sendable () -> Bool = { lent.absorb() }
            let readiness = await poller.wait(
                for: handle.descriptor, flushed == .blocked ? [.read, .write] : .read, until: wakeUp,
                heedingCancellation: heedingCancellation && interruption == nil,
                absorbing: flushed == .blocked ? nil : absorb
            )
            switch readiness {
            case .ready:
                // On failure the connection is marked as broken, and the next round takes what is left in the buffer.
                if flushed == .blocked { _ = handle.consumeInput() }
            case .failed(let failure):
                throw abandon(handle, PostgresError(connectionLost: failure.description))
            case .timedOut, .cancelled:
                if let interruption, ContinuousClock.now >= giveUp || !isCancelRequestOver {
                    throw abandon(handle, interruption.error)
                }
                if interruption == nil {
                    interruption = readiness == .cancelled ? .cancelled : .timedOut
                    giveUp = .now + Self.drainTimeout
                }
                // A request that arrives between two statements is lost, so it is repeated every second.
                isCancelRequestOver = await handle.cancel(until: giveUp, poller: poller)
                wakeUp = min(giveUp, .now + .seconds(1))
            }
        }
        if let failure = reply.failure { throw judge(failure, interruption, isCancelRequestOver) }
        if !isCancelRequestOver { self.handle = nil }
        return reply.results
    }

    /// What the caller is told when the server answered with an error.
    private func judge(
        _ failure: PostgresError, _ interruption: Interruption?, _ isCancelRequestOver: Bool
    ) -> PostgresError {
        if failure.indicatesWrongServer { isOnWrongServer = true }
        if !failure.isConnectionUsable || !isCancelRequestOver { handle = nil }
        guard let interruption, failure.sqlState == .queryCanceled else { return failure }
        var error = interruption.error
        error.statementIndex = failure.statementIndex
        return error
    }

    private func abandon(_ handle: Handle, _ error: PostgresError) -> PostgresError {
        self.handle = nil
        return error
    }

    /// The batch did not get as far as the socket.
    private func abandonUnsent(_ handle: Handle) -> PostgresError {
        var error = handle.lostConnection
        error.nothingWasSent = true
        return abandon(handle, error)
    }
}

extension PostgresError {
    init(whileWaiting refusal: Turnstile.Refusal) {
        switch refusal {
        case .timedOut: self.init(.timedOut, "The call did not get its turn in time; nothing was sent.")
        case .cancelled: self.init(.cancelled, "The task was cancelled before the statement was sent.")
        case .closed: self.init(.connectionLost, "The connection was closed.")
        }
        nothingWasSent = true
    }
}
