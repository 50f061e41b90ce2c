// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Testing

@testable import OutboxCommand

/// What is wrong with a configuration is said with its line, all at once, and without the value of a secret.
@Suite struct ConfigurationProblemTests {
    private func problems(_ text: String, _ environment: [String: String] = [:]) -> [String] {
        do {
            _ = try Configuration.read(ConfigurationFile(name: "f", text: text), environment: environment)
            return []
        } catch {
            return error.lines
        }
    }

    @Test(arguments: [
        ("a: 1", "f:1: unknown key a: known are database, relay, endpoints, routes, alerts, log"),
        ("\nrelais: {}", "f:2: unknown key relais: did you mean relay?"),
        ("relay:\n  leese: 3s", "f:2: unknown key leese in relay: did you mean lease?"),
        ("relay:\n  lease: 0s", "f:2: relay.lease must be 1s to 1h, not 0s"),
        (
            "relay:\n  lease: 30",
            "f:2: relay.lease is not a duration: write a number and a unit, such as 500ms, 10s, 5m, 2h or 1d"
        ),
        ("relay:\n  lease:", "f:2: relay.lease needs a value, and a single one"),
        ("relay:\n  lease: [1s]", "f:2: relay.lease needs a value, and a single one"),
        ("relay:\n  stop_grace: -5s", "f:2: relay.stop_grace must be 0s to 1d, not -5s"),
        ("relay:\n  sweep_interval: 1ms", "f:2: relay.sweep_interval must be 100ms to 1d, not 1ms"),
        ("relay:\n  concurrency: 0", "f:2: relay.concurrency must be a whole number from 1 to 10000"),
        ("relay:\n  concurrency: 1.5", "f:2: relay.concurrency must be a whole number from 1 to 10000"),
        (
            "relay: {poll_fastest: 2s,\n poll_slowest: 1s}",
            "f:2: relay.poll_slowest must not be shorter than relay.poll_fastest"
        ),
        ("relay: 5", "f:1: relay must be a mapping of keys and values"),
        ("- a", "f:1: the file must be a mapping of keys and values"),
        (
            "database: {schema: 1x}",
            "f:1: database.schema must be 1 to 48 of a-z, 0-9 and _, and begin with a letter or _"
        ),
        ("database: {url: env:NOPE}", "f:1: database.url: the variable NOPE is not set in the environment"),
        ("database: {url: file:/nope}", "f:1: database.url: the file /nope cannot be read"),
        (
            "endpoints:\n  A: {url: http://x}",
            "f:2: the endpoint's name A must be 1 to 63 of a-z, 0-9, \"_\", \".\" and \"-\", and begin with a letter or digit"
        ),
        ("endpoints:\n  a: {}", "f:2: endpoints.a has no url"),
        (
            "endpoints:\n  a:\n    url: ftp://x",
            "f:3: endpoints.a: The URL begins with ftp://: only http:// and https:// are spoken."
        ),
        (
            "endpoints:\n  a:\n    url: http://x\n    headers:\n      host: x",
            "f:4: endpoints.a: The header \"host\" is reserved: the delivery sets it itself. Use another name."
        ),
        (
            "endpoints:\n  a:\n    url: http://x\n    ca_file: /nope",
            "f:4: endpoints.a: The file of certificate authorities /nope cannot be read: check the path and its permissions."
        ),
        (
            "endpoints:\n  a:\n    url: http://x\n    proxy: nope://x",
            "f:4: endpoints.a: The proxy is not a URL of the kind http://, https://, socks5:// or socks5h://. Leave it out to connect directly."
        ),
        (
            "endpoints:\n  a:\n    url: http://x\n    http_version: 3",
            "f:4: endpoints.a.http_version must be one of 1.1, 2"
        ),
        (
            "endpoints:\n  a:\n    url: http://x\n    idempotency_key: x",
            "f:4: endpoints.a.idempotency_key must be one of quoted, bare"
        ),
        (
            "endpoints:\n  a:\n    url: http://x\n    timeout: 0s",
            "f:4: endpoints.a.timeout must be 1ms to 1h, not 0s"
        ),
        (
            "endpoints:\n  a:\n    url: http://x\n    retry:\n      factor: 0.5",
            "f:5: endpoints.a.retry.factor must be a number from 1.0 to 1000.0"
        ),
        (
            "endpoints:\n  a:\n    url: http://x\n    retry: {factor: nan}",
            "f:4: endpoints.a.retry.factor must be a number from 1.0 to 1000.0"
        ),
        (
            "endpoints:\n  a:\n    url: http://x\n    retry: {base: 2h, cap: 1h}",
            "f:4: endpoints.a.retry.cap must not be shorter than base"
        ),
        (
            "endpoints:\n  a:\n    url: http://x\n    retry: {max_attempts: 0}",
            "f:4: endpoints.a.retry.max_attempts must be a whole number from 1 to 1000"
        ),
        (
            "endpoints:\n  a:\n    url: http://x\n    retry: {jitter: maybe}",
            "f:4: endpoints.a.retry.jitter must be true or false"
        ),
        (
            "endpoints:\n  a:\n    url: http://x\n    retry: {max_age: -1s}",
            "f:4: endpoints.a.retry.max_age must be 1ms to 366d, not -1s"
        ),
        (
            "endpoints: {a: {url: http://x}}\nroutes:\n  k: aa",
            "f:3: routes: there is no endpoint aa: did you mean a?"
        ),
        ("routes:\n  k: partner", "f:2: routes: there is no endpoint partner: describe it in endpoints"),
        (
            "routes:\n  a b: x",
            "f:2: routes: a b is not a kind: use letters, digits, _ and - in parts joined by \".\", or \"*\" for every other kind"
        ),
        ("alerts:\n  channels: 5", "f:2: alerts.channels must be a list, each element beginning with \"- \""),
        (
            "alerts:\n  channels:\n    - webhok: {}",
            "f:3: unknown key webhok in alerts.channels: did you mean webhook?"
        ),
        ("alerts:\n  channels:\n    - webhook: {url: http://x}", "f:3: a channel of alerts.channels has no name"),
        ("alerts:\n  channels:\n    - webhook: {name: x}", "f:3: alerts.channels.x has no url"),
        (
            "alerts:\n  channels:\n    - command: {name: x}",
            "f:3: alerts.channels.x has no run, the program and its arguments"
        ),
        (
            "alerts:\n  channels:\n    - command: {name: x, run: []}",
            "f:3: alerts.channels.x: The command is empty: name a program."
        ),
        (
            "alerts:\n  channels:\n    - command: {name: x, run: page}",
            "f:3: alerts.channels.x.run must be a list, such as [/usr/local/bin/page, --now]"
        ),
        (
            "alerts:\n  channels:\n    - command: {name: log, run: [a]}",
            "f:3: alerts.channels: the name log is taken by the log, which is always a channel"
        ),
        (
            "alerts:\n  channels:\n    - command: {name: x, run: [a]}\n    - command: {name: x, run: [b]}",
            "f:4: alerts.channels: the name x is given twice"
        ),
        (
            "alerts:\n  channels:\n    - command: {name: x, run: [a]}\n      webhook: {name: y, url: http://x}",
            "f:3: each element of alerts.channels is one of webhook, command"
        ),
        (
            "log:\n  level: loud",
            "f:2: log.level must be one of trace, debug, info, notice, warning, error, critical"
        ),
        ("log:\n  format: xml", "f:2: log.format must be one of text, json"),
        ("relay: {}\nrelay: {}", "f:1: given twice in one mapping, first here: relay"),
        ("a: {\nb", "f:3: is not YAML: did not find expected ',' or '}'"),
        ("log: {}\n---\nlog: {}", "f:2: is not YAML: but found another document"),
    ])
    func eachHasItsLine(_ text: String, _ expected: String) {
        #expect(problems(text) == [expected])
    }

    @Test func aVariableThatIsWrongIsNamed() {
        #expect(
            problems("", ["OUTBOX_RELAY_LEASE": "x"]).first?.hasPrefix(
                "OUTBOX_RELAY_LEASE: relay.lease is not a duration") == true)
        #expect(
            problems("", ["OUTBOX_ENDPOINT_URL": "x y"]).first?.hasPrefix(
                "OUTBOX_ENDPOINT_URL: The URL is empty or") == true)
        #expect(
            problems("endpoints: {a: {url: http://x}}", ["OUTBOX_ENDPOINT_URL": "http://y"]).first?
                .hasPrefix("OUTBOX_ENDPOINT_URL: is for a sidecar without endpoints") == true)
    }

    @Test func allAreReportedAtOnceInTheOrderOfTheFile() {
        let found = problems("relay: {lease: 0s}\nlog: {level: x}\nendpoints: {a: {}}\nzzzzzzzz: 1")
        #expect(found.map { $0.prefix(4) } == ["f:1:", "f:2:", "f:3:", "f:4:"])
    }

    @Test func noSecretIsEverShown() {
        let text = """
            database: {url: env:DB}
            endpoints: {a: {url: "http://user:SECRET@x/?SECRET", headers: {host: env:DB, "x y": env:DB}}}
            alerts: {channels: [webhook: {name: x, url: env:DB}, command: {name: y, run: [a], environment: {"A=B": env:DB}}]}
            """
        let found = problems(text, ["DB": "SECRET\nSECRET"])
        #expect(!found.isEmpty && !found.joined().contains("SECRET"))
    }

    @Test func theNearestKeyIsSuggestedOnlyIfItIsNear() {
        #expect(nearest(to: "concurency", among: ["concurrency", "lease"]) == "concurrency")
        #expect(nearest(to: "pol_fastest", among: ["poll_fastest", "poll_slowest"]) == "poll_fastest")
        #expect(nearest(to: "banana", among: ["lease", "name"]) == nil)
        #expect(nearest(to: "x", among: []) == nil)
    }
}
