// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// The value of one parameter of a statement, in the form in which it is sent.
public struct Bind: Sendable, Hashable {
    /// How the bytes are to be read by the server.
    public enum Format: Sendable, Hashable {
        case text
        case binary
    }

    /// The object identifier of the type; 0 lets the server infer it from where the parameter stands.
    public let type: UInt32
    public let format: Format
    /// The value; `nil` is NULL.
    public let bytes: [UInt8]?
    /// Why the value cannot be sent. Found when the value is bound and reported when the statement is run, because
    /// an interpolation cannot throw.
    let problem: String?

    /// A value in the form that the type's input or receive function reads.
    public init(type: UInt32, format: Format, bytes: [UInt8]?) {
        self.init(type: type, format: format, bytes: bytes, problem: nil)
    }

    private init(type: UInt32, format: Format, bytes: [UInt8]?, problem: String?) {
        self.type = type
        self.format = format
        self.bytes = bytes
        // libpq reads text as a C string: a NUL would silently cut the value.
        if format == .text, problem == nil, let bytes, bytes.contains(0) {
            self.problem = Bind.containsNUL
        } else {
            self.problem = problem
        }
    }

    /// NULL, of a type or of one to be inferred.
    public static func null(type: UInt32 = 0) -> Bind {
        Bind(type: type, format: .binary, bytes: nil)
    }

    /// A value that is refused when the statement is run.
    static func invalid(_ problem: String) -> Bind {
        Bind(type: 0, format: .binary, bytes: nil, problem: problem)
    }

    static let containsNUL = "a string contains the character NUL (U+0000), which Postgres cannot store in text"
}
