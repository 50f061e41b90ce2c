// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import PostgresClient
import Testing

@testable import OutboxCommand

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// `outbox run` as a process, and the statuses with which commands end.
@Suite struct RunTests {
    @Test(arguments: [SIGTERM, SIGINT])
    func aSignalStopsItInGoodOrder(_ signal: Int32) async throws {
        try await TestDatabase.migrated { database in
            let running = try OutboxBinary.Running(
                ["run"], database: database,
                environment: ["OUTBOX_ENDPOINT_URL": "http://127.0.0.1:9/?token=SECRET"])
            await running.errors(until: "relay started")
            running.signal(signal)
            let result = await running.result()
            #expect(result.status == 0, "\(result.errors)")
            #expect(result.errors.contains("delivers to an endpoint"))
            #expect(result.errors.contains("relay stopped"))
            #expect(!result.errors.contains("SECRET"))
            #expect(result.output.isEmpty)
            #expect(
                try await database.count("SELECT count(*) FROM outbox.relays WHERE stopped_at IS NOT NULL") == 1)
        }
    }

    @Test func theLogMayBeJSONLines() async throws {
        try await TestDatabase.migrated { database in
            try await withDirectory { directory in
                let file = directory.appendingPathComponent("outbox.yaml")
                try Data(
                    "endpoints: {a: {url: http://127.0.0.1:9/}}\nroutes: {a.b: a}\nrelay: {name: r-1}\nlog: {format: json}\n"
                        .utf8
                )
                .write(to: file)
                let running = try OutboxBinary.Running(["run"], database: database, in: directory)
                await running.errors(until: "relay started")
                running.signal(SIGTERM)
                let result = await running.result()
                #expect(result.status == 0)
                let lines = result.errors.split(separator: "\n")
                for line in lines {
                    let object = try #require(
                        try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: String])
                    #expect(object["time"] != nil && object["level"] != nil && object["message"] != nil)
                }
                #expect(
                    lines.contains { $0.contains("\"kinds\":\"a.b\"") }
                        && lines.contains { $0.contains("\"relay\":\"r-1\"") })
            }
        }
    }

    @Test func aSchemaThatItDoesNotKnowEndsIt() async throws {
        try await TestDatabase.empty { database in
            let endpoint = ["OUTBOX_ENDPOINT_URL": "http://127.0.0.1:9/"]
            let none = try await database.outbox("run", environment: endpoint)
            #expect(none.status == 78)
            #expect(none.errors.contains("outbox migrate"))
        }
        try await TestDatabase.migrated { database in
            try await database.database.execute(
                "INSERT INTO outbox.schema_version (version, name) VALUES (99, 'future')")
            let newer = try await database.outbox(
                "run", environment: ["OUTBOX_ENDPOINT_URL": "http://127.0.0.1:9/"])
            #expect(newer.status == 78)
            #expect(newer.errors.contains("newer release"))
        }
    }

    @Test func aWrongConfigurationEndsItBeforeItConnects() async throws {
        let nothing = try await OutboxBinary.run("run", environment: ["DATABASE_URL": "host=nowhere"])
        #expect(nothing.status == 78)
        #expect(nothing.errors.contains("there is no endpoint to deliver to"))
        let wrong = try await OutboxBinary.run(
            "run", environment: ["OUTBOX_ENDPOINT_URL": "ftp://x", "OUTBOX_RELAY_LEASE": "9"])
        #expect(wrong.status == 78)
        #expect(wrong.errors.contains("OUTBOX_ENDPOINT_URL: ") && wrong.errors.contains("OUTBOX_RELAY_LEASE: "))
        let homeless = try await OutboxBinary.run("run", environment: ["OUTBOX_ENDPOINT_URL": "http://x/"])
        #expect(homeless.status == 78)
        #expect(homeless.errors.contains("no database is named"))
    }

    @Test func aServerThatIsNotThereIs69() async throws {
        for arguments in [["status"], ["migrate"], ["dead"], ["enqueue", "a.b"]] {
            let result = try await OutboxBinary.run(
                arguments, environment: ["DATABASE_URL": "postgresql://u:SECRET@127.0.0.1:1/x"])
            #expect(result.status == 69, "\(arguments): \(result.errors)")
            #expect(result.errors.hasPrefix("outbox: the database is not available: "))
            #expect(!result.errors.contains("SECRET"))
        }
        let unreadable = try await OutboxBinary.run(
            "status", environment: ["DATABASE_URL": "host=x password='SECRET"])
        #expect(unreadable.status == 78)
        #expect(!unreadable.errors.contains("SECRET"))
    }

    @Test func theDatabaseIsFoundWhereTheHelpSays() async throws {
        try await TestDatabase.migrated { database in
            try await withDirectory { directory in
                let file = directory.appendingPathComponent("outbox.yaml")
                try Data("database: {url: \"env:FILE_URL\"}\n".utf8).write(to: file)
                func status(_ arguments: [String] = [], _ environment: [String: String]) async throws -> Int32 {
                    try await OutboxBinary.run(["status"] + arguments, environment: environment, in: directory)
                        .status
                }
                let wrong = "host=127.0.0.1 port=1"
                #expect(
                    try await status(
                        ["--database", database.url], ["OUTBOX_DATABASE_URL": wrong, "FILE_URL": wrong]) == 0)
                #expect(
                    try await status(["--database", "env:MINE"], ["MINE": database.url, "FILE_URL": wrong]) == 0)
                #expect(try await status([], ["OUTBOX_DATABASE_URL": database.url, "FILE_URL": wrong]) == 0)
                #expect(try await status([], ["FILE_URL": database.url, "DATABASE_URL": wrong]) == 0)
                #expect(try await status([], ["FILE_URL": wrong, "DATABASE_URL": database.url]) == 69)
                #expect(try await status([], ["DATABASE_URL": database.url]) == 78)
                #expect(try await status(["--config", "/nope"], ["DATABASE_URL": database.url]) == 78)
            }
        }
    }

    @Test func theConfigurationIsChecked() async throws {
        try await withDirectory { directory in
            let file = directory.appendingPathComponent("c.yaml")
            try Data("endpoints:\n  a: {url: http://x/}\nroutes: {\"*\": a}\n".utf8).write(to: file)
            let good = try await OutboxBinary.run("config", "check", file.path)
            #expect(good.status == 0)
            #expect(good.output == "ok: 1 endpoint, 1 route, 0 alert channels besides the log\n")
            try Data("relay:\n  lease: 1\n  name: []\n".utf8).write(to: file)
            let bad = try await OutboxBinary.run("config", "check", file.path)
            #expect(bad.status == 78)
            #expect(bad.errors.split(separator: "\n").map { $0.hasPrefix("\(file.path):") } == [true, true])
        }
    }
}
