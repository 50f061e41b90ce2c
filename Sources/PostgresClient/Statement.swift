// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// One SQL statement: its text and the values of its parameters, apart.
///
/// Written as an interpolated string, every value becomes a parameter and no value ever becomes part of the text:
///
///     let statement: Statement = "UPDATE orders SET state = \(state) WHERE id = \(id)"
///     // text: UPDATE orders SET state = $1 WHERE id = $2
///
/// Names of tables, columns and channels cannot be parameters: `\(identifier: name)` quotes them.
public struct Statement: Sendable, Hashable, ExpressibleByStringInterpolation {
    /// The SQL, with `$1`, `$2` … where values go.
    public let text: String
    /// The values of the parameters, in order.
    public let binds: [Bind]
    let problem: String?

    /// A statement whose text numbers its parameters itself.
    public init(_ text: String, binds: [Bind]) {
        self.init(text: text, binds: binds, problem: nil)
    }

    public init(stringLiteral text: String) {
        self.init(text: text, binds: [], problem: nil)
    }

    public init(stringInterpolation: StringInterpolation) {
        self.init(
            text: stringInterpolation.text, binds: stringInterpolation.binds, problem: stringInterpolation.problem
        )
    }

    private init(text: String, binds: [Bind], problem: String?) {
        self.text = text
        self.binds = binds
        self.problem = problem
    }

    /// Collects the text and the values of an interpolated statement.
    public struct StringInterpolation: StringInterpolationProtocol {
        fileprivate var text = ""
        fileprivate var binds: [Bind] = []
        fileprivate var problem: String?

        public init(literalCapacity: Int, interpolationCount: Int) {
            text.reserveCapacity(literalCapacity + interpolationCount * 3)
            binds.reserveCapacity(interpolationCount)
        }

        public mutating func appendLiteral(_ literal: String) {
            text += literal
        }

        /// Binds a value to the next parameter.
        public mutating func appendInterpolation(_ value: some PostgresEncodable) {
            appendInterpolation(bind: value.bind)
        }

        /// Binds a value to the next parameter; `nil` is NULL.
        public mutating func appendInterpolation<Value: PostgresEncodable>(_ value: Value?) {
            appendInterpolation(bind: value.bind)
        }

        /// Binds a value that is in its form for the server already.
        public mutating func appendInterpolation(bind: Bind) {
            binds.append(bind)
            text += "$\(binds.count)"
        }

        /// Writes a name, quoted as an identifier: `\(identifier: "my table")` is `"my table"`.
        public mutating func appendInterpolation(identifier name: String) {
            if name.isEmpty || name.utf8.contains(0) {
                problem = "an identifier is empty or contains the character NUL (U+0000)"
            }
            text += quoted(identifier: name)
        }
    }
}

extension Statement {
    /// The most parameters that the protocol can number.
    static let maximumBinds = 65_535

    /// Refuses what the server could only refuse, or libpq would cut, before anything is sent.
    func validate() throws(PostgresError) {
        if let problem { throw PostgresError(.invalidBind, "The statement cannot be sent: \(problem).") }
        if text.utf8.contains(0) {
            throw PostgresError(.invalidBind, "The statement cannot be sent: its text contains a NUL character.")
        }
        guard binds.count <= Self.maximumBinds else {
            throw PostgresError(
                .invalidBind, "The statement has \(binds.count) parameters; at most 65,535 can be sent.",
                hint: "Bind arrays and use unnest($1) or = ANY($1)."
            )
        }
        for (index, bind) in binds.enumerated() {
            guard let problem = bind.problem else { continue }
            throw PostgresError(
                .invalidBind, "Parameter $\(index + 1) cannot be sent: \(problem).",
                hint: problem == Bind.containsNUL
                    ? "Remove the NUL characters, or store the value as bytes ([UInt8] in a bytea column)." : nil
            )
        }
    }
}

/// A name in double quotes, which are doubled inside.
func quoted(identifier name: String) -> String {
    var text = "\""
    for character in name.unicodeScalars {
        if character == "\"" { text += "\"" }
        text.unicodeScalars.append(character)
    }
    return text + "\""
}
