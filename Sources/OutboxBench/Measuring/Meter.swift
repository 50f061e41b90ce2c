// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import OutboxCore
package import PostgresClient

/// Reads what is used up: the CPU of this process and of the server, and the write-ahead log.
///
///     let before = try await meter.read()
///     …
///     let cost = try await meter.read().cost(since: before, tasks: 100_000)
package struct Meter: Sendable {
    private let database: Database
    private let server: ServerProcesses?
    private let countsFullPageImages: Bool

    package init(_ database: Database) async throws {
        self.database = database
        server = try await ServerProcesses(of: database)
        // since version 14
        countsFullPageImages = try await database.query("SELECT to_regclass('pg_catalog.pg_stat_wal') IS NOT NULL")[0]
            .decode(Bool.self, at: 0)
    }

    /// A moment's readings.
    package struct Reading: Sendable {
        package let time: Int64
        package let ownCPU: Duration
        package let residentBytes: Int?
        package let postgresCPU: Duration?
        package let walBytes: Int64
        package let fullPageImages: Int64?
    }

    package func read() async throws -> Reading {
        let images: Statement =
            countsFullPageImages ? "SELECT wal_fpi FROM pg_stat_wal" : "SELECT NULL::bigint"
        let answers = try await database.run([
            "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint", images,
        ])
        return Reading(
            time: Monotonic.now, ownCPU: OwnProcess.cpu, residentBytes: OwnProcess.residentBytes,
            postgresCPU: server?.cpu, walBytes: try answers[0][0].decode(Int64.self, at: 0),
            fullPageImages: try answers[1][0].decode(Int64?.self, at: 0))
    }
}

extension Meter.Reading {
    /// What was used up since an earlier reading, by so many tasks.
    package func cost(since earlier: Self, tasks: Int) -> Cost {
        let thousands = Double(max(tasks, 1)) / 1000
        var cost = Cost()
        cost.ownCPU = (ownCPU - earlier.ownCPU).inSeconds * 1000 / thousands
        if let postgresCPU, let before = earlier.postgresCPU {
            cost.postgresCPU = (postgresCPU - before).inSeconds * 1000 / thousands
        }
        cost.walBytes = Double(walBytes - earlier.walBytes) / thousands / 1000
        if let fullPageImages, let before = earlier.fullPageImages {
            cost.fullPageImages = Double(fullPageImages - before) / thousands
        }
        cost.residentBytes = residentBytes.map(Double.init)
        return cost
    }

    /// The seconds since an earlier reading.
    package func seconds(since earlier: Self) -> Double { Double(time - earlier.time) / 1e9 }
}
