// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import ArgumentParser
internal import OutboxBench

/// `outbox bench-load`: what `outbox bench` starts to make load, and nobody else.
struct BenchLoadCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench-load", abstract: "Make load for outbox bench.", shouldDisplay: false)

    @Argument var name: String

    func run() async throws {
        do {
            try await BenchLoad.serve(name)
        } catch {
            // to whoever measures, as the answer
            Terminal.output.write("\(error)\n")
            throw ExitCode.failure
        }
    }
}
