// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import OutboxCore

/// What a relay can run, in the form that the claim takes.
struct ClaimScope: Sendable {
    /// `nil`: every kind.
    let kinds: [String]?
    let endpoints: [String]
    /// Kinds that are acknowledged with the claim.
    let early: [String]
    /// Kinds that run alone after their relay vanished.
    let isolated: [String]

    init(_ settings: Engine.Settings) {
        let named = settings.kinds.sorted { $0.key < $1.key }
        kinds = settings.otherKinds == nil ? named.map(\.key) : nil
        endpoints = settings.endpoints.keys.sorted()
        early = named.filter(\.value.acknowledgesEarly).map(\.key)
        isolated = named.filter(\.value.runsAloneAfterCrash).map(\.key)
    }
}
