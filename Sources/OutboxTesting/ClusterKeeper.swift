// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import PostgresClient

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// Our end of `throwaway-postgres.sh`: while it is open the cluster lives, and through it the cluster is commanded.
///
/// The kernel closes it when this process ends, in whatever way, and the script then stops the cluster and removes
/// its files. The descriptor is close-on-exec, so that no other child keeps the cluster alive.
final class ClusterKeeper: Sendable {
    private let descriptor: Int32
    private let turnstile = Turnstile(capacity: 1)
    private static let patience: Duration = .seconds(60)

    private init(descriptor: Int32) {
        self.descriptor = descriptor
    }

    deinit {
        close(descriptor)
    }

    /// Runs the script in a fresh directory and waits for the cluster's URL.
    static func start() async throws -> (keeper: ClusterKeeper, url: String) {
        // Not TMPDIR: on a Mac that is too long for a socket's path.
        var path = Array("/tmp/outbox-XXXXXX".utf8CString)
        guard mkdtemp(&path) != nil else {
            throw failure("No directory can be made in /tmp: \(SystemFailure(number: errno))")
        }
        let directory = String(decoding: path.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let pair: DescriptorPair
        do { pair = try DescriptorPair.make().get() } catch { throw failure("No socket pair can be made: \(error)") }
        let keeper = ClusterKeeper(descriptor: pair.near)
        let script = String(decoding: PackageResources.throwaway_postgres_sh, as: UTF8.self)
        let process: pid_t
        do {
            defer { close(pair.far) }
            process = try spawn(["/bin/sh", "-c", script, "throwaway-postgres.sh", directory], connectedTo: pair.far)
        }
        do {
            return (keeper, try await keeper.answer { $0.hasPrefix("postgresql://") })
        } catch {
            // The script has said why and is gone; its status is of no more use.
            var status: Int32 = 0
            waitpid(process, &status, WNOHANG)
            throw error
        }
    }

    /// Sends a command and returns the line that the script answers with.
    func command(_ word: String) async throws -> String {
        try await turnstile.enter()
        defer { turnstile.leave() }
        let line = Array("\(word)\n".utf8)
        #if canImport(Glibc)
        let sent = send(descriptor, line, line.count, Int32(MSG_NOSIGNAL))
        #else
        let sent = send(descriptor, line, line.count, 0)
        #endif
        guard sent == line.count else { throw Self.failure("The cluster's script has ended.") }
        return try await answer { _ in true }
    }

    /// Reads lines up to the one that is expected; those before it are the script's complaints.
    private func answer(_ isExpected: (String) -> Bool) async throws -> String {
        let deadline = ContinuousClock.now + Self.patience
        var text = ""
        var bytes = [UInt8](repeating: 0, count: 4096)
        while true {
            if text.hasSuffix("\n"), let line = text.split(separator: "\n").last.map(String.init), isExpected(line) {
                return line
            }
            guard case .ready = await Poller.shared.wait(for: descriptor, .read, until: deadline) else {
                throw Self.failure("The throw-away Postgres did not answer in time. \(text)")
            }
            let count = recv(descriptor, &bytes, bytes.count, 0)
            guard count > 0 else { throw Self.failure("The throw-away Postgres did not start. \(text)") }
            text += String(decoding: bytes.prefix(count), as: UTF8.self)
        }
    }

    private static func failure(_ message: String) -> PostgresError {
        PostgresError(.connectionFailed, message)
    }
}

/// Starts a child whose standard streams are all the one descriptor, in a process group of its own, so that Ctrl-C
/// in the terminal reaches the tests and not the cluster under them.
private func spawn(_ arguments: [String], connectedTo descriptor: Int32) throws -> pid_t {
    #if canImport(Glibc)
    var actions = posix_spawn_file_actions_t()
    var attributes = posix_spawnattr_t()
    #else
    var actions: posix_spawn_file_actions_t?
    var attributes: posix_spawnattr_t?
    #endif
    posix_spawn_file_actions_init(&actions)
    posix_spawnattr_init(&attributes)
    defer {
        posix_spawn_file_actions_destroy(&actions)
        posix_spawnattr_destroy(&attributes)
    }
    for stream in 0...2 { posix_spawn_file_actions_adddup2(&actions, descriptor, Int32(stream)) }
    // Nothing else of this process: the cluster outlives what other tests have open at the moment, such as the pipes of
    // a program whose end they wait for.
    #if canImport(Glibc)
    // addclosefrom_np is hidden from Swift; closing what is not open is no error
    for other in 3..<1024 { posix_spawn_file_actions_addclose(&actions, Int32(other)) }
    let flags = POSIX_SPAWN_SETPGROUP
    #else
    let flags = POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_CLOEXEC_DEFAULT
    #endif
    posix_spawnattr_setflags(&attributes, Int16(flags))
    let environment = ["PATH", "HOME", "LANG", "OUTBOX_DURABLE"].compactMap { name in
        environmentVariable(name).map { "\(name)=\($0)" }
    }
    var argumentPointers: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
    var environmentPointers: [UnsafeMutablePointer<CChar>?] = environment.map { strdup($0) } + [nil]
    defer { for pointer in argumentPointers + environmentPointers { free(pointer) } }
    var process: pid_t = 0
    let problem = posix_spawn(
        &process, arguments[0], &actions, &attributes, &argumentPointers, &environmentPointers
    )
    guard problem == 0 else {
        throw PostgresError(.connectionFailed, "\(arguments[0]) cannot be run: \(SystemFailure(number: problem)).")
    }
    return process
}

func environmentVariable(_ name: String) -> String? {
    getenv(name).map { String(cString: $0) }
}

func processIdentifier() -> Int32 { getpid() }
