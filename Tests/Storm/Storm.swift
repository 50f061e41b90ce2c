// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// Storms: real processes, real signals, a real Postgres, and an auditor that knows none of them.
///
///     storm [--short] [--seed N] [--keep] [SCENARIO …]     all that are not long, or those that are named
///     storm --list
///
/// What is done and when follows from the seed, and is the same each time; how the processes interleave is not.
/// Exit status: 1 if a scenario failed, or was skipped where it must not be; 64 usage.
@main
struct Storm {
    static func main() async {
        var arguments = Array(CommandLine.arguments.dropFirst())
        do {
            if arguments.count == 3, arguments[0] == "role", let role = Role(rawValue: arguments[1]) {
                try await role.play(arguments[2])
                exit(0)
            }
            var options = Options()
            while !arguments.isEmpty { try options.take(&arguments) }
            exit(try await Program(options).run() ? 0 : 1)
        } catch let error as Usage {
            writeLine("\(error)\nusage: storm [--short] [--seed N] [--keep] [--list] [SCENARIO …]", to: STDERR_FILENO)
            exit(64)
        } catch {
            writeLine("storm: \(error)", to: STDERR_FILENO)
            exit(70)
        }
    }

    struct Usage: Error, CustomStringConvertible {
        let description: String
    }

    struct Options {
        var seed = UInt64.random(in: 0...UInt64(UInt32.max))
        var isShort = false
        var keepsFiles = false
        var lists = false
        var names: [String] = []

        mutating func take(_ arguments: inout [String]) throws {
            switch arguments.removeFirst() {
            case "--short": isShort = true
            case "--keep": keepsFiles = true
            case "--list": lists = true
            case "--seed":
                guard let text = arguments.first, let seed = UInt64(text) else {
                    throw Usage(description: "--seed needs a number")
                }
                self.seed = seed
                arguments.removeFirst()
            case let name:
                guard Scenario.all.contains(where: { $0.name == name }) else {
                    throw Usage(
                        description:
                            "there is no scenario '\(name)'; there are: \(Scenario.all.map(\.name).joined(separator: ", "))"
                    )
                }
                names.append(name)
            }
        }
    }
}
