// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// Why an attempt did not succeed, as it is recorded in the attempts' history and shown to people.
///
/// The text is the original error's, never a generic one. It may quote a receiver's answer, so it is stored in the
/// database and not logged above `debug`.
public struct Failure: Hashable, Sendable {
    /// What went wrong, as a stable name: an error's type, `http.503`, `connect`, `timeout`.
    /// Incidents group by it, so it holds no values.
    public var type: String
    /// One sentence for a person; at most 1,000 characters are kept.
    public var message: String
    /// Everything else that is known: the error's debug text, a chain of causes; at most 4,000 characters are kept.
    public var detail: String?
    /// The status that an HTTP endpoint answered with.
    public var httpStatus: Int?
    /// The first bytes of what an HTTP endpoint answered, as text; invalid UTF-8 is replaced.
    public var responseExcerpt: String?

    public init(
        type: String, message: String, detail: String? = nil, httpStatus: Int? = nil, responseExcerpt: String? = nil
    ) {
        self.type = type
        self.message = message
        self.detail = detail
        self.httpStatus = httpStatus
        self.responseExcerpt = responseExcerpt
    }
}
