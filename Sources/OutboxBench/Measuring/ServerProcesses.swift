// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import PostgresClient

#if canImport(Darwin)
internal import Darwin
#else
internal import Glibc
#endif

/// The processes of a Postgres server on this machine, and the CPU time that they have used.
///
/// That is the postmaster's own time, the time of its children that have ended (which the kernel adds up in it), and the
/// time of those that live: a backend that comes or goes between two readings is counted in full, and once.
struct ServerProcesses: Sendable {
    private let postmaster: Int32

    /// `nil` if the server is elsewhere, or this system does not tell by /proc.
    init?(of database: Database) async throws {
        let answer = try await database.query(
            """
            SELECT pg_backend_pid(), inet_server_addr() IS NULL OR inet_server_addr() <<= '127.0.0.0/8'
                OR inet_server_addr() = '::1'
            """)[0]
        let backend = try answer.decode(Int32.self, at: 0)
        // a number from a container or a pooler may be another process's here: the name tells
        guard try answer.decode(Bool.self, at: 1), let process = ProcessTimes(of: backend), process.isPostgres,
            ProcessTimes(of: process.parent)?.isPostgres == true
        else { return nil }
        postmaster = process.parent
    }

    var cpu: Duration? {
        // A child that ends meanwhile would be counted twice or not at all: then everything is read again.
        for _ in 0..<100 {
            guard let before = ProcessTimes(of: postmaster) else { return nil }
            var ticks = before.own + before.ofEndedChildren
            for number in ProcFile.processes() where number != postmaster {
                guard let child = ProcessTimes(of: number), child.parent == postmaster else { continue }
                ticks += child.own
            }
            guard let after = ProcessTimes(of: postmaster) else { return nil }
            if after.ofEndedChildren == before.ofEndedChildren {
                return .seconds(1) * (Double(ticks) / Double(sysconf(Int32(_SC_CLK_TCK))))
            }
        }
        return nil
    }
}

/// The times of one process: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
private struct ProcessTimes {
    let isPostgres: Bool
    let parent: Int32
    /// In clock ticks, as user and in the kernel together.
    let own: Int
    let ofEndedChildren: Int

    init?(of process: Int32) {
        // the name stands in parentheses and may hold spaces and parentheses itself
        guard let text = ProcFile.read("/proc/\(process)/stat"), let nameEnd = text.lastIndex(of: ")") else {
            return nil
        }
        isPostgres = text[..<nameEnd].contains("(postgres") || text[..<nameEnd].contains("(postmaster")
        let fields = text[text.index(after: nameEnd)...].split(separator: " ")
        guard fields.count > 14, let parent = Int32(fields[1]), let user = Int(fields[11]),
            let system = Int(fields[12]), let childrenUser = Int(fields[13]), let childrenSystem = Int(fields[14])
        else { return nil }
        self.parent = parent
        own = user + system
        ofEndedChildren = childrenUser + childrenSystem
    }
}
