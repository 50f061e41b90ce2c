// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

package import Logging
public import OutboxCore
import OutboxRelay

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
    /// What a delivery that is under way holds: one reference, and not one to the driver, which may keep it for a while
    /// after it is over.
    fileprivate final class Parts: Sendable {
        let endpoint: HTTPEndpoint
        let logger: Logger
        /// Seconds since the Unix epoch, for receivers that answer `Retry-After` with a date.
        let now: @Sendable () -> Int64

        init(endpoint: HTTPEndpoint, logger: Logger, now: @escaping @Sendable () -> Int64) {
            self.endpoint = endpoint
            self.logger = logger
            self.now = now
        }
    }
    private let parts: Parts
    private let driver: CurlDriver

    /// Where the tasks go.
    public var endpoint: HTTPEndpoint { parts.endpoint }

    package init(
        endpoint: HTTPEndpoint, driver: CurlDriver, logger: Logger = Logger(label: "outbox.http"),
        now: @escaping @Sendable () -> Int64 = { Int64(time(nil)) }
    ) {
        parts = Parts(endpoint: endpoint, logger: logger, now: now)
        self.driver = driver
    }

    /// Makes one attempt. Never throws: whatever happens is an outcome.
    ///
    /// A request that cannot be sent as it is, because of a header or a key, is rejected without dialling. An attempt
    /// whose task is cancelled, or whose driver is shut down, is released.
    public func deliver(_ task: ClaimedTask) async -> Outcome {
        do {
            let request = try parts.endpoint.request(for: task)
            let response: CurlResponse
            do {
                response = try await driver.perform(request)
            } catch {
                return parts.outcome(of: task, .failure(error))
            }
            return parts.outcome(of: task, .success(response))
        } catch {
            return TransportFailure.invalidRequest.outcome(message: error.message)
        }
    }
}

extension HTTPDelivery.Parts {
    func outcome(of task: ClaimedTask, _ result: Result<CurlResponse, any Error>) -> Outcome {
        switch result {
        case .success(let response):
            log(task, "status", "\(response.status)", response.total)
            return answer(response).outcome
        case .failure(CurlError.failed(let failure, let message, let detail)):
            log(task, "failure", failure.rawValue, nil)
            return failure.outcome(message: message, detail: detail)
        case .failure(CurlError.shutDown): return .released
        case .failure(is CancellationError): return .released
        case .failure(let error): return TransportFailure.transport.outcome(message: "\(error)")
        }
    }

    private func answer(_ response: CurlResponse) -> HTTPAnswer {
        var answer = HTTPAnswer(status: response.status)
        // of a success nothing but the status is looked at
        guard !(200...299).contains(response.status) else { return answer }
        answer.retryAfter = response.retryAfter.flatMap { RetryAfter.parse($0, nowSecondsSinceEpoch: now()) }
        answer.location = response.location
        answer.excerpt = HTTPAnswer.excerpt(of: response.bodyStart)
        return answer
    }

    private func log(
        _ task: ClaimedTask, _ key: String, _ value: @autoclosure () -> String, _ total: Duration?
    ) {
        logger.debug(
            "HTTP delivery attempted",
            metadata: [
                "task": "\(task.id)", "kind": "\(task.kind)", "attempt": "\(task.attempt)",
                "endpoint": "\(endpoint.name)", key: "\(value())", "duration": "\(total.map { "\($0)" } ?? "-")",
            ])
    }
}

extension HTTPDelivery: DirectRunner {
    package func begin(
        _ task: ClaimedTask, while isHeld: @escaping @Sendable () -> Bool,
        finished: @escaping @Sendable (Outcome) -> Void
    ) -> UInt64 {
        do {
            let request = try parts.endpoint.request(for: task)
            return driver.begin(request, while: isHeld) { [parts] in finished(parts.outcome(of: task, $0)) }
        } catch {
            finished(TransportFailure.invalidRequest.outcome(message: error.message))
            return 0
        }
    }

    package func cancel(_ number: UInt64) {
        driver.cancel(number)
    }
}
