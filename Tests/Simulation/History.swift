// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import OutboxCore

/// What a run tells of itself, line by line.
final class Chronicle {
    var lines: [String] = []
}

// Words for what a history tells.

extension FakeTable.Change {
    var summary: String {
        switch self {
        case .claimed(let row, _): "claims \(row.place), attempt \(row.attempt)"
        case .rescued(let row, _, let unheard):
            "rescues \(row.place), attempt \(row.attempt)\(unheard ? ", unheard" : "")"
        case .renewed(let row, let asked, _): "renews \(row.place), attempt \(asked)"
        case .settled(let row, let asked): "settles \(row.place), attempt \(asked)"
        case .failed(let row, let asked, let target): "settles \(row.place), attempt \(asked): \(target)"
        }
    }
}

extension FakeTable.Row {
    var place: String { "t\(id.low) in \(lane)/\(slot) at \(seq)" }
}

extension Outcome {
    var summary: String {
        switch self {
        case .succeeded: "success"
        case .retry(_, _, let charged): charged ? "a failure" : "an uncharged failure"
        case .rejected: "a rejection"
        case .completed(let otherwise): "completion, or \(otherwise.summary)"
        case .released: "nothing: it gave up"
        }
    }
}

extension World {
    func tellOfSending(_ call: Call) {
        let who = name(call.place, call.life)
        let fate = call.fate == .normal ? "" : " (\(call.fate))"
        switch call.request {
        case .renewal(let holds):
            tell("\(who) renews\(fate): \(holds.map { "t\($0.id.low)" }.joined(separator: " "))")
        case .exchange(let exchange):
            var parts = exchange.succeeded.map { "t\($0.id.low) succeeded" }
            parts += exchange.failed.map { "t\($0.hold.id.low) \($0.target)" }
            if let round = exchange.round {
                // a poll tells nothing by itself; what it claims and rescues is told by the table
                if parts.isEmpty, round.held == nil, call.fate == .normal { return }
                parts.append(
                    "claims \(round.total)\(round.rescue ? ", sweeps" : "")\(round.held.map { ", holds \($0)" } ?? "")")
            }
            tell("\(who) sends\(fate): \(parts.joined(separator: ", "))")
        }
    }
}
