// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import OutboxRelay
internal import Synchronization

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif
#if canImport(Darwin)
internal import Darwin
#else
internal import Glibc
#endif

/// A child process that makes load, so that nobody charges it to the relay: this program once more, as
/// `outbox bench-load NAME`.
///
/// It reads a job as a line of JSON, works, and answers with a line of JSON; then it reads the next. It ends with its input,
/// and so with this process.
package final class LoadProcess: Sendable {
    private let process: pid_t
    private let input: CInt
    private let replies: AsyncStream<[UInt8]>
    private let ended: AsyncStream<Void>

    /// - Parameter name: Which load it makes: see ``BenchLoad``.
    package init(_ name: String, url: String) throws {
        guard let program = Self.program else { throw BenchFailure("this program does not know its own path") }
        var environment: [String: String] = ["SWIFT_BACKTRACE": "enable=no", BenchLoad.urlVariable: url]
        // libpq reads its defaults from there
        for variable in Self.inherited { environment[variable] = getenv(variable).map { String(cString: $0) } }
        let variables = environment
        let spawned = spawnLock.withLock { _ -> (pid_t, CInt, CInt)? in
            guard let pipes = ChildPipes(),
                case .success(let process) = spawn([program, "bench-load", name], environment: variables, pipes: pipes)
            else { return nil }
            pipes.closeChildEnds()
            // these ends are read and written by calls that wait, and live longer than the pipes' object
            return (process, blocking(pipes.input), blocking(pipes.output))
        }
        guard let spawned else { throw BenchFailure("a process for the load could not be started") }
        (process, input) = (spawned.0, spawned.1)
        let output = spawned.2
        let (replies, reply) = AsyncStream.makeStream(of: [UInt8].self)
        let (ended, end) = AsyncStream.makeStream(of: Void.self)
        (self.replies, self.ended) = (replies, ended)
        let started = DetachedThread.start { [process] in
            var lines = LineSource(descriptor: output)
            while let line = lines.next() { reply.yield(line) }
            reply.finish()
            close(output)
            var status: CInt = 0
            while waitpid(process, &status, 0) < 0, errno == EINTR {}
            end.finish()
        }
        guard started else { throw BenchFailure("the system has no room for another thread") }
    }

    /// Has a job done and returns the report.
    package func run<Report: Decodable>(
        _ job: some Encodable, as report: Report.Type = Report.self
    ) async throws -> Report {
        let line = Array(try JSONEncoder().encode(job)) + [UInt8(ascii: "\n")]
        guard writeAll(input, line) else { throw BenchFailure("the load process has ended") }
        var iterator = replies.makeAsyncIterator()
        let answer = await iterator.next()
        try Task.checkCancellation()
        guard let answer else { throw BenchFailure("the load process ended without an answer") }
        guard let report = try? JSONDecoder().decode(Report.self, from: Data(answer)) else {
            throw BenchFailure("the load process failed: \(String(decoding: answer.prefix(2000), as: UTF8.self))")
        }
        return report
    }

    /// Ends the process and waits for its end; one that is busy is killed.
    package func end() async {
        close(input)
        kill(process, SIGKILL)
        for await _ in ended {}
    }

    /// Where this program is, also after the working directory changed or under another name.
    private static var program: String? {
        #if os(Linux)
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = readlink("/proc/self/exe", &buffer, buffer.count - 1)
        guard count > 0 else { return nil }
        return String(decoding: buffer.prefix(count).map(UInt8.init(bitPattern:)), as: UTF8.self)
        #else
        return CommandLine.arguments.first
        #endif
    }

    /// https://www.postgresql.org/docs/current/libpq-envars.html
    private static let inherited = [
        "PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGPASSFILE", "PGSERVICE",
        "PGSERVICEFILE", "PGSSLMODE", "PGSSLCERT", "PGSSLKEY", "PGSSLROOTCERT", "PGOPTIONS", "HOME", "PATH",
        "LD_LIBRARY_PATH",
    ]
}

extension BenchContext {
    /// Runs a load process for as long as `body` takes.
    package func withLoad<R>(_ name: String, _ body: (LoadProcess) async throws -> R) async throws -> R {
        let load = try LoadProcess(name, url: url)
        do {
            let result = try await body(load)
            await load.end()
            return result
        } catch {
            await load.end()
            throw error
        }
    }
}

/// A copy of a pipe's end, for calls that wait, and not inherited by other children.
private func blocking(_ descriptor: CInt) -> CInt {
    let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 3)
    _ = fcntl(copy, F_SETFL, fcntl(copy, F_GETFL) & ~O_NONBLOCK)
    return copy
}
