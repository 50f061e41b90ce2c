// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import OutboxHTTP
import Testing

@Suite struct HTTPEndpointTests {
    @Test func defaults() throws {
        let endpoint = try HTTPEndpoint(name: "crm", url: "https://Example.COM/a/../b?token=s")
        #expect(endpoint.connectTimeout == .seconds(5) && endpoint.timeout == .seconds(15))
        #expect(endpoint.proxy == nil && endpoint.caFile == nil)
        #expect(endpoint.httpVersion == .http1 && endpoint.idempotencyKeyStyle == .quoted)
        #expect("\(endpoint)".hasSuffix("/b?…)") && !String(reflecting: endpoint).contains("token"))
    }

    @Test(arguments: [
        "http://127.0.0.1:8080/x", "https://example.com", "http://[::1]:80/", "HTTPS://example.com/?q=a%20b",
    ])
    func acceptsURLs(url: String) throws {
        _ = try HTTPEndpoint(name: "t", url: url)
    }

    @Test(arguments: [
        ("", "empty"), ("example.com/x", "in full"), ("/x", "in full"), ("ftp://example.com/", "ftp://"),
        ("file:///etc/passwd", "file"), ("gopher://h/", "gopher://"), ("https://u:p@example.com/", "user name"),
        ("https://u@example.com/", "user name"), ("https://example.com/#f", "fragment"),
        ("https://example.com/a b", "space"), ("https://example.com/\r\nX: y", "control"),
        ("https://bücher.example/", "xn--"),
        ("https://", "in full"), ("http://h:99999/", "in full"),
    ])
    func refusesURLs(url: String, hint: String) {
        let error = #expect(throws: HTTPEndpointError.self) { try HTTPEndpoint(name: "crm", url: url) }
        #expect(error?.code == .invalidURL && error?.endpoint == "crm")
        #expect(error?.message.contains(hint) == true, "\(error?.message ?? "")")
    }

    @Test func refusesOtherNonsense() {
        let url = "https://example.com/"
        func code(_ make: @autoclosure () throws -> HTTPEndpoint) -> HTTPEndpointError.Code? {
            do {
                _ = try make()
                return nil
            } catch {
                return (error as? HTTPEndpointError)?.code
            }
        }
        #expect(code(try HTTPEndpoint(name: "", url: url)) == .invalidName)
        #expect(code(try HTTPEndpoint(name: "t", url: url, headers: [("Host", "x")])) == .invalidHeader)
        #expect(code(try HTTPEndpoint(name: "t", url: url, headers: [("a", "b\r\nc: d")])) == .invalidHeader)
        #expect(code(try HTTPEndpoint(name: "t", url: url, timeout: .zero)) == .invalidTimeout)
        #expect(code(try HTTPEndpoint(name: "t", url: url, connectTimeout: .seconds(-1))) == .invalidTimeout)
        #expect(code(try HTTPEndpoint(name: "t", url: url, proxy: "")) == .invalidProxy)
        #expect(code(try HTTPEndpoint(name: "t", url: url, proxy: "ftp://p:1")) == .invalidProxy)
        #expect(code(try HTTPEndpoint(name: "t", url: url, caFile: "/no/such/file")) == .unreadableCAFile)
    }
}
