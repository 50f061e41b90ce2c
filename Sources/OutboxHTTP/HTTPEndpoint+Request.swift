// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import OutboxCore

/// Why a request is not even tried.
struct InvalidRequest: Error {
    let message: String
}

extension HTTPEndpoint {
    /// The request for one attempt of a task: a pure function of both.
    func request(for task: ClaimedTask) throws(InvalidRequest) -> CurlRequest {
        if let problem = HeaderRules.problem(in: task.headers) { throw InvalidRequest(message: problem) }
        guard !task.contentType.isEmpty, HeaderRules.isValue(task.contentType) else {
            throw InvalidRequest(message: "The content type is empty or no header value: write it like text/plain.")
        }
        return try request(
            body: task.payload, contentType: task.contentType, idempotencyKey: task.idempotencyKey,
            task: task
        )
    }

    /// The request for any body; of a task's own headers those are left out that the endpoint sets too.
    func request(
        body: [UInt8], contentType: String, idempotencyKey: String, task: ClaimedTask? = nil
    ) throws(InvalidRequest) -> CurlRequest {
        var block = HeaderBlock(capacity: 512)
        block.add("Content-Type", contentType)
        block.add("Idempotency-Key", try keyField(idempotencyKey))
        // A larger body would make libcurl ask first, and then wait a second for servers that do not know how to
        // answer: https://everything.curl.dev/http/post/expect100.html
        block.omit("Expect")
        if let task {
            block.add("webhook-id", task.id.description)
            block.add("outbox-attempt", String(task.attempt))
        }
        block.add(headerBlock)
        if let headers = task?.headers, !headers.isEmpty {
            let taken = Set(self.headers.map { $0.name.lowercased() })
            for (name, value) in headers where !taken.contains(name.lowercased()) { block.add(name, value) }
        }
        return CurlRequest(target: target, headers: block, body: body)
    }

    private func keyField(_ key: String) throws(InvalidRequest) -> String {
        guard !key.isEmpty, let quoted = StructuredField.string(key) else {
            throw InvalidRequest(message: "The idempotency key is empty or holds a character outside printable ASCII.")
        }
        return idempotencyKeyStyle == .quoted ? quoted : key
    }
}
