// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

#if canImport(Darwin)
internal import Darwin
#else
internal import Glibc
#endif

/// `wrk`, the load generator, where it is installed: a second floor, which shows how far libcurl is from what a client in
/// C can do that does nothing but HTTP/1.1. <https://github.com/wg/wrk>
enum Wrk {
    /// Posts a body of so many bytes for a second over so many connections. Requests in a second; `nil` without `wrk`.
    static func rate(url: String, connections: Int, bodyBytes: Int) async throws -> Double? {
        try await onThread {
            // the script goes to its standard input, and whatever else it says is not wanted
            let command = """
                command -v wrk >/dev/null && wrk -t1 -c\(connections) -d1s -s /dev/stdin \(url) 2>/dev/null <<'END'
                wrk.method = "POST"
                wrk.body = string.rep("x", \(bodyBytes))
                wrk.headers["Content-Type"] = "application/json"
                wrk.headers["Idempotency-Key"] = '"01890a5d-ac96-774b-bcce-b302099a8057"'
                wrk.headers["webhook-id"] = "01890a5d-ac96-774b-bcce-b302099a8057"
                wrk.headers["outbox-attempt"] = "1"
                END
                """
            guard let pipe = popen(command, "r") else { return nil }
            defer { pclose(pipe) }
            var output = [UInt8](repeating: 0, count: 65_536)
            let count = fread(&output, 1, output.count, pipe)
            for line in String(decoding: output[..<count], as: UTF8.self).split(separator: "\n") {
                if line.hasPrefix("Requests/sec:") { return Double(line.split(separator: " ").last ?? "") }
            }
            return nil
        }
    }
}
