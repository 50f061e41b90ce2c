// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

public import FlyingFox
public import Foundation

/// What the programs of the demonstration need because they are in a demonstration.
public enum Stage {
    /// An environment variable that has to be there.
    public static func variable(_ name: String) throws -> String {
        guard let value = ProcessInfo.processInfo.environment[name] else { throw StageError("\(name) is not set") }
        return value
    }

    /// An environment variable that holds a URL.
    public static func url(_ name: String) throws -> URL {
        guard let url = URL(string: try variable(name)) else { throw StageError("\(name) is not a URL") }
        return url
    }

    /// A server on a free port of this machine.
    public static func server() throws -> HTTPServer {
        HTTPServer(address: try .inet(ip4: "127.0.0.1", port: 0), logger: .disabled)
    }

    /// Serves until standard input ends, and says on standard output where.
    public static func serve(_ server: HTTPServer) async throws {
        exitWhenStandardInputEnds()
        async let serving: Void = server.run()
        try await server.waitUntilListening()
        guard case .ip4(let address, let port) = await server.listeningAddress else {
            throw StageError("the server does not listen")
        }
        FileHandle.standardOutput.write(Data("http://\(address):\(port)\n".utf8))
        try await serving
    }

    /// Ends this process when its standard input ends: whoever started it holds the other end, and the kernel closes
    /// that even if he is killed.
    public static func exitWhenStandardInputEnds() {
        Thread.detachNewThread {
            while !FileHandle.standardInput.availableData.isEmpty {}
            exit(0)
        }
    }
}

/// Something of the demonstration itself went wrong.
public struct StageError: Error, CustomStringConvertible {
    public let description: String
    public init(_ description: String) { self.description = description }
}

extension HTTPResponse {
    /// An answer in JSON.
    public static func json(
        _ value: some Encodable, _ status: HTTPStatusCode = .ok, headers: HTTPHeaders = [:]
    ) throws -> HTTPResponse {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        var headers = headers
        headers[.contentType] = "application/json"
        return HTTPResponse(statusCode: status, headers: headers, body: try encoder.encode(value))
    }
}
