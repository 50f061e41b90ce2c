// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Synchronization

/// The connections of a ``Database``: at most so many, opened when needed, handed out in the order of asking.
///
///     acquire ──► line (FIFO, capacity) ──► idle one that lives, else a new one
///     release ──► idle, if it is reusable and not condemned ──► next in line
///
/// There is no backoff and no background task: whoever asks learns at once what is wrong, and decides.
final class ConnectionPool: Sendable {
    private struct State {
        var idle: [Connection] = []
        var isClosed = false
        /// Raised when the pool turns out to be connected to the wrong server; older connections are then closed.
        var generation = 0
    }

    /// A connection in use, and the generation that it was opened in.
    struct Lease {
        let connection: Connection
        fileprivate let generation: Int
    }

    private let configuration: DatabaseConfiguration
    private let turnstile: Turnstile
    private let state = Mutex(State())

    init(_ configuration: DatabaseConfiguration) {
        self.configuration = configuration
        turnstile = Turnstile(capacity: max(configuration.maxConnections, 1))
    }

    /// The number of tasks that wait for a connection.
    var waiting: Int { turnstile.waiting }

    /// Waits for a place, then takes an idle connection or opens one.
    func acquire(isolation: isolated (any Actor)? = #isolation) async throws(PostgresError) -> Lease {
        do {
            try await turnstile.enter(until: .now + configuration.acquireTimeout)
        } catch {
            throw PostgresError(acquiring: error, configuration)
        }
        do {
            while let lease = state.withLock({ state in
                state.idle.popLast().map { Lease(connection: $0, generation: state.generation) }
            }) {
                if await lease.connection.checkIdle() { return lease }
            }
            let generation = state.withLock { $0.generation }
            return Lease(connection: try await Connection.connect(configuration), generation: generation)
        } catch {
            turnstile.leave()
            throw error
        }
    }

    /// Gives a connection back, whatever state it is in.
    func release(_ lease: Lease, isolation: isolated (any Actor)? = #isolation) async {
        if await lease.connection.isOnWrongServer { await condemn(lease.generation) }
        let isReusable = await lease.connection.isReusable
        let isKept = state.withLock { state in
            guard isReusable, !state.isClosed, state.generation == lease.generation else { return false }
            state.idle.append(lease.connection)
            return true
        }
        if !isKept { await lease.connection.close() }
        turnstile.leave()
    }

    /// Closes the idle connections at once and those in use when they come back.
    ///
    /// After a failover the host's name leads elsewhere, but every open connection still leads to the old server:
    /// https://www.postgresql.org/docs/current/warm-standby-failover.html
    private func condemn(_ generation: Int) async {
        let idle: [Connection] = state.withLock { state in
            // Several connections may report the same failover; only the first counts.
            guard state.generation == generation else { return [] }
            state.generation += 1
            defer { state.idle = [] }
            return state.idle
        }
        for connection in idle { await connection.close() }
    }

    /// Refuses everyone from now on and returns when the last connection is given back and closed.
    func close() async {
        state.withLock { $0.isClosed = true }
        await turnstile.close()
        let idle = state.withLock { state in
            defer { state.idle = [] }
            return state.idle
        }
        for connection in idle { await connection.close() }
    }
}

extension PostgresError {
    fileprivate init(acquiring refusal: Turnstile.Refusal, _ configuration: DatabaseConfiguration) {
        switch refusal {
        case .timedOut:
            self.init(
                .poolExhausted,
                "None of the \(configuration.maxConnections) connections became free within "
                    + "\(configuration.acquireTimeout).",
                hint: "Look for long transactions in this process, or raise maxConnections."
            )
        case .cancelled: self.init(.cancelled, "The task was cancelled while it waited for a connection.")
        case .closed: self.init(.poolClosed, "The database was closed.")
        }
        nothingWasSent = true
    }
}
