// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import OutboxRelay

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif
#if canImport(Darwin)
internal import Darwin
#else
internal import Glibc
#endif

/// What a load process does: a kind of load, which works off jobs.
package protocol Load {
    associatedtype Job: Decodable
    associatedtype Report: Encodable

    /// - Parameter url: The database.
    init(url: String) throws
    /// Does a job. It may block: it is the only one at the time.
    func run(_ job: Job) async throws -> Report
}

/// The child's side of a load process: `outbox bench-load NAME`.
package enum BenchLoad {
    static let urlVariable = "OUTBOX_BENCH_URL"

    /// The kinds of load by their names.
    private static var all: [String: any Load.Type] {
        ["database": DatabaseLoad.self, "receiver": ReceiverLoad.self]
    }

    /// Works off jobs until the input ends.
    package static func serve(_ name: String) async throws {
        guard let load = all[name] else { throw BenchFailure("there is no load '\(name)'") }
        try await serve(load)
    }

    private static func serve<L: Load>(_ type: L.Type) async throws {
        // The input ends with the process that measures, also in the middle of a job: then this one ends too.
        endWithInput()
        var lines = LineSource(descriptor: 0)
        let load = try L(url: getenv(urlVariable).map { String(cString: $0) } ?? "")
        while let line = lines.next() {
            let report = try await load.run(JSONDecoder().decode(L.Job.self, from: Data(line)))
            guard writeAll(1, Array(try JSONEncoder().encode(report)) + [UInt8(ascii: "\n")]) else { return }
        }
    }

    /// Looks, without reading anything, whether the other end of the input is closed.
    private static func endWithInput() {
        _ = DetachedThread.start {
            while true {
                var end = pollfd(fd: 0, events: 0, revents: 0)
                if poll(&end, 1, 1000) > 0, end.revents & Int16(POLLHUP | POLLERR) != 0 { _exit(0) }
            }
        }
    }
}
