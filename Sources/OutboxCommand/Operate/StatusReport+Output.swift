// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Outbox
internal import OutboxCore
internal import PostgresClient

extension StatusReport {
    /// The report for people.
    var text: String {
        var text = "schema \(schema) at version \(version), \(at.shown)\n"
        if let warning = origin.warning { text += printable(warning) + "\n" }
        text += "\nbacklog\n" + backlogText
        text += "\nrelays alive\n" + relaysText
        text += "\nattempts in the last \(minutes) minutes\n" + attemptsText
        text += "\nopen incidents\n" + incidentsText
        text += "\nopen dead letters: \(openDeadLetters)\n"
        return text
    }

    private var backlogText: String {
        var table = Table("  QUEUE", "PRIORITY", "STATE", "TASKS", "OLDEST", right: [1, 3, 4])
        for row in backlog {
            let count = row.count >= Self.countedUpTo ? "\(row.count)+" : "\(row.count)"
            table.add(
                "  " + row.queue, "\(row.priority)", row.state, count, row.oldest.map(DurationText.rough) ?? "-")
        }
        return table.isEmpty ? "  empty\n" : table.text
    }

    private var relaysText: String {
        var table = Table("  RELAY", "VERSION", "STARTED AT", "SEEN", "KINDS", "ALERTS", right: [])
        for relay in relays {
            let kinds = relay.kinds.map { $0.isEmpty ? "none" : cut($0.joined(separator: ","), to: 40) } ?? "every"
            table.add(
                "  " + relay.name, relay.version, relay.startedAt.shown, DurationText.rough(relay.seen) + " ago",
                kinds,
                relay.channels.joined(separator: ","))
        }
        guard table.isEmpty else { return table.text }
        return "  none" + (backlog.isEmpty ? "" : ": nothing runs; start one with outbox run") + "\n"
    }

    private var attemptsText: String {
        let outcomes = Set(attempts.map(\.outcome)).sorted()
        guard !outcomes.isEmpty else { return "  none\n" }
        var table = Table(titles: ["  KIND"] + outcomes.map { $0.uppercased() }, right: Set(1...outcomes.count))
        for kind in Set(attempts.map(\.kind)).sorted() {
            table.add(
                cells: ["  " + kind]
                    + outcomes.map { outcome in
                        "\(attempts.first { $0.kind == kind && $0.outcome == outcome }?.count ?? 0)"
                    })
        }
        return table.text
    }

    private var incidentsText: String {
        var table = Table(
            "  INCIDENT", "OPEN", "OF", "KIND", "ENDPOINT", "SINCE", "LATEST", "ERROR", right: [1, 2])
        for incident in incidents {
            table.add(
                "  \(incident.number)", "\(incident.open)", "\(incident.count)", incident.kind,
                incident.endpoint ?? "-",
                incident.openedAt.shown, incident.lastAt.shown,
                cut("\(incident.errorType): \(incident.errorMessage)", to: 60))
        }
        return table.isEmpty ? "  none\n" : table.text
    }

    /// The report for programs.
    func write(to json: inout JSONWriter) {
        json.object { json in
            json.member("schema", schema.name)
            json.member("version", version)
            json.member("at", at.rfc3339)
            origin.write(to: &json)
            json.member("backlog") { json in
                json.array { json in
                    for row in backlog {
                        json.object { json in
                            json.member("queue", row.queue)
                            json.member("priority", row.priority)
                            json.member("state", row.state)
                            json.member("count", row.count)
                            json.member("oldest_seconds") { json in
                                row.oldest.map { json.value($0.inSeconds) } ?? json.null()
                            }
                        }
                    }
                }
            }
            json.member("relays") { json in
                json.array { json in
                    for relay in relays {
                        json.object { json in
                            json.member("name", relay.name)
                            json.member("version", relay.version)
                            json.member("kinds") { json in
                                guard let kinds = relay.kinds else { return json.null() }
                                json.array { json in for value in kinds { json.value(value) } }
                            }
                            json.member("channels") {
                                $0.array { json in for value in relay.channels { json.value(value) } }
                            }
                            json.member("started_at", relay.startedAt.rfc3339)
                            json.member("seen_seconds_ago", relay.seen.inSeconds)
                        }
                    }
                }
            }
            json.member("minutes", minutes)
            json.member("attempts") { json in
                json.array { json in
                    for row in attempts {
                        json.object { json in
                            json.member("kind", row.kind)
                            json.member("outcome", row.outcome)
                            json.member("count", row.count)
                        }
                    }
                }
            }
            json.member("incidents") { json in
                json.array { json in
                    for incident in incidents {
                        json.object { json in
                            json.member("number", incident.number)
                            json.member("kind", incident.kind)
                            json.member("endpoint", incident.endpoint)
                            json.member("error_type", incident.errorType)
                            json.member("error_message", incident.errorMessage)
                            json.member("opened_at", incident.openedAt.rfc3339)
                            json.member("last_at", incident.lastAt.rfc3339)
                            json.member("count", incident.count)
                            json.member("open", incident.open)
                        }
                    }
                }
            }
            json.member("open_dead_letters", openDeadLetters)
        }
    }
}
