// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import OutboxCore
import OutboxHTTP
import Testing

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// Certificates are verified, against the authorities of the endpoint's file if it has one.
@Suite(.enabled(if: TLSServer.isPossible, "needs /usr/bin/python3 and /usr/bin/openssl"))
struct TLSTests {
    @Test func onlyTrustedCertificatesAreSpokenTo() async throws {
        let server = try #require(TLSServer())
        defer { server.stop() }
        let driver = CurlDriver()
        func deliver(host: String, caFile: String?) async throws -> Outcome {
            let endpoint = try HTTPEndpoint(name: "t", url: "https://\(host):\(server.port)/", caFile: caFile)
            return await HTTPDelivery(endpoint: endpoint, driver: driver).deliver(testTask())
        }
        #expect(try await deliver(host: "localhost", caFile: nil).failure?.type == "tls")
        #expect(try await deliver(host: "localhost", caFile: server.certificate) == .succeeded)
        // A handle that had a file of its own trusts the system's authorities again, and the connection that was
        // trusted is not used for whom does not trust it.
        #expect(try await deliver(host: "localhost", caFile: nil).failure?.type == "tls")
        // The certificate is good, but for another name.
        #expect(try await deliver(host: "127.0.0.1", caFile: server.certificate).failure?.type == "tls")
        await driver.shutdown()
    }
}

/// Python's HTTPS server behind a certificate that openssl made a moment ago.
private struct TLSServer {
    static let isPossible = access("/usr/bin/python3", X_OK) == 0 && access("/usr/bin/openssl", X_OK) == 0

    let port: Int
    let certificate: String
    private let directory: String
    private let process: UnsafeMutablePointer<FILE>

    init?() {
        var template = Array("/tmp/outbox-tls-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { return nil }
        directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        certificate = "\(directory)/cert.pem"
        // It ends by itself after a minute, should the test process die.
        let script = """
            cd \(directory) && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
              -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout key.pem -out cert.pem 2>/dev/null
            exec timeout 60 /usr/bin/python3 -c '
            import http.server, os, ssl, threading
            class Handler(http.server.BaseHTTPRequestHandler):
                protocol_version = "HTTP/1.1"
                def do_POST(self):
                    self.rfile.read(int(self.headers["Content-Length"]))
                    self.send_response(204)
                    self.end_headers()
                def log_message(self, *arguments): pass
            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
            server.handle_error = lambda *arguments: None
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain("cert.pem", "key.pem")
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
            print(server.server_port, os.getpid(), flush=True)
            server.serve_forever()'
            """
        guard let process = popen(script, "r") else { return nil }
        var line = [CChar](repeating: 0, count: 64)
        guard fgets(&line, 64, process) != nil else {
            pclose(process)
            return nil
        }
        let words = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self).split {
            $0 == " " || $0 == "\n"
        }
        guard words.count == 2, let port = Int(words[0]), let pid = pid_t(words[1]) else { return nil }
        self.process = process
        self.port = port
        self.pid = pid
    }

    private let pid: pid_t

    func stop() {
        kill(pid, SIGTERM)
        pclose(process)
        for file in ["cert.pem", "key.pem"] { unlink("\(directory)/\(file)") }
        rmdir(directory)
    }
}
