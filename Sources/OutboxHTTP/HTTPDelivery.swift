// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

package import Logging
public import OutboxCore

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// Delivers tasks to one endpoint.
///
/// The bytes, the idempotency key and the `webhook-id` are the same on every attempt of a task; only `outbox-attempt`
/// counts. A receiver that keeps the keys it has seen can therefore take every repetition for what it is.
///
/// | header | value |
/// |---|---|
/// | `Content-Type` | as enqueued |
/// | `Content-Length` | the number of bytes; never chunked, and no `Expect` |
/// | `Idempotency-Key` | the task's key, as ``HTTPEndpoint/idempotencyKeyStyle`` says |
/// | `webhook-id` | the task's identity |
/// | `outbox-attempt` | 1 at the first attempt |
/// | `User-Agent` | `outbox/<version>` |
///
/// Headers of the endpoint and of the task come on top; neither can replace one of these.
public struct HTTPDelivery: Sendable {
    /// Where the tasks go.
    public let endpoint: HTTPEndpoint
    private let driver: CurlDriver
    private let logger: Logger
    /// Seconds since the Unix epoch, for receivers that answer `Retry-After` with a date.
    private let now: @Sendable () -> Int64

    package init(
        endpoint: HTTPEndpoint, driver: CurlDriver, logger: Logger = Logger(label: "outbox.http"),
        now: @escaping @Sendable () -> Int64 = { Int64(time(nil)) }
    ) {
        self.endpoint = endpoint
        self.driver = driver
        self.logger = logger
        self.now = now
    }

    /// Makes one attempt. Never throws: whatever happens is an outcome.
    ///
    /// A request that cannot be sent as it is, because of a header or a key, is rejected without dialling. An attempt
    /// whose task is cancelled, or whose driver is shut down, is released.
    public func deliver(_ task: ClaimedTask) async -> Outcome {
        let request: CurlRequest
        do {
            request = try endpoint.request(for: task)
        } catch {
            return TransportFailure.invalidRequest.outcome(message: error.message)
        }
        do {
            let response = try await send(request)
            log(task, "status", "\(response.status)", response.total)
            return answer(response).outcome
        } catch CurlError.failed(let failure, let message, let detail) {
            log(task, "failure", failure.rawValue, nil)
            return failure.outcome(message: message, detail: detail)
        } catch is CancellationError {
            return .released
        } catch CurlError.shutDown {
            return .released
        } catch {
            return TransportFailure.transport.outcome(message: "\(error)")
        }
    }

    /// Sends the request; once more over a new connection if the server says that this connection does not lead to
    /// the host (421, RFC 9110 section 15.5.20): it has then not looked at the request.
    private func send(_ request: CurlRequest) async throws -> CurlResponse {
        let response = try await driver.perform(request)
        guard response.status == 421 else { return response }
        var second = request
        second.needsFreshConnection = true
        return try await driver.perform(second)
    }

    private func answer(_ response: CurlResponse) -> HTTPAnswer {
        HTTPAnswer(
            status: response.status,
            retryAfter: response.retryAfter.flatMap { RetryAfter.parse($0, nowSecondsSinceEpoch: now()) },
            location: response.location,
            excerpt: HTTPAnswer.excerpt(of: response.bodyStart)
        )
    }

    private func log(_ task: ClaimedTask, _ key: String, _ value: String, _ total: Duration?) {
        logger.debug(
            "HTTP delivery attempted",
            metadata: [
                "task": "\(task.id)", "kind": "\(task.kind)", "attempt": "\(task.attempt)",
                "endpoint": "\(endpoint.name)", key: "\(value)", "duration": "\(total.map { "\($0)" } ?? "-")",
            ])
    }
}
