// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Yams

/// Takes values out of the file and the environment, and collects everything that is wrong on the way, so that a
/// person corrects it all at once.
///
/// A variable goes before the file: `relay.lease` is `OUTBOX_RELAY_LEASE`, `endpoints.partner.url` is
/// `OUTBOX_ENDPOINTS_PARTNER_URL`, with `_` for any `-` or `.` in a name. An empty variable counts as none.
struct ConfigurationReader {
    /// A mapping of the file: its members, and how it is reached. One that is not there has no members.
    struct Section {
        let path: [String]
        let origin: Origin
        fileprivate(set) var members: [(name: String, line: Int, node: Node)] = []

        func name(of key: String) -> String { (path + [key]).joined(separator: ".") }
        func has(_ key: String) -> Bool { members.contains { $0.name == key } }
        /// Where a key stands, or else the mapping in which it is missing.
        func origin(of key: String) -> Origin {
            members.first { $0.name == key }.map { .line($0.line) } ?? origin
        }
    }

    /// A value and where it came from.
    struct Located<Value> {
        let value: Value
        let origin: Origin
    }

    let environment: [String: String]
    private(set) var problems: [ConfigurationProblem] = []

    init(environment: [String: String]) {
        self.environment = environment
    }

    mutating func report(_ origin: Origin, _ message: String) {
        problems.append(ConfigurationProblem(origin: origin, message: message))
    }

    static func variable(for path: [String]) -> String {
        "OUTBOX_"
            + path.joined(separator: "_").uppercased().map { $0 == "-" || $0 == "." ? "_" : String($0) }.joined()
    }

    /// The whole file as a section; an empty one for an empty file, or one that is not YAML, which is reported.
    mutating func root(of text: String, known: [String]?) -> Section {
        let empty = Section(path: [], origin: .nowhere)
        do {
            guard let node = try Yams.compose(yaml: text) else { return empty }
            return section(node, path: [], known: known)
        } catch {
            let problem = (error as? YamlError)?.problem ?? (1, "is not YAML: \(error)")
            report(.line(problem.0), problem.1)
            return empty
        }
    }

    /// A mapping inside another. With `known`, other keys in it are reported; without, it is one of free names.
    mutating func section(_ key: String, in parent: Section, known: [String]?) -> Section {
        guard let member = parent.members.first(where: { $0.name == key }) else {
            return Section(path: parent.path + [key], origin: parent.origin)
        }
        return section(member.node, path: parent.path + [key], line: member.line, known: known)
    }

    /// The elements of a sequence, each a mapping of exactly one of some kinds: `- webhook: {…}`.
    mutating func choices(_ key: String, in parent: Section, of kinds: [String]) -> [(
        kind: String, line: Int, node: Node
    )] {
        guard let member = parent.members.first(where: { $0.name == key }) else { return [] }
        guard case .sequence(let elements) = member.node else {
            report(
                .line(member.line), "\(parent.name(of: key)) must be a list, each element beginning with \"- \"")
            return []
        }
        return elements.compactMap { element in
            let line = element.mark?.line ?? member.line
            let section = section(element, path: parent.path + [key], line: line, known: kinds)
            guard section.members.count == 1 else {
                if section.members.count > 1 || !problems.contains(where: { $0.origin == .line(line) }) {
                    report(
                        .line(line),
                        "each element of \(parent.name(of: key)) is one of \(kinds.joined(separator: ", "))")
                }
                return nil
            }
            return (section.members[0].name, section.members[0].line, section.members[0].node)
        }
    }

    mutating func section(_ node: Node, path: [String], line: Int? = nil, known: [String]?) -> Section {
        let line = line ?? node.mark?.line ?? 1
        let name = path.isEmpty ? "the file" : path.joined(separator: ".")
        var section = Section(path: path, origin: .line(line))
        guard case .mapping(let mapping) = node else {
            // `alerts:` with nothing below it is a mapping that someone has emptied
            if case .scalar(let scalar) = node, isNull(scalar) { return section }
            report(.line(line), "\(name) must be a mapping of keys and values")
            return section
        }
        for (key, value) in mapping {
            let line = key.mark?.line ?? line
            guard let keyName = key.scalar?.string else {
                report(.line(line), "\(name) has a key that is not a plain name")
                continue
            }
            if let known, !known.contains(keyName) {
                let place = path.isEmpty ? "" : " in \(name)"
                let advice =
                    nearest(to: keyName, among: known).map { "did you mean \($0)?" }
                    ?? "known are \(known.joined(separator: ", "))"
                report(.line(line), "unknown key \(printable(keyName))\(place): \(advice)")
                continue
            }
            section.members.append((keyName, line, value))
        }
        return section
    }

    /// The text of a scalar, from the environment or the file; `nil` if it is in neither, or wrong and reported.
    ///
    /// - Parameter secret: whether it may be a reference to where the value stands.
    mutating func text(_ key: String, in section: Section, secret: Bool = false) -> Located<String>? {
        let variable = Self.variable(for: section.path + [key])
        let found: Located<String>
        if let value = environment[variable], !value.isEmpty {
            found = Located(value: value, origin: .variable(variable))
        } else {
            guard let member = section.members.first(where: { $0.name == key }) else { return nil }
            guard case .scalar(let scalar) = member.node, !isNull(scalar) else {
                report(.line(member.line), "\(section.name(of: key)) needs a value, and a single one")
                return nil
            }
            found = Located(value: scalar.string, origin: .line(member.line))
        }
        guard secret else { return found }
        do {
            return Located(
                value: try SecretReference.resolve(found.value, environment: environment), origin: found.origin)
        } catch {
            report(found.origin, "\(section.name(of: key)): \(error.message)")
            return nil
        }
    }

    /// The texts of a sequence of scalars.
    mutating func texts(_ key: String, in section: Section) -> Located<[String]>? {
        guard let member = section.members.first(where: { $0.name == key }) else { return nil }
        guard case .sequence(let elements) = member.node else {
            report(
                .line(member.line), "\(section.name(of: key)) must be a list, such as [/usr/local/bin/page, --now]"
            )
            return nil
        }
        return Located(value: elements.compactMap(\.scalar?.string), origin: .line(member.line))
    }

    private func isNull(_ scalar: Node.Scalar) -> Bool {
        scalar.style == .plain && ["", "~", "null"].contains(scalar.string)
    }
}

extension YamlError {
    /// The line, and what is wrong, without the snippet of the file, which may show a secret.
    fileprivate var problem: (Int, String) {
        switch self {
        case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
            .composer(_, let problem, let mark, _):
            (mark.line, "is not YAML: \(problem)")
        case .duplicatedKeysInMapping(let duplicates, let context):
            (
                context.mark.line,
                "given twice in one mapping, first here: \(duplicates.sorted().joined(separator: ", "))"
            )
        case .reader(let problem, _, _, _): (1, "is not YAML: \(problem)")
        default: (1, "is not YAML")
        }
    }
}
