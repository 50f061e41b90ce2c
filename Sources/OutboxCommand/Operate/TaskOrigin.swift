// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Outbox
internal import OutboxCore
internal import PostgresClient

/// Which database the tasks belong to, and which one this is, as the function `origin` tells.
struct TaskOrigin: Sendable {
    /// A database: its name for people, and what it is told by.
    struct Place: Sendable, CustomStringConvertible {
        let name: String
        let oid: Int64
        /// The system identifier of the server's data; `nil` where the server does not tell it.
        let cluster: Int64?

        var description: String { "\(name) (oid \(oid), cluster \(cluster.map { "\($0)" } ?? "unknown"))" }
    }

    /// Whether the tasks belong here: only then relays run them.
    let isHere: Bool
    /// `nil` if nobody has said where the tasks belong.
    let home: Place?
    let here: Place
    let adoptedAt: PostgresTimestamp?
    let adoptedBy: String?

    static func statement(_ schema: Schema) -> Statement {
        Statement(
            """
            SELECT is_here, cluster, database::bigint, name, here_cluster, here_database::bigint, here_name, adopted_at, adopted_by
            FROM \(schema.quoted).origin()
            """, binds: [])
    }

    init(_ row: Row) throws {
        isHere = try row.decode(at: 0)
        home = try row.decode(Int64?.self, at: 2).map { oid in
            try Place(name: row.decode(at: 3), oid: oid, cluster: row.decode(at: 1))
        }
        here = try Place(name: row.decode(at: 6), oid: row.decode(at: 5), cluster: row.decode(at: 4))
        adoptedAt = try row.decode(at: 7)
        adoptedBy = try row.decode(at: 8)
    }

    /// Why no relay runs the tasks, in a line; `nil` where they belong.
    var warning: String? {
        guard !isHere else { return nil }
        let owner = home.map { "the database \($0)" } ?? "a database that is not recorded"
        return "no relay runs tasks here: they belong to \(owner), and this is \(here); see outbox adopt"
    }

    func write(to json: inout JSONWriter) {
        json.member("belongs_here", isHere)
        json.member("home") { json in
            guard let home else { return json.null() }
            json.object { home.write(to: &$0) }
        }
        json.member("here") { $0.object { here.write(to: &$0) } }
    }
}

extension TaskOrigin.Place {
    func write(to json: inout JSONWriter) {
        json.member("name", name)
        json.member("oid", oid)
        // a number of 19 digits is more than a double holds
        json.member("cluster", cluster.map { "\($0)" })
    }
}
