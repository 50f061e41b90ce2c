// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import ArgumentParser
internal import Dispatch
internal import OutboxRelay

/// The command line `outbox`: the sidecar, and what operators do with tasks and dead letters.
@main
struct OutboxCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "outbox",
        abstract: "Run tasks that your transactions enqueued in Postgres, and see to those that died.",
        discussion: """
            A first try, with Postgres at DATABASE_URL and anything that answers HTTP:

              outbox migrate
              outbox enqueue orders.created '{"order": 42}'
              OUTBOX_ENDPOINT_URL=http://localhost:8080/hooks outbox run

            The database is that of --database, else of OUTBOX_DATABASE_URL, the
            configuration file, or DATABASE_URL. The file is that of --config, else of
            OUTBOX_CONFIG, or outbox.yaml where there is one.

            Exit statuses:
               0  done
               1  failed
               2  not everything that was asked for was done, or nothing matched
              64  the command line is wrong
              69  the database or its server is not available
              78  the configuration or the database's schema is wrong
            """,
        version: RelayIdentity.version,
        subcommands: [
            Migrate.self, Run.self, EnqueueCommand.self, Status.self, Tasks.self, Dead.self, Adopt.self,
            ConfigCommand.self, Bench.self, BenchLoadCommand.self,
        ]
    )

    /// Waits for the command on the main thread. An asynchronous `main` ends that thread once all else is running, and
    /// unwinding its stack reads the program's unwind tables into memory, 0.8 MB that a relay would keep.
    static func main() {
        let ended = DispatchSemaphore(value: 0)
        Task.detached {
            await run()
            ended.signal()
        }
        ended.wait()
    }

    private static func run() async {
        do {
            var command = try parseAsRoot()
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
        } catch {
            guard let problem = Problem(describing: error) else { exit(withError: error) }
            problem.report()
            exit(withError: ExitCode(problem.status.rawValue))
        }
    }
}
