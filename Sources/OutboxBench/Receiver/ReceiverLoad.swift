// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import OutboxRelay

/// The receiver as a load process: `outbox bench-load receiver`.
///
/// It serves from its start until its input ends. A job is an order to the server, and its report tells what has come
/// so far.
struct ReceiverLoad: Load {
    /// What to do from now on; every path answers 200 until told otherwise.
    struct Order: Codable, Sendable {
        /// The status of each path that is named.
        var statuses: [String: Int] = [:]
        /// Paths of which every key and every second are to be known from now on.
        var remembers: [String] = []
    }

    struct Report: Codable, Sendable {
        let port: Int
        let paths: [Seen]

        /// What has come to a path; nothing if it is not known.
        func seen(at path: String) -> Seen { paths.first { $0.path == path } ?? Seen(path: path) }
    }

    /// What has come to one path. But for the requests, since it is remembered.
    struct Seen: Codable, Sendable {
        let path: String
        var requests = 0
        var keys = 0
        /// Keys that were answered with 200, and those that were so more than once.
        var acceptedKeys = 0
        var repeatedKeys = 0
        var highestAttempt = 0
        /// Requests in each second.
        var perSecond: [Int] = []
    }

    private let ledger = SharedLedger()
    private let port: Int

    init(url: String) throws {
        let (listener, port) = try Receiver.listen()
        self.port = port
        let started = DetachedThread.start { [ledger] in
            var receiver = Receiver(listener, ledger: ledger)
            receiver.run()
        }
        guard started else { throw BenchFailure("the system has no room for the receiver's thread") }
    }

    func run(_ order: Order) -> Report {
        Report(port: port, paths: ledger.carryOut(order))
    }
}

extension LoadProcess {
    /// Gives the receiver an order and returns what has come so far.
    @discardableResult
    func receiver(
        answer statuses: [String: Int] = [:], remember paths: [String] = []
    ) async throws -> ReceiverLoad.Report {
        try await run(ReceiverLoad.Order(statuses: statuses, remembers: paths))
    }
}
