// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Outbox
internal import OutboxCore
internal import PostgresClient

/// What is to be adopted.
struct AdoptionReport: Sendable {
    let origin: TaskOrigin
    let ready: Int
    let running: Int
    let waiting: Int
    let openDeadLetters: Int
    let alertsToTell: Int

    static func read(_ session: Session) async throws -> AdoptionReport {
        let schema = session.schema.quoted
        let results = try await session.database.run([
            TaskOrigin.statement(session.schema),
            Statement(
                """
                SELECT count(*) FILTER (WHERE state = 'ready'), count(*) FILTER (WHERE state = 'running'),
                       count(*) FILTER (WHERE state = 'waiting') FROM \(schema).tasks
                """, binds: []),
            Statement("SELECT count(*) FROM \(schema).dead_letters WHERE resolution IS NULL", binds: []),
            Statement("SELECT count(*) FROM \(schema).alerts WHERE due_at IS NOT NULL", binds: []),
        ])
        return try AdoptionReport(
            origin: TaskOrigin(results[0][0]), ready: results[1][0].decode(at: 0), running: results[1][0].decode(at: 1),
            waiting: results[1][0].decode(at: 2), openDeadLetters: results[2][0].decode(at: 0),
            alertsToTell: results[3][0].decode(at: 0))
    }

    var text: String {
        var page = Page()
        let since = origin.adoptedAt.map { ", since \($0.shown) by \(origin.adoptedBy ?? "?")" } ?? ""
        page.add(
            "tasks belong to", origin.isHere ? "here" + since : (origin.home.map { "\($0)" } ?? "not recorded") + since)
        page.add("this is", "\(origin.here)")
        page.add("ready", "\(ready)")
        page.add("running", "\(running)")
        page.add("waiting", "\(waiting)")
        page.add("dead letters", "\(openDeadLetters) open")
        page.add("alerts to tell", "\(alertsToTell)")
        return page.text
    }

    func write(to json: inout JSONWriter) {
        origin.write(to: &json)
        json.member("ready", ready)
        json.member("running", running)
        json.member("waiting", waiting)
        json.member("open_dead_letters", openDeadLetters)
        json.member("alerts_to_tell", alertsToTell)
    }
}
