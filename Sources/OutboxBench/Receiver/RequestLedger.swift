// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// What the benchmarks' receiver knows of the requests that have come: how many to each path, and of paths that it is
/// told to remember, in which second they came and what became of each key.
struct RequestLedger {
    private struct Path {
        let name: [UInt8]
        var status = 200
        var requests = 0
        var remembersSince: ContinuousClock.Instant?
        var perSecond: [Int] = []
        var keys: [[UInt8]: Key] = [:]
    }

    private struct Key {
        /// How often it was answered with 200: more than once is a repetition after a success.
        var accepted = 0
        var highestAttempt = 0
    }

    private var paths: [Path] = []

    /// Notes a request and says with which status to answer it.
    mutating func note(_ request: ReceivedRequest) -> Int {
        let index = index(of: request.path)
        paths[index].requests += 1
        if let since = paths[index].remembersSince { remember(request, at: index, since) }
        return paths[index].status
    }

    /// A handful of paths: looking through them is faster than hashing.
    private mutating func index(of name: some Collection<UInt8>) -> Int {
        if let index = paths.firstIndex(where: { $0.name.elementsEqual(name) }) { return index }
        paths.append(Path(name: Array(name)))
        return paths.count - 1
    }

    private mutating func remember(_ request: ReceivedRequest, at index: Int, _ since: ContinuousClock.Instant) {
        let second = Int((ContinuousClock.now - since).components.seconds)
        while paths[index].perSecond.count <= second { paths[index].perSecond.append(0) }
        paths[index].perSecond[second] += 1
        let isAccepted = paths[index].status == 200
        Self.note(request.attempt, isAccepted, in: &paths[index].keys[Array(request.id), default: Key()])
    }

    private static func note(_ attempt: Int, _ isAccepted: Bool, in key: inout Key) {
        if isAccepted { key.accepted += 1 }
        key.highestAttempt = max(key.highestAttempt, attempt)
    }

    /// Sets what an order sets, and tells of every path.
    mutating func carryOut(_ order: ReceiverLoad.Order) -> [ReceiverLoad.Seen] {
        for (path, status) in order.statuses { paths[index(of: path.utf8)].status = status }
        for path in order.remembers { paths[index(of: path.utf8)].remembersSince = .now }
        return paths.map { path in
            let keys = path.keys.values
            return ReceiverLoad.Seen(
                path: String(decoding: path.name, as: UTF8.self), requests: path.requests, keys: keys.count,
                acceptedKeys: keys.count { $0.accepted > 0 }, repeatedKeys: keys.count { $0.accepted > 1 },
                highestAttempt: keys.map(\.highestAttempt).max() ?? 0, perSecond: path.perSecond)
        }
    }
}
