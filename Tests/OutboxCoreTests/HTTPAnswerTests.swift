// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import OutboxCore
import Testing

/// The table from an answer to an outcome, written down a second time as data.
@Suite struct HTTPAnswerTests {
    enum Meaning: Equatable {
        case done, dead
        case again(charged: Bool, after: Int64?)

        init(_ outcome: Outcome) {
            self =
                switch outcome {
                case .succeeded: .done
                case .retry(_, let after, let charged): .again(charged: charged, after: after?.components.seconds)
                default: .dead
                }
        }
    }

    static let retry = Meaning.again(charged: true, after: nil)
    /// What each status means without and with `Retry-After: 7`.
    static let table: [(status: Int, plain: Meaning, withRetryAfter: Meaning)] =
        [
            (429, .again(charged: false, after: nil), .again(charged: false, after: 7)),
            (503, retry, .again(charged: false, after: 7)),
            (407, .again(charged: false, after: nil), .again(charged: false, after: nil)),
            (511, .again(charged: false, after: nil), .again(charged: false, after: nil)),
            (409, .again(charged: true, after: 1), .again(charged: true, after: 7)),
            (413, .dead, .again(charged: true, after: 7)),
            (101, retry, .again(charged: true, after: 7)), (600, retry, .again(charged: true, after: 7)),
        ]
        + [200, 201, 202, 204, 206, 207, 226, 299].map { ($0, .done, .done) }
        + [300, 301, 302, 303, 304, 305, 307, 308, 399, 401, 403, 404].map { ($0, retry, retry) }
        + [408, 421, 423, 424, 425].map { ($0, retry, .again(charged: true, after: 7)) }
        + [400, 402, 405, 406, 410, 411, 412, 414, 415, 416, 417, 418, 422, 426, 428, 431, 451, 499, 501].map {
            ($0, .dead, .dead)
        }
        + [500, 502, 504, 505, 506, 507, 508, 510, 520, 599].map { ($0, retry, .again(charged: true, after: 7)) }

    @Test func everyRowOfTheTable() {
        for row in Self.table {
            #expect(Meaning(HTTPAnswer(status: row.status).outcome) == row.plain, "\(row.status)")
            let later = HTTPAnswer(status: row.status, retryAfter: .seconds(7)).outcome
            #expect(Meaning(later) == row.withRetryAfter, "\(row.status) with Retry-After")
        }
    }

    @Test func onlyTheTwoHundredsSucceed() {
        for status in 0...999 {
            #expect((HTTPAnswer(status: status).outcome == .succeeded) == (200...299).contains(status))
        }
    }

    @Test func failuresHaveStableTypesAndKeepTheAnswer() {
        guard case .retry(let failure, _, _) = HTTPAnswer(status: 500, excerpt: "boom").outcome else {
            Issue.record("500 is retried")
            return
        }
        #expect(failure.type == "http.500" && failure.httpStatus == 500 && failure.responseExcerpt == "boom")
        guard
            case .retry(let redirect, _, _) = HTTPAnswer(status: 308, location: "https://u:p@b.example/x?token=s")
                .outcome
        else {
            Issue.record("308 is retried")
            return
        }
        #expect(redirect.type == "http.redirect" && redirect.httpStatus == 308)
        #expect(redirect.message.contains("https://…@b.example/x?…") && !redirect.message.contains("token"))
    }

    @Test func aReceiverCannotAskForMoreThanADay() {
        let outcome = HTTPAnswer(status: 429, retryAfter: .seconds(1_000_000)).outcome
        #expect(Meaning(outcome) == .again(charged: false, after: 86_400))
    }

    @Test func excerptsAreStorableText() {
        #expect(HTTPAnswer.excerpt(of: []) == nil)
        #expect(HTTPAnswer.excerpt(of: [0, 0]) == nil)
        #expect(HTTPAnswer.excerpt(of: [0x61, 0, 0xFF, 0x62]) == "a\u{FFFD}b")
        #expect(HTTPAnswer.excerpt(of: [UInt8](repeating: 0x61, count: 5000))?.utf8.count == 4096)
    }

    @Test func transportFailuresAreRetriedAndOnlyTheReceiversFaultIsCharged() {
        for failure in TransportFailure.allCases {
            let outcome = failure.outcome(message: "m")
            switch failure {
            case .invalidRequest: #expect(outcome == .rejected(Failure(type: "invalid_request", message: "m")))
            case .dnsTimeout, .proxy, .local: #expect(Meaning(outcome) == .again(charged: false, after: nil))
            default: #expect(Meaning(outcome) == Self.retry)
            }
        }
    }

    @Test(arguments: [
        ("https://h/p?q=1#f", "https://h/p?…"), ("https://h/p#f", "https://h/p?…"), ("https://h/p", "https://h/p"),
        ("https://u:p@h/p", "https://…@h/p"), ("https://h/a@b", "https://h/a@b"), ("/relative?x", "/relative?…"),
        ("", ""),
    ])
    func urlsAreRedacted(url: String, shown: String) {
        #expect(URLText.redacted(url) == shown)
    }
}
