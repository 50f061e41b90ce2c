// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import OutboxHTTP
internal import OutboxRelay
internal import Yams

/// The part `alerts`.
extension ConfigurationReader {
    mutating func alerts(in root: Section, _ relay: inout RelayConfiguration) -> [Configuration.AlertTarget] {
        let section = section(
            "alerts", in: root, known: ["group_wait", "group_interval", "unhandled_after", "channels"])
        let day = Duration.seconds(86_400)
        relay.groupWait = duration("group_wait", in: section, default: relay.groupWait, bounds: .zero...day)
        relay.groupInterval = duration(
            "group_interval", in: section, default: relay.groupInterval, bounds: .zero...day)
        relay.unhandledAfter = duration(
            "unhandled_after", in: section, default: relay.unhandledAfter, bounds: .zero...day)
        var targets: [Configuration.AlertTarget] = []
        for (kind, line, node) in choices("channels", in: section, of: ["webhook", "command"]) {
            let target = kind == "webhook" ? webhook(node, line) : command(node, line)
            guard let target else { continue }
            if target.name == "log" || targets.contains(where: { $0.name == target.name }) {
                let reason =
                    target.name == "log" ? "is taken by the log, which is always a channel" : "is given twice"
                report(.line(line), "alerts.channels: the name \(target.name) \(reason)")
            }
            targets.append(target)
        }
        return targets
    }

    /// A mapping of a channel; its path ends with the channel's name, which stands for it in variables.
    private mutating func channel(_ node: Node, _ line: Int, known: [String]) -> (name: String, section: Section)? {
        let path = ["alerts", "channels"]
        let unnamed = section(node, path: path, line: line, known: known)
        guard let name = text("name", in: unnamed) else {
            report(.line(line), "a channel of alerts.channels has no name")
            return nil
        }
        // the same mapping once more, whose unknown keys are reported already
        return (name.value, section(node, path: path + [name.value], line: line, known: nil))
    }

    private mutating func webhook(_ node: Node, _ line: Int) -> Configuration.AlertTarget? {
        let known = ["name", "url", "headers", "timeout", "connect_timeout", "proxy", "ca_file", "http_version"]
        guard let (name, section) = channel(node, line, known: known) else { return nil }
        return endpoint(named: name, in: section).map { .webhook($0) }
    }

    private mutating func command(_ node: Node, _ line: Int) -> Configuration.AlertTarget? {
        guard let (name, section) = channel(node, line, known: ["name", "run", "timeout", "environment"]) else {
            return nil
        }
        let timeout = duration(
            "timeout", in: section, default: .seconds(30), bounds: .milliseconds(1) ... .seconds(3600))
        let environment = table("environment", in: section)
        guard let run = texts("run", in: section) else {
            if !section.has("run") {
                report(section.origin, "alerts.channels.\(name) has no run, the program and its arguments")
            }
            return nil
        }
        do {
            return .command(
                try CommandChannel(
                    name: name, command: run.value,
                    environment: Dictionary(environment.map { ($0.name, $0.value) }) { _, last in last },
                    timeout: timeout))
        } catch {
            report(run.origin, "alerts.channels.\(name): \(error.message)")
            return nil
        }
    }
}
