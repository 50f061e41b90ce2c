// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Outbox
internal import OutboxCore
internal import OutboxHTTP

/// The parts `endpoints` and `routes`.
extension ConfigurationReader {
    /// The name of the endpoint that runs without a file.
    static let defaultEndpoint = "default"
    private static let defaultVariable = "OUTBOX_ENDPOINT_URL"

    mutating func deliveries(in root: Section) -> [Configuration.Delivery] {
        let section = section("endpoints", in: root, known: nil)
        var deliveries: [Configuration.Delivery] = []
        for member in section.members {
            guard Names.isName(member.name) else {
                report(.line(member.line), "the endpoint's name \(printable(member.name)) \(Names.rule)")
                continue
            }
            if let delivery = delivery(named: member.name, in: section) { deliveries.append(delivery) }
        }
        if let delivery = defaultDelivery(besides: section) { deliveries.append(delivery) }
        route(in: root, names: section.members.map(\.name), &deliveries)
        return deliveries
    }

    private mutating func delivery(named name: String, in endpoints: Section) -> Configuration.Delivery? {
        let section = section(
            name, in: endpoints,
            known: [
                "url", "headers", "timeout", "connect_timeout", "proxy", "ca_file", "http_version",
                "idempotency_key",
                "retry",
            ])
        let endpoint = endpoint(named: name, in: section)
        let retry = retry(in: section)
        return endpoint.map { Configuration.Delivery(endpoint: $0, retry: retry) }
    }

    /// An endpoint out of a mapping that has its URL and how to talk to it: one of `endpoints`, or a webhook of `alerts`.
    mutating func endpoint(named name: String, in section: Section) -> HTTPEndpoint? {
        let hour = Duration.seconds(3600)
        let url = text("url", in: section, secret: true)
        let headers = table("headers", in: section)
        let timeout = duration("timeout", in: section, default: .seconds(15), bounds: .milliseconds(1)...hour)
        let connect = duration(
            "connect_timeout", in: section, default: .seconds(5), bounds: .milliseconds(1)...hour)
        let proxy = text("proxy", in: section, secret: true)
        let caFile = text("ca_file", in: section)
        let version: HTTPVersion = choice("http_version", in: section, default: .http1)
        let key: HTTPEndpoint.IdempotencyKeyStyle = choice("idempotency_key", in: section, default: .quoted)
        guard let url else {
            // a reference that leads nowhere is reported already
            if !section.has("url") { report(section.origin, "\(section.path.joined(separator: ".")) has no url") }
            return nil
        }
        do {
            return try HTTPEndpoint(
                name: name, url: url.value, headers: headers, connectTimeout: connect, timeout: timeout,
                proxy: proxy?.value, caFile: caFile?.value, httpVersion: version, idempotencyKeyStyle: key)
        } catch {
            let origin: Origin =
                switch error.code {
                case .invalidURL: url.origin
                case .invalidHeader: section.origin(of: "headers")
                case .invalidProxy: proxy?.origin ?? section.origin
                case .unreadableCAFile: caFile?.origin ?? section.origin
                default: section.origin
                }
            report(origin, "\(section.path.joined(separator: ".")): \(error.message)")
            return nil
        }
    }

    private mutating func retry(in endpoint: Section) -> RetryPolicy {
        let section = section(
            "retry", in: endpoint,
            known: ["max_attempts", "max_age", "max_crashes", "base", "factor", "cap", "jitter"])
        let usual = RetryPolicy()
        let year = Duration.seconds(366 * 86_400)
        let base = duration("base", in: section, default: usual.backoff.base, bounds: .milliseconds(1)...year)
        let cap = duration(
            "cap", in: section, default: max(usual.backoff.cap, base), bounds: .milliseconds(1)...year)
        if cap < base {
            report(section.origin(of: "cap"), "\(section.name(of: "cap")) must not be shorter than base")
        }
        return RetryPolicy(
            maxAttempts: integer("max_attempts", in: section, default: usual.maxAttempts, bounds: 1...1000),
            maxAge: duration(
                "max_age", in: section, default: usual.maxAge ?? year, bounds: .milliseconds(1)...year),
            maxCrashes: integer("max_crashes", in: section, default: usual.maxCrashes, bounds: 1...1000),
            backoff: Backoff(
                base: base, factor: number("factor", in: section, default: usual.backoff.factor, bounds: 1...1000),
                cap: cap,
                jitter: flag("jitter", in: section, default: usual.backoff.jitter)))
    }

    /// The one endpoint of a sidecar without a file.
    private mutating func defaultDelivery(besides endpoints: Section) -> Configuration.Delivery? {
        guard let text = environment[Self.defaultVariable], !text.isEmpty else { return nil }
        let origin = Origin.variable(Self.defaultVariable)
        guard endpoints.members.isEmpty else {
            report(
                origin,
                "is for a sidecar without endpoints in the file: unset it, or remove endpoints from the file")
            return nil
        }
        do {
            let url = try SecretReference.resolve(text, environment: environment)
            let endpoint = try HTTPEndpoint(name: Self.defaultEndpoint, url: url)
            return Configuration.Delivery(endpoint: endpoint, retry: RetryPolicy(), otherKinds: true)
        } catch let error as HTTPEndpointError {
            report(origin, error.message)
        } catch let error as SecretReference.Missing {
            report(origin, error.message)
        } catch {
            report(origin, "\(error)")
        }
        return nil
    }

    private mutating func route(in root: Section, names: [String], _ deliveries: inout [Configuration.Delivery]) {
        let section = section("routes", in: root, known: nil)
        for member in section.members {
            guard member.name == "*" || Names.isKind(member.name) else {
                report(
                    .line(member.line),
                    "routes: \(printable(member.name)) is not a kind: use letters, digits, _ and - in parts joined by "
                        + "\".\", or \"*\" for every other kind")
                continue
            }
            guard let target = text(member.name, in: section) else { continue }
            guard let position = deliveries.firstIndex(where: { $0.endpoint.name == target.value }) else {
                // an endpoint that is in the file but wrong is reported already
                if !names.contains(target.value) {
                    let advice =
                        nearest(to: target.value, among: names).map { "did you mean \($0)?" }
                        ?? "describe it in endpoints"
                    report(target.origin, "routes: there is no endpoint \(printable(target.value)): \(advice)")
                }
                continue
            }
            if member.name == "*" {
                if let other = deliveries.first(where: \.otherKinds), other.endpoint.name != target.value {
                    report(target.origin, "routes: \"*\" leads to \(other.endpoint.name) already")
                }
                deliveries[position].otherKinds = true
            } else {
                deliveries[position].kinds.append(member.name)
            }
        }
    }
}
