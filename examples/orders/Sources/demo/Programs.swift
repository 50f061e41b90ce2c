// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import Stage
import Synchronization

/// The programs that the demonstration has started, each a process, and the directory of their logs.
///
/// Every program holds the far end of a pipe as its standard input and ends when that is closed. So they all end with
/// this process, even if it is killed.
final class Programs: Sendable {
    /// Where the logs are, and Postgres if it is ours.
    let directory: URL
    private let programs = Mutex<(all: [Program], isClosed: Bool)>(([], false))

    init() throws {
        // Not the user's own temporary directory: on a Mac, that is too long for the path of Postgres's socket.
        var path = Array("/tmp/outbox-demo-XXXXXX".utf8CString)
        guard mkdtemp(&path) != nil else { throw StageError("no directory can be made in /tmp") }
        directory = URL(filePath: String(decoding: path.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self))
        // Postgres does not run as root, and the user that it runs as has to get through.
        chmod(directory.path, 0o711)
    }

    /// Starts a program with a log of its own.
    func start(_ executable: URL, _ arguments: [String] = [], log: String, environment: [String: String] = [:]) throws
        -> Program
    {
        let program = try Program(
            executable, arguments, log: directory.appending(path: "\(log).log"),
            environment: ProcessInfo.processInfo.environment.merging(environment) { $1 })
        let isTooLate = programs.withLock { programs in
            programs.all.append(program)
            return programs.isClosed
        }
        if isTooLate {
            program.closeInput()
            throw CancellationError()
        }
        return program
    }

    /// Tells all programs to end. They do that by themselves, each in its time.
    func close() {
        let all = programs.withLock { programs in
            programs.isClosed = true
            return programs.all
        }
        for program in all { program.closeInput() }
    }

    /// Waits until all of them have ended, and removes the directory unless somebody wants to look into it.
    func end(keepingLogs: Bool) async {
        close()
        for program in programs.withLock({ $0.all }) { await program.ended() }
        if !keepingLogs { try? FileManager.default.removeItem(at: directory) }
    }
}

/// A process with its input open, its first words, and its log.
final class Program: Sendable {
    let name: String
    private let process: Process
    private let input = Pipe()
    private let output = Pipe()
    private let exit = Exit()

    init(_ executable: URL, _ arguments: [String], log: URL, environment: [String: String]) throws {
        name = executable.lastPathComponent
        let descriptor = open(log.path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw StageError("\(log.path) cannot be written") }
        let errors = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
        process = Process()
        process.executableURL = executable
        process.arguments = arguments
        process.environment = environment
        process.standardInput = input
        process.standardOutput = output
        process.standardError = errors
        process.terminationHandler = { [exit] in
            exit.happened(status: $0.terminationReason == .exit ? $0.terminationStatus : 128 + $0.terminationStatus)
        }
        try process.run()
        try errors.close()
    }

    var processIdentifier: Int32 { process.processIdentifier }

    /// What it prints until it has printed a line, or all of it.
    func output(untilEnd: Bool = false) async -> String {
        let handle = output.fileHandleForReading
        return await withCheckedContinuation { continuation in
            // a thread of its own, since it blocks
            Thread.detachNewThread {
                var data = Data()
                while untilEnd || !data.contains(UInt8(ascii: "\n")) {
                    let more = handle.availableData
                    if more.isEmpty { break }
                    data += more
                }
                continuation.resume(returning: String(decoding: data, as: UTF8.self))
            }
        }
    }

    /// The URL that a server says it is reached by.
    func url() async throws -> URL {
        let line = await output().trimmingCharacters(in: .newlines)
        guard let url = URL(string: line), url.scheme != nil else { throw StageError("\(name) did not start") }
        return url
    }

    func send(_ signal: Int32) { kill(processIdentifier, signal) }

    func closeInput() { try? input.fileHandleForWriting.close() }

    /// Waits for its end and returns its status: 128 and the signal's number if one ended it.
    @discardableResult
    func ended() async -> Int32 { await exit.status() }

    /// Who waits for the end, until it has come.
    private final class Exit: Sendable {
        private let state = Mutex<(status: Int32?, waiting: [CheckedContinuation<Int32, Never>])>((nil, []))

        func happened(status: Int32) {
            let waiting = state.withLock { state in
                state.status = status
                defer { state.waiting = [] }
                return state.waiting
            }
            for continuation in waiting { continuation.resume(returning: status) }
        }

        func status() async -> Int32 {
            await withCheckedContinuation { continuation in
                let status = state.withLock { state in
                    if state.status == nil { state.waiting.append(continuation) }
                    return state.status
                }
                if let status { continuation.resume(returning: status) }
            }
        }
    }
}
