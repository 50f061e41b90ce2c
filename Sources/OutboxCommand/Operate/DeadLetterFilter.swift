// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import PostgresClient

/// Which dead letters are meant.
struct DeadLetterFilter: Equatable, Sendable {
    var kind: String?
    var reason: String?
    var incident: Int64?
    /// Those that were replayed or discarded too.
    var includesResolved = false

    /// The condition on `dead_letters d`, and its parameters from `$1` on.
    var condition: (text: String, binds: [Bind]) {
        var terms: [String] = includesResolved ? [] : ["d.resolution IS NULL"]
        var binds: [Bind] = []
        func add(_ term: String, _ bind: Bind) {
            binds.append(bind)
            terms.append("d.\(term) = $\(binds.count)")
        }
        if let kind { add("kind", kind.bind) }
        if let reason { add("reason", reason.bind) }
        if let incident { add("incident", incident.bind) }
        return (terms.isEmpty ? "true" : terms.joined(separator: " AND "), binds)
    }
}

/// A dead letter by its number, or a task by its id.
enum DeadLetterName: Equatable, Sendable {
    case number(Int64)
    case id(PostgresUUID)
}
