// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import OutboxCore

/// A relay's handlers, by what they run.
struct HandlerTable: Sendable {
    private var kinds: [String: Handler] = [:]
    private var endpoints: [String: Handler] = [:]
    private var others: Handler?

    init(_ handlers: [Handler]) throws(RelayError) {
        for handler in handlers {
            let isFirst: Bool
            switch handler.scope {
            case .kind(let kind): isFirst = kinds.updateValue(handler, forKey: kind) == nil
            case .endpoint(let name): isFirst = endpoints.updateValue(handler, forKey: name) == nil
            case .others:
                isFirst = others == nil
                others = handler
            }
            guard isFirst else {
                throw RelayError(.invalidHandlers, "two handlers for \(handler.scope)", hint: "leave one of them out")
            }
        }
        guard !handlers.isEmpty else {
            throw RelayError(
                .invalidHandlers, "the relay has no handlers", hint: "give it at least one kind or endpoint to run")
        }
    }

    /// The handler for a task, by the same rule as the claim: a producer's endpoint goes before the kind.
    func handler(kind: String, endpoint: String?) -> Handler? {
        if let endpoint { return endpoints[endpoint] }
        return kinds[kind] ?? others
    }

    func engineSettings(_ configuration: RelayConfiguration) -> Engine.Settings {
        var settings = Engine.Settings()
        settings.capacity = configuration.concurrency
        settings.lease = configuration.lease
        settings.poll = configuration.poll
        settings.sweepInterval = configuration.sweepInterval
        settings.cancellationGrace = configuration.cancellationGrace
        settings.kinds = kinds.mapValues(\.policy)
        settings.endpoints = endpoints.mapValues(\.policy)
        settings.otherKinds = others?.policy
        return settings
    }
}
