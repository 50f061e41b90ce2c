// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import PostgresClient
import Synchronization

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// The databases that were made on a server that is not ours, to be dropped when the process exits.
///
/// A process that is killed leaves them behind: `SELECT datname FROM pg_database WHERE datname ~ '^outbox_test_'`.
enum LeftoverDatabases {
    private struct State {
        var configuration: DatabaseConfiguration?
        var names: [String] = []
    }

    private static let state = Mutex(State())

    static func add(_ name: String, on configuration: DatabaseConfiguration) {
        let isFirst = state.withLock { state in
            defer { state.configuration = configuration }
            state.names.append(name)
            return state.configuration == nil
        }
        if isFirst { atexit { LeftoverDatabases.dropAll() } }
    }

    /// Runs at exit, on the main thread, which waits for the tasks' threads; they are still there.
    private static func dropAll() {
        let (configuration, names) = state.withLock { ($0.configuration, $0.names) }
        guard let configuration, case .success(let pair) = DescriptorPair.make() else { return }
        Task.detached {
            let database = Database(configuration)
            for name in names {
                do {
                    try await database.execute("DROP DATABASE IF EXISTS \(identifier: name) WITH (FORCE)")
                } catch {
                    // Nobody is left to be told but the terminal.
                    let line = Array("The test database \(name) could not be dropped: \(error)\n".utf8)
                    _ = write(STDERR_FILENO, line, line.count)
                }
            }
            await database.close()
            close(pair.far)
        }
        var entry = pollfd(fd: pair.near, events: Int16(POLLIN), revents: 0)
        poll(&entry, 1, 60_000)
    }
}
