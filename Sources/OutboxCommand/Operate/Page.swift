// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// Names and values below each other, for people.
struct Page {
    private(set) var text = ""

    /// Adds a line, unless there is no value.
    mutating func add(_ name: String, _ value: String?) {
        guard let value else { return }
        text += name + String(repeating: " ", count: max(1, 17 - name.count)) + printable(value) + "\n"
    }

    /// Adds a title with a line before it.
    mutating func title(_ title: String) { text += "\n\(title)\n" }

    /// Adds an indented line.
    mutating func note(_ text: String) { self.text += "  " + printable(text) + "\n" }
}

extension DeadLetter {
    func page(attempts: [AttemptRecord]) -> String {
        var page = Page()
        page.add("dead letter", "\(number)")
        page.add("task", id)
        page.add("kind", kind)
        page.add("queue", queue)
        page.add("endpoint", endpoint)
        page.add("idempotency key", idempotencyKey == id ? nil : idempotencyKey)
        page.add("headers", headers)
        page.add("content type", contentType)
        page.add("enqueued", enqueuedAt.shown)
        page.add("died", deadAt.shown)
        page.add("reason", reason)
        page.add("attempts", "\(attempt), of which \(charged) charged, \(crashed) crashed; replays \(replays)")
        page.add("incident", "\(incident)")
        page.add("error", "\(errorType): \(errorMessage)")
        page.add("detail", errorDetail)
        page.add("HTTP status", httpStatus.map(String.init))
        page.add("response", responseExcerpt)
        page.add(
            "state", resolution.map { "\($0) by \(resolvedBy ?? "?") at \(resolvedAt?.shown ?? "?")" } ?? "open")
        page.add("note", resolutionNote)
        page.add(attempts: attempts)
        return page.text
    }
}

extension Page {
    /// Adds what went wrong in each attempt.
    mutating func add(attempts: [AttemptRecord]) {
        guard !attempts.isEmpty else { return }
        title("attempts that did not succeed")
        for attempt in attempts {
            let relay = attempt.relay.map { " on \($0)" } ?? ""
            let charge = attempt.charged ? "" : ", not charged"
            note("\(attempt.attempt)  \(attempt.endedAt.shown)  \(attempt.outcome)\(charge)\(relay)")
            note("   \(attempt.errorType): \(attempt.errorMessage)")
            if let detail = attempt.errorDetail { note("   detail: \(detail)") }
            if let status = attempt.httpStatus { note("   HTTP status \(status)") }
            if let excerpt = attempt.responseExcerpt { note("   response: \(excerpt)") }
        }
    }
}
