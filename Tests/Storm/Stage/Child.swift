// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import OutboxRelay
import Synchronization

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// A process of the storm: its signals, the lines it prints, and its end.
final class Child: Sendable {
    let name: String
    let process: pid_t
    private let input: CInt
    private let lines: AsyncStream<String>
    private let status = Mutex<CInt?>(nil)

    /// - Parameters:
    ///   - log: Where its error output goes, and all of its output unless `answers`.
    ///   - memory: The most address space that it may have, in kilobytes.
    init(
        _ name: String, _ command: [String], environment: [String: String] = [:], log: String, answers: Bool,
        memory: Int? = nil
    ) throws {
        self.name = name
        let limit = memory.map { "ulimit -v \($0); " } ?? ""
        let script = "\(limit)exec \"$@\" \(answers ? "" : ">>\"$STORM_LOG\" ")2>>\"$STORM_LOG\""
        var variables = ProcessInfo.processInfo.environment
        // tests kill on purpose; a backtrace of each would take seconds and say nothing
        variables["SWIFT_BACKTRACE"] = "enable=no"
        variables["STORM_LOG"] = log
        variables.merge(environment) { $1 }
        let spawned = spawnLock.withLock { _ -> (pid_t, CInt, CInt)? in
            guard let pipes = ChildPipes(),
                case .success(let process) = spawn(
                    ["/bin/sh", "-c", script, "sh"] + command, environment: variables, pipes: pipes)
            else { return nil }
            pipes.closeChildEnds()
            return (process, Self.blocking(pipes.input), Self.blocking(pipes.output))
        }
        guard let spawned else { throw StormError("\(name) could not be started") }
        (process, input) = (spawned.0, spawned.1)
        let output = spawned.2
        let (lines, line) = AsyncStream.makeStream(of: String.self)
        self.lines = lines
        let started = DetachedThread.start { [self] in
            var reader = LineReader(output)
            while let text = reader.next() { line.yield(text) }
            line.finish()
            close(output)
            var status: CInt = 0
            while waitpid(process, &status, 0) < 0, errno == EINTR {}
            let signal = status & 0x7F
            self.status.withLock { $0 = signal == 0 ? status >> 8 & 0xFF : 128 + signal }
        }
        guard started else { throw StormError("the system has no room for another thread") }
    }

    deinit { close(input) }

    /// A copy of a pipe's end, for calls that wait, and not inherited by other children.
    private static func blocking(_ descriptor: CInt) -> CInt {
        let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 3)
        _ = fcntl(copy, F_SETFL, fcntl(copy, F_GETFL) & ~O_NONBLOCK)
        return copy
    }

    func send(_ signal: CInt) { if hasEnded == nil { kill(process, signal) } }

    func tell(_ line: String) { writeLine(line, to: input) }

    /// The next line that it prints.
    func line() async throws -> String {
        var iterator = lines.makeAsyncIterator()
        guard let line = await iterator.next() else { throw StormError("\(name) ended without an answer") }
        return line
    }

    /// Its status, 128 and the signal's number if one ended it; `nil` while it runs.
    var hasEnded: CInt? { status.withLock { $0 } }

    /// Waits for its end; `nil` if that has not come within the time.
    @discardableResult
    func ended(within limit: Double = 30) async throws -> CInt? {
        let end = Instant.now + Instant.seconds(limit)
        while hasEnded == nil, Instant.now < end { try await Task.sleep(for: .milliseconds(5)) }
        return hasEnded
    }
}

/// All processes of a storm, which end with this one, even if it is killed: a warden outlives it for that long.
final class Children: Sendable {
    let directory: String
    private let warden: Child
    private let all = Mutex<[Child]>([])

    init(directory: String) throws {
        self.directory = directory
        warden = try Child(
            "warden", [Self.ownPath, "role", "warden", directory], log: "\(directory)/warden.log", answers: false)
    }

    static let ownPath: String = {
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = readlink("/proc/self/exe", &buffer, buffer.count - 1)
        guard count > 0 else { return CommandLine.arguments[0] }
        return String(decoding: buffer.prefix(count).map(UInt8.init(bitPattern:)), as: UTF8.self)
    }()

    /// The `outbox` that was built together with this program.
    static var outbox: String { (ownPath as NSString).deletingLastPathComponent + "/outbox" }

    /// - Parameter farewell: The signal that ends it, should this process not be there to do it.
    func start(
        _ name: String, _ command: [String], environment: [String: String] = [:], answers: Bool = false,
        memory: Int? = nil, farewell: CInt = SIGKILL
    ) throws -> Child {
        let child = try Child(
            name, command, environment: environment, log: "\(directory)/\(name).log", answers: answers, memory: memory)
        warden.tell("+\(child.process) \(farewell)")
        all.withLock { $0.append(child) }
        return child
    }

    /// Starts this program again in one of its roles.
    func start(
        _ name: String, role: String, _ order: some Encodable, answers: Bool = true, memory: Int? = nil,
        environment: [String: String] = [:]
    ) throws -> Child {
        let json = String(decoding: try JSONEncoder().encode(order), as: UTF8.self)
        return try start(
            name, [Self.ownPath, "role", role, json], environment: environment, answers: answers, memory: memory)
    }

    /// Ends what still runs.
    func end() async throws {
        for child in all.withLock({ $0 }) where child.hasEnded == nil {
            child.send(SIGCONT)
            child.send(SIGKILL)
            try await child.ended(within: 10)
        }
        for child in all.withLock({ $0 }) { warden.tell("-\(child.process)") }
        warden.send(SIGKILL)
    }
}
