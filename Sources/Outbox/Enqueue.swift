// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// The statement that enqueues one task, for any Postgres driver: run it in *your* transaction.
///
///     let enqueue = try Enqueue(ChargeCard(order: 42, cents: 1999))
///     // with PostgresNIO, for example:
///     try await connection.query(PostgresQuery(unsafeSQL: enqueue.text, binds: bindings(for: enqueue.parameters)))
///
/// The text is the same for every task, so a driver may prepare it. Every parameter is cast in the text, so a driver
/// may send each in whatever form it has for it. The statement returns the task's id as text.
public struct Enqueue: Sendable {
    /// A parameter, `$1` first.
    public enum Parameter: Hashable, Sendable {
        case null
        case text(String)
        case integer(Int)
        case double(Double)
        case bytes([UInt8])
    }

    public let id: TaskID
    public let text: String
    public let parameters: [Parameter]

    /// The largest payload, in bytes: 1 MiB.
    public static let maxPayloadBytes = 1_048_576

    /// Makes the statement for a task.
    ///
    /// - Throws: ``EnqueueError``, or what encoding the payload throws.
    public init(_ task: some OutboxTask, options: EnqueueOptions = EnqueueOptions(), schema: Schema = .outbox) throws {
        try self.init(
            kind: type(of: task).kind, payload: task.payload(), contentType: type(of: task).contentType,
            options: options, schema: schema
        )
    }

    /// Makes the statement for a payload of bytes.
    public init(
        kind: String, payload: [UInt8], contentType: String = "application/json",
        options: EnqueueOptions = EnqueueOptions(), schema: Schema = .outbox
    ) throws(EnqueueError) {
        try options.validate()
        try Self.validate(kind: kind, payload: payload)
        id = options.id ?? .random()
        text = """
            SELECT \(schema.quoted).enqueue($1::text, $2::bytea, queue => $3::text, priority => $4::int, \
            delay => make_interval(secs => $5::float8), run_at => to_timestamp($6::float8), \
            expires_at => to_timestamp($7::float8), idempotency_key => $8::text, headers => $9::jsonb, \
            content_type => $10::text, endpoint => $11::text, max_attempts => $12::int, id => $13::uuid)::text
            """
        parameters =
            [.text(kind), .bytes(payload)] + Self.shared(options, contentType: contentType, key: options.idempotencyKey)
            + [
                .text(id.description)
            ]
    }

    /// The parameters from the queue to the number of attempts.
    static func shared(_ options: EnqueueOptions, contentType: String, key: String?) -> [Parameter] {
        var delay = Parameter.null
        var runAt = Parameter.null
        switch options.start {
        case .atOnce: break
        case .after(let duration): delay = .double(duration.inSeconds)
        case .at(let date): runAt = .double(date.timeIntervalSince1970)
        }
        return [
            .text(options.queue), .integer(options.priority), delay, runAt,
            options.expiresAt.map { .double($0.timeIntervalSince1970) } ?? .null,
            key.map(Parameter.text) ?? .null, headers(options.headers),
            contentType == "application/json" ? .null : .text(contentType),
            options.endpoint.map(Parameter.text) ?? .null,
            options.maxAttempts.map(Parameter.integer) ?? .null,
        ]
    }

    private static func headers(_ headers: [String: String]) -> Parameter {
        guard !headers.isEmpty else { return .null }
        var json = JSONWriter()
        json.object { json in
            for (name, value) in headers.sorted(by: { $0.key < $1.key }) { json.member(name, value) }
        }
        return .text(json.text)
    }

    static func validate(kind: String, payload: [UInt8]) throws(EnqueueError) {
        guard Names.isKind(kind) else {
            throw EnqueueError(
                argument: "kind", problem: "is not a kind",
                hint:
                    "use up to 128 letters, digits, \"_\" and \"-\" in parts joined by \".\", for example orders.created"
            )
        }
        guard payload.count <= maxPayloadBytes else {
            throw EnqueueError(
                argument: "payload", problem: "has \(payload.count) bytes, more than \(maxPayloadBytes)",
                hint: "store the data elsewhere and enqueue a reference to it")
        }
    }
}

extension Enqueue {
    /// The statement for this package's own client.
    package var statement: Statement { Statement(text, binds: parameters.map(\.bind)) }
}

extension Enqueue.Parameter {
    package var bind: Bind {
        switch self {
        case .null: .null()
        case .text(let text): text.bind
        case .integer(let integer): integer.bind
        case .double(let double): double.bind
        case .bytes(let bytes): bytes.bind
        }
    }
}
