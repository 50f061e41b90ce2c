// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Dispatch
import Foundation
import Outbox
import Stage
import Synchronization

/// The demonstration: a shop, its relay, and a world that misbehaves, as processes of their own; and at the end the
/// proof that everything happened that was committed, once where it matters.
///
/// Usage: `demo REPOSITORY`; `make demo` builds it and starts it so.
@main
struct Demo {
    static func main() async {
        do {
            exit(try await run(in: URL(filePath: CommandLine.arguments.dropFirst().first ?? ".")))
        } catch {
            say("The demonstration cannot begin: \(error)")
            exit(1)
        }
    }

    /// Plays, cleans up whatever has happened, and returns the status to exit with.
    private static func run(in repository: URL) async throws -> Int32 {
        let programs = try Programs()
        let postgres = Postgres(programs: programs, repository: repository)
        let playing = Task { try await Play(programs: programs, postgres: postgres).perform() }
        let interruption = Interruption {
            say("\nInterrupted: ending what was started.")
            playing.cancel()
            programs.close()
        }
        let result = await playing.result
        var status: Int32 = 0
        if let signal = interruption.signal {
            status = 128 + signal
        } else {
            do {
                if try result.get() > 0 { status = 1 }
            } catch {
                say("\nThe demonstration failed: \(error)")
                status = 1
            }
            if status != 0 { say("The logs of its programs are in \(programs.directory.path)") }
        }
        await postgres.drop()
        await programs.end(keepingLogs: status == 1)
        return status
    }
}

/// Prints a line at once.
func say(_ line: String) { FileHandle.standardOutput.write(Data((line + "\n").utf8)) }

/// Ctrl-C and its kin: the first ends the demonstration in good order, the second at once.
final class Interruption: Sendable {
    private let state = Mutex<(signal: Int32?, sources: [any DispatchSourceSignal])>((nil, []))

    init(_ first: @escaping @Sendable () -> Void) {
        state.withLock { state in
            state.sources = [SIGINT, SIGTERM, SIGHUP].map { number in
                Foundation.signal(number, SIG_IGN)
                let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
                source.setEventHandler { [self] in
                    let isFirst = self.state.withLock { state in
                        defer { state.signal = number }
                        return state.signal == nil
                    }
                    if isFirst { first() } else { exit(128 + number) }
                }
                source.resume()
                return source
            }
        }
    }

    /// What it was interrupted by.
    var signal: Int32? { state.withLock { $0.signal } }
}
