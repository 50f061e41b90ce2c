// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Synchronization

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// One run of a program from its start to its end, waited for on a thread that may block.
///
///     running ── exits ───────────────────────────────► exited | signalled
///        └── time is up, or cancelled ──► SIGTERM to the group ── exits, or the grace is over ──► SIGKILL ──► timedOut
final class ChildRun: Sendable {
    enum Ending: Sendable, Equatable {
        case exited(CInt, output: [UInt8])
        case signalled(CInt, output: [UInt8])
        case timedOut(output: [UInt8])
        case cancelled
        /// It ended, and another part of this process took the status away.
        case unknown
        case notStarted(String)
    }

    private let command: [String]
    private let environment: [String: String]
    private let input: [UInt8]
    private let timeout: Duration
    private let grace: Duration
    private let isCancelled = Atomic(false)

    /// How much of the output is kept. The rest is read and dropped, lest the program block on a full pipe.
    static let outputBytes = 4096
    /// How often a program that has nothing to say is looked at.
    private static let glance = Duration.milliseconds(20)

    init(command: [String], environment: [String: String], input: [UInt8], timeout: Duration, grace: Duration) {
        self.command = command
        self.environment = environment
        self.input = input
        self.timeout = timeout
        self.grace = grace
    }

    /// Ends the program soon, from any thread.
    func cancel() {
        isCancelled.store(true, ordering: .relaxed)
    }

    /// Runs the program to its end. Blocks; SIGPIPE must be blocked on the calling thread, as it is on a
    /// ``DetachedThread``.
    func wait() -> Ending {
        if isCancelled.load(ordering: .relaxed) { return .cancelled }
        let pipes: ChildPipes
        let process: pid_t
        switch start() {
        case .success(let started): (process, pipes) = started
        case .failure(let failure): return .notStarted(errorText(failure.number))
        }
        var conversation = ChildConversation(pipes: pipes, input: input, keep: Self.outputBytes)

        let deadline = ContinuousClock.now + timeout
        while !hasExited(process) {
            if isCancelled.load(ordering: .relaxed) || deadline <= .now {
                return end(process, &conversation)
            }
            conversation.advance(for: Self.glance)
        }
        conversation.drain()
        return ending(of: process, conversation.output)
    }

    private func start() -> Result<(pid_t, ChildPipes), SpawnFailure> {
        spawnLock.withLock { _ in
            guard let pipes = ChildPipes() else { return .failure(SpawnFailure(number: errno)) }
            let result = spawn(command, environment: environment, pipes: pipes)
            pipes.closeChildEnds()
            return result.map { ($0, pipes) }
        }
    }

    private func end(_ process: pid_t, _ conversation: inout ChildConversation) -> Ending {
        kill(-process, SIGTERM)
        let deadline = ContinuousClock.now + grace
        while !hasExited(process), deadline > .now { conversation.advance(for: Self.glance) }
        // Also when the leader has gone: others of its group may not have. It has not been reaped yet, so the
        // group's number cannot have been given away.
        kill(-process, SIGKILL)
        conversation.drain()
        _ = ending(of: process, [])
        return isCancelled.load(ordering: .relaxed) ? .cancelled : .timedOut(output: conversation.output)
    }

    /// Whether the program has ended; leaves it unreaped.
    private func hasExited(_ process: pid_t) -> Bool {
        var info = siginfo_t()
        guard waitid(P_PID, id_t(process), &info, WEXITED | WNOHANG | WNOWAIT) == 0 else {
            // No such child: it ended and somebody else reaped it, as the kernel does where SIGCHLD is ignored.
            return errno == ECHILD
        }
        return info.si_signo == SIGCHLD
    }

    /// Reaps the program.
    private func ending(of process: pid_t, _ output: [UInt8]) -> Ending {
        var status: CInt = 0
        while waitpid(process, &status, 0) < 0 {
            if errno != EINTR { return .unknown }
        }
        let signal = status & 0x7F
        return signal == 0 ? .exited(status >> 8 & 0xFF, output: output) : .signalled(signal, output: output)
    }
}

private func errorText(_ number: CInt) -> String { String(cString: strerror(number)) }
