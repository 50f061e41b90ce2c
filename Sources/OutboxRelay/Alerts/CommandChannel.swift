// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Synchronization

/// Hands alerts to a program: the JSON of ``Alert/json()`` on its standard input, exit status 0 for "delivered".
///
/// The program is started directly, never through a shell, so nothing in an alert can be taken for a command. It sees
/// `PATH` and the given variables, no other part of the relay's environment and none of its connections. It runs in
/// a process group of its own; when the time is up the whole group gets `SIGTERM` and, after a grace, `SIGKILL`.
public struct CommandChannel: AlertChannel {
    /// `command` unless another name is given.
    public let name: String
    /// The program, looked up in `PATH` unless it holds a slash, and its arguments. Never empty.
    public let command: [String]
    /// Variables besides `PATH`.
    public let environment: [String: String]
    /// How long the program may run. 30 seconds by default.
    public let timeout: Duration
    /// How long the program has between `SIGTERM` and `SIGKILL`. 5 seconds by default.
    public let grace: Duration

    /// Throws ``AlertError`` if the command is empty or one of the texts holds a NUL, which no program can be given.
    public init(
        name: String = "command", command: [String], environment: [String: String] = [:],
        timeout: Duration = .seconds(30), grace: Duration = .seconds(5)
    ) throws(AlertError) {
        guard let program = command.first, !program.isEmpty else {
            throw AlertError(.notSent, channel: name, message: "The command is empty: name a program.")
        }
        let texts = command + environment.keys + environment.values
        guard texts.allSatisfy({ !$0.utf8.contains(0) }),
            environment.keys.allSatisfy({ !$0.isEmpty && !$0.contains("=") })
        else {
            throw AlertError(
                .notSent, channel: name, message: "An argument or variable holds a NUL, or a variable's name a \"=\".")
        }
        self.name = name
        self.command = command
        self.environment = environment
        self.timeout = timeout
        self.grace = grace
    }

    /// Runs the program. Throws ``AlertError`` with the beginning of its output unless it exits with 0, and
    /// `CancellationError` when cancelled, after the program has been ended.
    ///
    /// Waiting blocks a thread of its own, never one of Swift's cooperative threads.
    public func send(_ alert: Alert) async throws {
        let run = ChildRun(
            command: command, environment: environment, input: alert.json(), timeout: timeout, grace: grace)
        let ending = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let started = DetachedThread.start { continuation.resume(returning: run.wait()) }
                if !started { continuation.resume(returning: .notStarted("no thread could be started")) }
            }
        } onCancel: {
            run.cancel()
        }
        try check(ending)
    }

    private func check(_ ending: ChildRun.Ending) throws {
        switch ending {
        case .exited(0, _): return
        case .exited(let status, let output): throw error(.refused, "exited with \(status)", output)
        case .signalled(let signal, let output): throw error(.refused, "was ended by signal \(signal)", output)
        case .timedOut(let output): throw error(.timedOut, "was ended after \(timeout)", output)
        case .cancelled: throw CancellationError()
        case .unknown: throw error(.refused, "ended, but another part of this process took its exit status", [])
        case .notStarted(let reason): throw error(.notSent, "could not be started: \(reason)", [])
        }
    }

    private func error(_ code: AlertError.Code, _ what: String, _ output: [UInt8]) -> AlertError {
        let text = String(decoding: output, as: UTF8.self)
        let quoted = text.isEmpty ? "" : " It said: \(String(reflecting: text))"
        return AlertError(code, channel: name, message: "\(command[0]) \(what).\(quoted)")
    }
}
