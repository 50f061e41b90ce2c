// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import Outbox
import OutboxAudit
import OutboxRelay

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// A relay with Swift handlers that keep a ledger of their own: each run is written down before it begins and when it
/// has ended.
struct Handlers {
    struct Order: Codable, Sendable {
        var name: String
        var url: String
        var ledger: String
        var concurrency = 64
        var lease = 4.0
        var sweep = 1.0
        var stopGrace = 10.0
        /// How often a task that fails is tried.
        var maxAttempts = 20
        /// How often a relay may vanish with a task.
        var maxCrashes = 3
        /// How long a run may take, in seconds.
        var timeout = 30.0
        /// Of which kinds.
        var kinds = ["storm.swift"]
    }

    let order: Order

    init(_ order: Order) { self.order = order }

    func run() async throws {
        try Role.obey()
        let ledger = try LinesFile(order.ledger)
        let policy = HandlerPolicy(
            retry: RetryPolicy(
                maxAttempts: order.maxAttempts, maxCrashes: order.maxCrashes,
                backoff: Backoff(base: .milliseconds(200), factor: 2, cap: .seconds(2))),
            timeout: .seconds(order.timeout))
        let handlers = order.kinds.map { kind in
            Handler(kind: kind, policy: policy) { [name = order.name] task, context in
                var run = Ledgers.Effect(
                    task: "\(task.id)", key: context.idempotencyKey, payload: Work.hash(task.payload),
                    attempt: task.attempt, by: name, start: Instant.now, isDeaf: kind == "storm.hang")
                ledger.append(run.lineOfBeginning)
                defer {
                    run.end = Instant.now
                    if let line = run.lineOfEnd { ledger.append(line) }
                }
                run.outcome = .failed
                try await Self.perform(kind, Work.read(task.payload), attempt: task.attempt)
                run.outcome = .succeeded
            }
        }
        let configuration = RelayConfiguration(
            name: order.name, concurrency: order.concurrency, lease: .seconds(order.lease),
            sweepInterval: .seconds(order.sweep), stopGrace: .seconds(order.stopGrace), cancellationGrace: .seconds(1))
        let relay = try Relay(
            database: try DatabaseConfiguration(url: order.url), handlers: handlers, configuration: configuration)
        try await relay.runUntilSignalled()
    }

    private struct Failed: Error {}

    /// The effect of a kind: most take their time, some are what one would rather not have.
    private static func perform(_ kind: String, _ work: Work?, attempt: Int) async throws {
        guard let work else { throw Reject("its payload is not what was written") }
        switch kind {
        case "storm.trap":
            // what a failed precondition does
            kill(getpid(), SIGILL)
            try await Task.sleep(for: .seconds(1))
        case "storm.hang":
            // deaf: a sleep that nobody can cancel
            let end = Instant.now + Instant.seconds(Double(work.milliseconds) / 1000)
            while Instant.now < end {
                await withCheckedContinuation { continuation in
                    DispatchQueue.global().asyncAfter(deadline: .now() + 0.05) { continuation.resume() }
                }
            }
        case "storm.eat":
            // to the limit of its address space, and not of the machine's memory: none of it is written to
            while true { _ = UnsafeMutableRawPointer.allocate(byteCount: 64 << 20, alignment: 16) }
        default:
            try await Task.sleep(for: .milliseconds(work.milliseconds))
        }
        if attempt <= work.failures { throw Failed() }
    }
}
