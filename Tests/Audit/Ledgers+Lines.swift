// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// Ledgers as lines of JSON, so that many processes can append to files and somebody else judges them.
///
/// Each line is one object without a line break in it, whose member `ledger` says what it tells. Times are microseconds,
/// and who writes appends a line with one write, so that lines do not mix. Members that are null or false may be left out.
///
///     {"ledger":"committed","task":"6f…","key":"order-42","payload":"<hash>","ordering_key":"c7","at":1000}
///     {"ledger":"began","task":"6f…","key":"order-42","payload":"<hash>","attempt":1,"by":"relay-1","at":2000,"deaf":true}
///     {"ledger":"ended","task":"6f…","attempt":1,"by":"relay-1","at":3000,"outcome":"succeeded"}      or "failed", or left out
///     {"ledger":"paused","by":"relay-1","at":2500,"until":9000}
///     {"ledger":"waiting","task":"6f…"}
///     {"ledger":"running","task":"6f…"}
///     {"ledger":"dead","task":"6f…","reason":"exhausted","attempt":5,"at":8000}
///
/// `key` is the task where it is left out. A run whose `ended` is missing never ended. The last line of a process that was
/// killed may be cut off in the middle: it tells nothing, unless it is followed by a line break.
extension Ledgers {
    /// Which line cannot be read.
    package struct InvalidLine: Error, Equatable, CustomStringConvertible {
        package let number: Int
        package let text: String
        package var description: String { "line \(number) of the ledger cannot be read: \(text)" }
    }

    /// All entries, one a line.
    package var lines: String {
        var text = ""
        for commit in commits { text += commit.line + "\n" }
        for effect in effects {
            text += effect.lineOfBeginning + "\n"
            if let line = effect.lineOfEnd { text += line + "\n" }
        }
        for pause in pauses { text += pause.line + "\n" }
        for remainder in remainders { text += remainder.line + "\n" }
        return text
    }

    /// Adds what the lines of one file say.
    package mutating func read(_ text: String) throws(InvalidLine) {
        let isCutOff = !text.hasSuffix("\n")
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        // an `ended` belongs to the last run that began with its task, attempt and relay
        var begun: [String: Int] = [:]
        for (position, line) in lines.enumerated() where !line.allSatisfy(\.isWhitespace) {
            if let entry = FlatJSON(line), add(entry, &begun) { continue }
            if isCutOff, position == lines.count - 1 { return }
            throw InvalidLine(number: position + 1, text: String(line))
        }
    }

    private mutating func add(_ entry: FlatJSON, _ begun: inout [String: Int]) -> Bool {
        guard let ledger = entry.text("ledger") else { return false }
        if ledger == "paused" {
            guard let by = entry.text("by"), let from = entry.number("at"), let until = entry.number("until") else {
                return false
            }
            pauses.append(Pause(by: by, from: from, until: until))
            return true
        }
        guard let task = entry.text("task") else { return false }
        let (at, attempt, by) = (entry.number("at"), entry.number("attempt").map { Int($0) }, entry.text("by"))
        switch ledger {
        case "committed":
            guard let at else { return false }
            commits.append(
                Commit(
                    task: task, key: entry.text("key"), payload: entry.text("payload") ?? "",
                    orderingKey: entry.text("ordering_key"), at: at))
        case "began":
            guard let at, let attempt, let by else { return false }
            begun["\(by) \(attempt) \(task)"] = effects.count
            effects.append(
                Effect(
                    task: task, key: entry.text("key"), payload: entry.text("payload") ?? "", attempt: attempt, by: by,
                    start: at, isDeaf: entry.bool("deaf")))
        case "ended":
            guard let at, let attempt, let by, let index = begun["\(by) \(attempt) \(task)"] else { return false }
            effects[index].end = at
            effects[index].outcome = entry.text("outcome").flatMap(Effect.Outcome.init)
        case "waiting": remainders.append(Remainder(task: task, .waiting))
        case "running": remainders.append(Remainder(task: task, .running))
        case "dead":
            guard let reason = entry.text("reason"), let attempt else { return false }
            remainders.append(Remainder(task: task, .dead(reason: reason, attempt: attempt, at: at)))
        default: return false
        }
        return true
    }
}

extension Ledgers.Commit {
    package var line: String {
        var entry = FlatJSON()
        entry.set("ledger", "committed")
        entry.set("task", task)
        entry.set("key", key == task ? nil : key)
        entry.set("payload", payload.isEmpty ? nil : payload)
        entry.set("ordering_key", orderingKey)
        entry.set("at", at)
        return entry.line
    }
}

extension Ledgers.Effect {
    /// To be written before the run begins.
    package var lineOfBeginning: String {
        var entry = FlatJSON()
        entry.set("ledger", "began")
        entry.set("task", task)
        entry.set("key", key == task ? nil : key)
        entry.set("payload", payload.isEmpty ? nil : payload)
        entry.set("attempt", Int64(attempt))
        entry.set("by", by)
        entry.set("at", start)
        entry.set("deaf", isDeaf)
        return entry.line
    }

    /// To be written when the run has ended; `nil` as long as it has not.
    package var lineOfEnd: String? {
        guard let end else { return nil }
        var entry = FlatJSON()
        entry.set("ledger", "ended")
        entry.set("task", task)
        entry.set("attempt", Int64(attempt))
        entry.set("by", by)
        entry.set("at", end)
        entry.set("outcome", outcome?.rawValue)
        return entry.line
    }
}

extension Ledgers.Pause {
    package var line: String {
        var entry = FlatJSON()
        entry.set("ledger", "paused")
        entry.set("by", by)
        entry.set("at", from)
        entry.set("until", until)
        return entry.line
    }
}

extension Ledgers.Remainder {
    package var line: String {
        var entry = FlatJSON()
        switch state {
        case .waiting: entry.set("ledger", "waiting")
        case .running: entry.set("ledger", "running")
        case .dead: entry.set("ledger", "dead")
        }
        entry.set("task", task)
        if case .dead(let reason, let attempt, let at) = state {
            entry.set("reason", reason)
            entry.set("attempt", Int64(attempt))
            entry.set("at", at)
        }
        return entry.line
    }
}
