// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Outbox

/// How a line of a file becomes a task: where its kind is, and which of its bytes are the payload.
struct LineRules: Sendable {
    enum KindSource: Sendable, Equatable {
        /// The same for every line.
        case fixed(String)
        /// A string member of the line, with something before it.
        case field(String, prefix: String)
    }

    /// Why a line is no task, and what to do about it.
    struct Refusal: Error, Equatable {
        let message: String
        let advice: String
    }

    let kind: KindSource
    /// The member whose value is the payload; `nil`: the whole line is.
    let payloadField: String?

    /// The task of a line: its bytes are checked, and the payload's are taken over as they stand.
    func task(of line: [UInt8]) throws(Refusal) -> (kind: String, payload: [UInt8]) {
        var names: [String] = []
        if case .field(let name, _) = kind { names.append(name) }
        if let payloadField { names.append(payloadField) }
        let ranges: [Range<Int>?]
        do {
            ranges = try JSONScanner.members(names, in: line)
        } catch {
            throw Refusal(message: error.description, advice: Self.advice(for: error))
        }
        let kind: String
        switch self.kind {
        case .fixed(let name): kind = name
        case .field(let name, let prefix):
            guard let range = ranges[0] else { throw Self.missing(name, "--kind-field") }
            guard let text = JSONScanner.string(line[range]) else {
                throw Refusal(
                    message: "has a member \(printable(name)) that is not a string",
                    advice: "name another member with --kind-field, or one kind for all with --kind")
            }
            kind = prefix + text
        }
        guard Names.isKind(kind) else {
            throw Refusal(
                message: "names no kind: \(cut(printable(kind), to: 60))",
                advice: "a kind is up to 128 letters, digits, _ and - in parts joined by \".\"")
        }
        var payload = line
        if let payloadField {
            guard let range = ranges[ranges.count - 1] else { throw Self.missing(payloadField, "--payload-field") }
            payload = Array(line[range])
        }
        guard payload.count <= Enqueue.maxPayloadBytes else {
            throw Refusal(
                message: "has a payload of \(payload.count) bytes, more than \(Enqueue.maxPayloadBytes)",
                advice: "store the data elsewhere and enqueue a reference to it")
        }
        return (kind, payload)
    }

    private static func missing(_ name: String, _ option: String) -> Refusal {
        Refusal(
            message: "has no member \(printable(name))", advice: "name a member that every line has with \(option)"
        )
    }

    private static func advice(for failure: JSONScanner.Failure) -> String {
        switch failure.reason {
        case .byteOrderMark: "remove the first three bytes of the file"
        case .utf8, .nul: "save the file as UTF-8 text"
        case .notAnObject: "write one JSON object a line"
        case .twice: "leave one of them out: receivers do not agree on which counts"
        default: "write one JSON object a line, each on a single line"
        }
    }
}
