// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

extension Transaction {
    /// Enqueues a task in this transaction and returns its id: the task exists if and only if the transaction commits.
    ///
    ///     try await database.transaction { transaction in
    ///         try await transaction.execute("INSERT INTO orders (id, cents) VALUES (\(order.id), \(order.cents))")
    ///         try await transaction.enqueue(ChargeCard(order: order.id, cents: order.cents))
    ///     }
    ///
    /// - Throws: ``EnqueueError`` before anything is sent, so that the transaction is as it was; what encoding the
    ///   payload throws; ``PostgresError``.
    @discardableResult
    public func enqueue(
        _ task: some OutboxTask, options: EnqueueOptions = EnqueueOptions(), schema: Schema = .outbox
    ) async throws -> TaskID {
        try await run(Enqueue(task, options: options, schema: schema))
    }

    /// Enqueues a payload of bytes, which are stored and sent as they are.
    @discardableResult
    public func enqueue(
        kind: String, payload: [UInt8], contentType: String = "application/json",
        options: EnqueueOptions = EnqueueOptions(), schema: Schema = .outbox
    ) async throws -> TaskID {
        try await run(
            Enqueue(kind: kind, payload: payload, contentType: contentType, options: options, schema: schema)
        )
    }

    /// Enqueues many payloads with the same options, in one statement, and returns their ids in the order given.
    ///
    /// The options' idempotency key and id are for one task and must be left out; each task's key is its id.
    @discardableResult
    public func enqueue(
        batch tasks: [(kind: String, payload: [UInt8])], contentType: String = "application/json",
        options: EnqueueOptions = EnqueueOptions(), schema: Schema = .outbox
    ) async throws -> [TaskID] {
        guard !tasks.isEmpty else { return [] }
        let batch = try EnqueueBatch(tasks, contentType: contentType, options: options, schema: schema)
        _ = try await query(batch.statement)
        return batch.ids
    }

    private func run(_ enqueue: Enqueue) async throws -> TaskID {
        guard identifier == nil else {
            _ = try await query(enqueue.statement)
            return enqueue.id
        }
        // The transaction's identifier comes along for nothing: with it, a lost answer to COMMIT can be cleared up.
        let withIdentifier = Statement(
            enqueue.text + ", \(identifierExpression)", binds: enqueue.statement.binds
        )
        let result = try await query(withIdentifier)
        if let identifier = TransactionIdentifier(try result[0].decode(String.self, at: 1)) {
            record(identifier: identifier)
        }
        return enqueue.id
    }
}

/// The statement that enqueues many tasks.
struct EnqueueBatch {
    let ids: [TaskID]
    let statement: Statement

    init(
        _ tasks: [(kind: String, payload: [UInt8])], contentType: String, options: EnqueueOptions, schema: Schema
    ) throws(EnqueueError) {
        try options.validate()
        guard options.id == nil, options.idempotencyKey == nil else {
            throw EnqueueError(
                argument: options.id == nil ? "idempotency_key" : "id", problem: "is for one task, not for a batch",
                hint: "leave it out, or enqueue the tasks one by one")
        }
        for (number, task) in tasks.enumerated() {
            do {
                try Enqueue.validate(kind: task.kind, payload: task.payload)
            } catch {
                throw EnqueueError(argument: "\(error.argument)[\(number)]", problem: error.problem, hint: error.hint)
            }
        }
        var generator = SystemRandomNumberGenerator()
        ids = tasks.map { _ in TaskID.random(using: &generator) }
        let shared = Enqueue.shared(options, contentType: contentType, key: nil)
        // the shared parameters without the key, which in a batch is each task's id
        let binds =
            [tasks.map(\.kind).bind, tasks.map(\.payload).bind]
            + (shared[..<5] + shared[6...]).map(\.bind) + [ids.map { PostgresUUID($0) }.bind]
        statement = Statement(
            """
            SELECT count(*) FROM \(schema.quoted).enqueue_many($1::text[], $2::bytea[], queue => $3::text, priority => $4::int, \
            delay => make_interval(secs => $5::float8), run_at => to_timestamp($6::float8), \
            expires_at => to_timestamp($7::float8), headers => $8::jsonb, content_type => $9::text, \
            endpoint => $10::text, max_attempts => $11::int, ids => $12::uuid[])
            """, binds: binds)
    }
}

extension PostgresUUID {
    package init(_ id: TaskID) { self.init(high: id.high, low: id.low) }
}

extension TaskID {
    package init(_ uuid: PostgresUUID) { self.init(high: uuid.high, low: uuid.low) }
}
