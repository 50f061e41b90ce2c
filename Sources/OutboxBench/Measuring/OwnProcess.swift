// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

#if canImport(Darwin)
internal import Darwin
#else
internal import Glibc
#endif

/// What this process has used.
enum OwnProcess {
    /// Processor time of all its threads.
    static var cpu: Duration {
        var usage = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &usage)
        return .seconds(Int64(usage.tv_sec)) + .nanoseconds(Int64(usage.tv_nsec))
    }

    /// Resident memory; `nil` where the system does not tell by /proc.
    static var residentBytes: Int? {
        // size, resident, shared … in pages: https://man7.org/linux/man-pages/man5/proc_pid_statm.5.html
        guard let text = ProcFile.read("/proc/self/statm"), let pages = text.split(separator: " ").dropFirst().first
        else { return nil }
        return Int(pages).map { $0 * Int(sysconf(Int32(_SC_PAGESIZE))) }
    }
}

extension OwnProcess {
    /// A path for a file of this process that ends with it.
    static func temporaryPath(_ name: String) -> String {
        let directory = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
        return "\(directory)/\(getpid())-\(name)"
    }
}

/// The small files under /proc.
enum ProcFile {
    /// `nil` if there is none, as when a process has ended.
    static func read(_ path: String) -> String? {
        guard let file = fopen(path, "r") else { return nil }
        defer { fclose(file) }
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = fread(&buffer, 1, buffer.count, file)
        return count > 0 ? String(decoding: buffer[..<count], as: UTF8.self) : nil
    }

    /// The numbers of all processes.
    static func processes() -> [Int32] {
        guard let directory = opendir("/proc") else { return [] }
        defer { closedir(directory) }
        var found: [Int32] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if let number = Int32(name) { found.append(number) }
        }
        return found
    }
}
