// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Outbox
internal import OutboxCore
package import PostgresClient

#if canImport(Darwin)
internal import Darwin
#else
internal import Glibc
#endif

/// Who a relay is: a random identity for its claims, so that two runs of one process are two relays, and a name for people.
package struct RelayIdentity: Sendable {
    package let id: PostgresUUID
    package let name: String
    package static var version: String { OutboxVersion.current }

    package init(name: String) {
        id = PostgresUUID(TaskID.random())
        self.name = name
    }

    /// Host name and process id, `web-1:4711`.
    package static var defaultName: String {
        var buffer = [CChar](repeating: 0, count: 256)
        let host =
            gethostname(&buffer, buffer.count - 1) == 0
            ? String(decoding: buffer.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self) : "unknown"
        return "\(host):\(getpid())"
    }
}
