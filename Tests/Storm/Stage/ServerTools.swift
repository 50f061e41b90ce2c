// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation

/// The programs of a Postgres server, and what the system says of processes.
enum ServerTools {
    /// Of the newest version that Debian or Ubuntu installs, else on the PATH.
    static func path(_ program: String) -> String? {
        let root = "/usr/lib/postgresql"
        let versions = ((try? FileManager.default.contentsOfDirectory(atPath: root)) ?? [])
            .sorted { $0.compare($1, options: .numeric) == .orderedDescending }
        let places =
            versions.map { "\(root)/\($0)/bin" }
            + (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").map(String.init)
            + ["/usr/sbin"]
        return places.map { "\($0)/\(program)" }.first { FileManager.default.isExecutableFile(atPath: $0) }
    }

    /// What has to stand before a command that refuses to run as root.
    static var asServer: [String] {
        getuid() == 0 ? ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] : []
    }

    /// The most memory that a process has had, in kilobytes; `nil` where the system does not say.
    static func peakMemory(_ process: pid_t) -> Int? {
        guard let text = try? String(contentsOfFile: "/proc/\(process)/status", encoding: .utf8) else { return nil }
        let line = text.split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
        return line.flatMap { $0.split(whereSeparator: \.isWhitespace).compactMap { Int($0) }.first }
    }
}
