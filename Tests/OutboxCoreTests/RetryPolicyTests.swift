// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Testing

@testable import OutboxCore

@Suite struct RetryPolicyTests {
    @Test(arguments: [UInt64](0..<50)) func delaysStayInTheirBounds(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let backoff = Backoff(
            base: .milliseconds(Int64.random(in: 0...5000, using: &random)),
            factor: Double.random(in: 0.5...5, using: &random),
            cap: .seconds(Int64.random(in: 0...10000, using: &random)))
        for failure in [1, 2, 3, 10, 100, 310, 100_000, .max] {
            var full = backoff.base.inSeconds
            for _ in 1..<min(failure, 400) where full < backoff.cap.inSeconds { full *= backoff.factor }
            full = min(full, backoff.cap.inSeconds)
            let delay = backoff.delay(afterFailure: failure, using: &random).inSeconds
            #expect(delay > 0, "never zero by accident")
            #expect(
                delay >= full * 0.499 && delay <= full * 1.001,
                "failure \(failure) of \(backoff): \(delay), not \(full)")
        }
    }

    @Test func withoutJitterTheDelayIsExact() {
        var random = SeededGenerator(seed: 1)
        let backoff = Backoff(base: .seconds(1), factor: 2, cap: .seconds(10), jitter: false)
        let delays = (1...6).map { backoff.delay(afterFailure: $0, using: &random) }
        #expect(delays == [.seconds(1), .seconds(2), .seconds(4), .seconds(8), .seconds(10), .seconds(10)])
        #expect(Backoff(base: .zero, factor: .nan, cap: .zero).delay(afterFailure: 1, using: &random) > .zero)
    }

    /// What failed together must not come back together.
    @Test func jitterSpreadsOverHalfOfTheDelay() {
        var random = SeededGenerator(seed: 1)
        let delays = (0..<100).map { _ in Backoff().delay(afterFailure: 1, using: &random).inSeconds }
        #expect(Set(delays).count > 90)
        #expect(delays.contains { $0 < 0.6 } && delays.contains { $0 > 0.9 })
    }

    private func fate(
        _ policy: RetryPolicy, charged: Bool = true, failures: Int = 1, attempt: Int = 1, after: Duration? = nil,
        limit: Int? = nil,
        age: Duration = .zero, expiresIn: Duration? = nil
    ) -> Fate {
        var random = SeededGenerator(seed: 7)
        return policy.fate(
            charged: charged, failures: failures, attempt: attempt, after: after, limit: limit, age: age,
            expiresIn: expiresIn,
            using: &random)
    }

    @Test func noDelayIsLongerThanPostgresCanHold() {
        var random = SeededGenerator(seed: 1)
        let policy = RetryPolicy(maxAge: nil)
        for asked in [
            Duration.seconds(1_000_000_000_000), .seconds(Int64.max),
            .seconds(Int64.max / 1_000_000) + .milliseconds(999),
        ] {
            let fate = policy.fate(
                charged: true, failures: 1, attempt: 1, after: asked, limit: nil, age: .zero, expiresIn: nil,
                using: &random)
            #expect(fate == .again(after: .seconds(315_576_000)))
            #expect(asked.inMicroseconds > 0)
        }
        #expect(Duration.seconds(Int64.min).inMicroseconds == .min)
        #expect(Duration.microseconds(-5).inMicroseconds == -5)
    }

    @Test func theBudgetCountsChargedAttemptsAlone() {
        let policy = RetryPolicy(maxAttempts: 3, backoff: .constant(.seconds(1), jitter: false))
        #expect(fate(policy, failures: 2) == .again(after: .seconds(1)))
        #expect(fate(policy, failures: 3) == .dead(.exhausted))
        #expect(fate(policy, charged: false, failures: 3, attempt: 50) == .again(after: .seconds(1)))
        #expect(fate(policy, failures: 3, limit: 4) == .again(after: .seconds(1)), "the task's own limit goes before")
        #expect(fate(policy, failures: 1, limit: 1) == .dead(.exhausted))
    }

    @Test func aRequestedDelayIsALeast() {
        let policy = RetryPolicy(backoff: .constant(.seconds(10), jitter: false))
        #expect(fate(policy, after: .seconds(60)) == .again(after: .seconds(60)))
        #expect(fate(policy, after: .seconds(1)) == .again(after: .seconds(10)))
    }

    @Test func ageAndExpiryBoundEvenWhatIsNotCharged() {
        let policy = RetryPolicy(maxAge: .seconds(100), backoff: .constant(.seconds(10), jitter: false))
        #expect(fate(policy, charged: false, age: .seconds(80)) == .again(after: .seconds(10)))
        #expect(fate(policy, charged: false, age: .seconds(91)) == .dead(.exhausted))
        #expect(
            fate(policy, charged: false, after: .seconds(86_400)) == .again(after: .seconds(100)), "one last attempt")
        #expect(fate(policy, expiresIn: .seconds(11)) == .again(after: .seconds(10)))
        #expect(fate(policy, expiresIn: .seconds(10)) == .dead(.expired))
        #expect(fate(RetryPolicy(maxAge: nil), age: .seconds(1_000_000_000)) != .dead(.exhausted))
    }
}

@Suite struct FingerprintTests {
    @Test(arguments: [
        ("order 41 not found", "order 42 not found"),
        ("no row \"a b\" in 'x'", "no row \"c\" in 'other y'"),
        ("id 8e03978e-40d5-43e8-bc93-6894a57f9324 gone", "id 00000000-0000-4000-8000-000000000000 gone"),
        ("took 1.5s at 10.0.0.1:5432", "took 22.7s at 10.9.8.7:80"),
    ]) func valuesDoNotCount(one: String, other: String) {
        #expect(Fingerprint.withoutValues(one) == Fingerprint.withoutValues(other))
    }

    @Test func causesDo() {
        #expect(Fingerprint.withoutValues("order 41 not found") != Fingerprint.withoutValues("order 41 not paid"))
        #expect(Fingerprint.of(Failure(type: "a", message: "m")) != Fingerprint.of(Failure(type: "b", message: "m")))
        #expect(Fingerprint.withoutValues("I can't read order 7") == "I can't read order #")
        #expect(Fingerprint.withoutValues(String(repeating: "word ", count: 10_000)).count == 200)
    }
}

@Suite struct TaskIDTests {
    @Test func textRoundTrips() throws {
        var random = SeededGenerator(seed: 3)
        for _ in 0..<100 {
            let id = TaskID.random(using: &random)
            #expect(TaskID(id.description) == id)
            #expect(TaskID(id.description.uppercased()) == id)
            let text = Array(id.description)
            #expect(text[14] == "4" && "89ab".contains(text[19]), "version 4, variant 1")
        }
        for wrong in [
            "", "8e03978e", "8e03978e-40d5-43e8-bc93-6894a57f932", "8e03978e-40d5-43e8-bc93-6894a57f93245",
            "8e03978e040d5-43e8-bc93-6894a57f9324", "ge03978e-40d5-43e8-bc93-6894a57f9324",
        ] {
            #expect(TaskID(wrong) == nil, "\(wrong)")
        }
    }
}
