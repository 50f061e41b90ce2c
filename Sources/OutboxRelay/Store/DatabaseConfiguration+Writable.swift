// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import PostgresClient

extension DatabaseConfiguration {
    /// The same, for sessions that have to write: of several hosts the primary is taken, unless the URL says otherwise.
    func writable(applicationName: String) -> DatabaseConfiguration {
        var copy = self
        copy.applicationName = applicationName
        if copy.parameters["target_session_attrs"] == nil { copy.parameters["target_session_attrs"] = "read-write" }
        return copy
    }
}
