// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import Outbox
import Synchronization

/// The relays of a scenario: sidecars (`outbox run`) and programs with Swift handlers, which it starts, kills, stops and
/// starts again. After each start a relay has another name, so that ledgers tell the runs apart.
final class Fleet: Sendable {
    enum Sort: String, Sendable { case sidecar = "s", handlers = "h" }

    /// Settings of all relays of a fleet.
    struct Settings: Sendable {
        var concurrency = 64
        var lease = 4.0
        var sweep = 1.0
        var stopGrace = 10.0
        var maxAttempts = 20
        var maxCrashes = 3
        var timeout = 30.0
        var kinds = ["storm.swift"]
        var memory: Int?
        var environment: [String: String] = [:]
        /// Begins the relays' names, where a scenario has several fleets.
        var prefix = ""
    }

    struct Member: Sendable {
        let sort: Sort
        let number: Int
        let prefix: String
        var starts = 0
        var child: Child?
        var name: String { "\(prefix)\(sort.rawValue)\(number).\(starts)" }
    }

    private let stage: Stage
    private let url: String
    let receiver: String
    let settings: Settings
    private let members: Mutex<[Member]>

    /// Starts so many of each.
    init(
        _ stage: Stage, sidecars: Int = 0, handlers: Int = 0, receiver: String = "", url: String? = nil,
        settings: Settings = Settings()
    ) throws {
        self.stage = stage
        self.url = url ?? stage.url
        self.receiver = receiver
        self.settings = settings
        members = Mutex(
            (0..<sidecars).map { Member(sort: .sidecar, number: $0 + 1, prefix: settings.prefix) }
                + (0..<handlers).map { Member(sort: .handlers, number: $0 + 1, prefix: settings.prefix) })
        for index in 0..<(sidecars + handlers) { try start(index) }
    }

    var count: Int { members.withLock { $0.count } }
    subscript(index: Int) -> Member { members.withLock { $0[index] } }

    func start(_ index: Int) throws {
        let member = members.withLock { members in
            members[index].starts += 1
            return members[index]
        }
        let child = try member.sort == .sidecar ? startSidecar(member) : startHandlers(member)
        members.withLock { $0[index].child = child }
    }

    private func startHandlers(_ member: Member) throws -> Child {
        var order = Handlers.Order(name: member.name, url: url, ledger: "\(stage.directory)/\(member.name).ledger")
        order.concurrency = settings.concurrency
        order.lease = settings.lease
        order.sweep = settings.sweep
        order.stopGrace = settings.stopGrace
        order.maxAttempts = settings.maxAttempts
        order.maxCrashes = settings.maxCrashes
        order.timeout = settings.timeout
        order.kinds = settings.kinds
        return try stage.children.start(
            member.name, role: "handlers", order, memory: settings.memory, environment: settings.environment)
    }

    private func startSidecar(_ member: Member) throws -> Child {
        let file = "\(stage.directory)/\(member.name).yaml"
        func time(_ seconds: Double) -> String { "\(Int(seconds * 1000))ms" }
        let text = """
            database: {url: "env:STORM_URL"}
            relay: {name: \(member.name), concurrency: \(settings.concurrency), lease: \(time(settings.lease)), \
            sweep_interval: \(time(settings.sweep)), stop_grace: \(time(settings.stopGrace)), cancellation_grace: 1s}
            endpoints:
              receiver:
                url: \(receiver)
                headers: {x-relay: \(member.name)}
                timeout: \(time(settings.timeout))
                idempotency_key: bare
                retry: {max_attempts: \(settings.maxAttempts), max_crashes: \(settings.maxCrashes), base: 200ms, cap: 2s}
            routes: {storm.http: receiver}
            """
        try text.write(toFile: file, atomically: true, encoding: .utf8)
        return try stage.children.start(
            member.name, [Children.outbox, "run", "--config", file],
            environment: settings.environment.merging(["STORM_URL": url]) { $1 })
    }

    /// Kills a relay, and returns how many tasks it held: as many may have a second effect.
    func kill(_ index: Int) async throws -> Int {
        let member = self[index]
        member.child?.send(SIGKILL)
        try await member.child?.ended()
        stage.fault()
        return try await held(by: member.name)
    }

    /// How many tasks a relay holds by a lease.
    func held(by name: String) async throws -> Int {
        try await stage.count(
            """
            SELECT count(*) FROM outbox.ready t JOIN outbox.relays r ON r.id = t.relay
            WHERE r.name = \(name) AND t.lease_until > clock_timestamp()
            """)
    }

    /// The relay of a sort that holds the most tasks: where there is little to do, one of them does nearly all.
    func busiest(_ sort: Sort) async throws -> Int {
        var most = (index: 0, held: -1)
        for index in 0..<count where self[index].sort == sort {
            let held = try await held(by: self[index].name)
            if held > most.held { most = (index, held) }
        }
        return most.index
    }

    /// Has a relay stand still, and notes for how long.
    func standStill(_ index: Int, for seconds: Double) async throws -> Ledger {
        let member = self[index]
        let from = Instant.now
        member.child?.send(SIGSTOP)
        stage.fault()
        let held = try await held(by: member.name)
        try await stage.pause(seconds)
        let until = Instant.now
        member.child?.send(SIGCONT)
        stage.ledgers.withLock { $0.pauses.append((member.name, from, until)) }
        stage.fault()
        return Ledger(name: member.name, held: held, until: until)
    }

    /// What a standstill was.
    struct Ledger: Sendable {
        let name: String
        let held: Int
        let until: Int64
    }

    /// Waits until each has said that it is there.
    func ready(within limit: Double = 20) async throws {
        let names = members.withLock { $0.map(\.name) }
        guard
            try await stage.eventually(
                within: limit,
                {
                    try await stage.count("SELECT count(*) FROM outbox.relays WHERE name = ANY (\(names))")
                        == names.count
                })
        else { throw StormError("the relays did not start: \(names)") }
    }

    /// Whether all run, but for those that were ended on purpose.
    var ended: [String] {
        members.withLock { members in
            members.compactMap { member in member.child?.hasEnded.map { "\(member.name) with \($0)" } }
        }
    }
}
