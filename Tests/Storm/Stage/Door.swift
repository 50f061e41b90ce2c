// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation

/// A proxy that runs, as the scenario sees it.
struct Door: Sendable {
    private let child: Child
    /// The database behind it.
    let url: String

    /// - Parameter socket: The server's, if it is not the stage's own.
    init(_ stage: Stage, _ name: String = "proxy", socket: String? = nil) async throws {
        child = try stage.children.start(
            name, role: "proxy", Proxy.Order(socket: socket ?? stage.socket, seed: stage.seed))
        url = "host=127.0.0.1 port=\(try await child.line()) user=postgres dbname=\(stage.databaseName)"
    }

    func drop(_ subject: Link.Subject, inThousand: Int) { child.tell("drop \(subject.rawValue) \(inThousand)") }

    func freeze() { child.tell("freeze") }

    func counts() async throws -> Proxy.Counts {
        child.tell("stats")
        return try JSONDecoder().decode(Proxy.Counts.self, from: Data(try await child.line().utf8))
    }
}
