// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import OutboxTesting
import PostgresClient

extension Scenario {
    /// The disk under the outbox and the business table is full for a while.
    static let disk = Scenario(
        name: "disk", summary: "the disk under the tables is full for a while: nobody can write",
        obstacle: { Disk.obstacle }
    ) { stage in
        let disk = try await Disk(stage)
        for statement in [
            "CREATE TABLESPACE small LOCATION '\(disk.directory)'",
            "ALTER TABLE ALL IN TABLESPACE pg_default SET TABLESPACE small",
            "ALTER INDEX ALL IN TABLESPACE pg_default SET TABLESPACE small",
            // who complains
            "ALTER SYSTEM SET log_line_prefix = '%a|'",
        ] { try await stage.database.withConnection { try await $0.runScript(statement, timeout: .seconds(30)) } }
        _ = try await stage.database.query("SELECT pg_reload_conf()")
        let full = stage.seconds(15, short: 4)
        let tries = Locked(0.0)
        let measured = stage.seconds(5, short: 1)
        var (outcome, _, report, fleet) = try await under(stage, measured: measured) { fleet, _ in
            try await stage.pause(3)
            var held = try await stage.held()
            try disk.fill()
            stage.fault()
            try await stage.pause(1)
            let before = stage.relaysRefused()
            try await stage.pause(full)
            tries.set(Double(stage.relaysRefused() - before) / full / Double(fleet.count))
            held += try await stage.held()
            try disk.clear()
            stage.fault()
            try await stage.pause(stage.seconds(5, short: 3) + measured)
            return held
        }
        outcome.check("producers were refused", report.repeated > 0, report.repeated)
        outcome.check("a relay tries at most once a second", tries.value <= 1, tries.value)
        outcome.check("relays that ended", fleet.ended.isEmpty, fleet.ended)
        outcome.checkRate(atLeast: 0.98, stage)
        try await stage.cluster.stopImmediately()
        await disk.unmount()
        return outcome
    }
}

extension Stage {
    /// How many statements of relays failed for want of room, from the server's log.
    func relaysRefused() -> Int {
        let log = (try? String(contentsOfFile: "\(clusterDirectory)/log", encoding: .utf8)) ?? ""
        return log.split(separator: "\n").count { $0.hasPrefix("outbox relay") && $0.contains("No space left") }
    }
}

/// A small file system in memory; the warden takes it away if nobody else does.
struct Disk: Sendable {
    let directory: String
    private let mountPoint: String
    private let stage: Stage

    static var obstacle: String? {
        #if os(Linux)
        getuid() == 0 ? nil : "mounting a small file system takes root"
        #else
        "mounting a small file system is written for Linux"
        #endif
    }

    init(_ stage: Stage) async throws {
        self.stage = stage
        mountPoint = "\(stage.directory)/disk"
        directory = "\(mountPoint)/space"
        try FileManager.default.createDirectory(atPath: mountPoint, withIntermediateDirectories: true)
        let mount = try stage.children.start("mount", ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", mountPoint])
        guard try await mount.ended() == 0 else { throw StormError("a file system could not be mounted") }
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        if let user = getpwnam("postgres") { chown(directory, user.pointee.pw_uid, user.pointee.pw_gid) }
    }

    /// Takes all the room that is left.
    func fill() throws {
        let file = open("\(mountPoint)/filling", O_WRONLY | O_CREAT, 0o600)
        guard file >= 0 else { throw StormError("the disk cannot be written") }
        defer { close(file) }
        let zeros = [UInt8](repeating: 0, count: 4096)
        while write(file, zeros, zeros.count) > 0 {}
    }

    func clear() throws { try FileManager.default.removeItem(atPath: "\(mountPoint)/filling") }

    func unmount() async {
        let unmount = try? stage.children.start("unmount", ["umount", "-l", mountPoint])
        _ = try? await unmount?.ended()
    }
}
