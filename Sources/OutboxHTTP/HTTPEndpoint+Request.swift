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
            more: [("webhook-id", task.id.description), ("outbox-attempt", String(task.attempt))],
            lessImportant: task.headers
        )
    }

    /// The request for any body. Of `lessImportant` headers those are left out that the endpoint sets too.
    func request(
        body: [UInt8], contentType: String, idempotencyKey: String, more: [(name: String, value: String)] = [],
        lessImportant: [(name: String, value: String)] = []
    ) throws(InvalidRequest) -> CurlRequest {
        var lines = [
            CurlRequest.headerLine("Content-Type", contentType),
            CurlRequest.headerLine("Idempotency-Key", try keyField(idempotencyKey)),
            // A larger body would make libcurl ask first, and then wait a second for servers that do not know how to
            // answer: https://everything.curl.dev/http/post/expect100.html
            "Expect:",
        ]
        for (name, value) in more + headers { lines.append(CurlRequest.headerLine(name, value)) }
        if !lessImportant.isEmpty {
            let taken = Set(headers.map { $0.name.lowercased() })
            for (name, value) in lessImportant where !taken.contains(name.lowercased()) {
                lines.append(CurlRequest.headerLine(name, value))
            }
        }
        var request = CurlRequest(
            url: url, headerLines: lines, body: body, connectTimeout: connectTimeout, timeout: timeout, proxy: proxy,
            caFile: caFile
        )
        request.version = httpVersion
        return request
    }

    private func keyField(_ key: String) throws(InvalidRequest) -> String {
        guard !key.isEmpty, let quoted = StructuredField.string(key) else {
            throw InvalidRequest(message: "The idempotency key is empty or holds a character outside printable ASCII.")
        }
        return idempotencyKeyStyle == .quoted ? quoted : key
    }
}
