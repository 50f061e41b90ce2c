// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Testing

@testable import PostgresClient

@Suite("Connection strings")
struct ConfigurationTests {
    @Test(arguments: [
        "postgresql://ada:s3cret@db.example:5433/shop?sslmode=require",
        "host=db.example port=5433 user=ada password=s3cret dbname=shop",
    ])
    func theDescriptionHasNoPassword(url: String) throws {
        let configuration = try DatabaseConfiguration(url: url)
        #expect(configuration.parameters["password"] == "s3cret")
        #expect(configuration.description == "postgresql://ada@db.example:5433/shop")
        var dumped = ""
        dump(configuration, to: &dumped)
        #expect(!dumped.contains("s3cret") && !String(reflecting: configuration).contains("s3cret"))
    }

    @Test(arguments: [
        "postgresql://a:s3cret@[::1/db", "host=a s3cret", "nonsense=s3cret", "postgresql:///?s3cre=t", "a\u{0}b",
    ])
    func nonsenseIsRefusedWithoutQuotingIt(url: String) throws {
        let error = try #require(throws: PostgresError.self) { try DatabaseConfiguration(url: url) }
        #expect(error.code == .invalidConfiguration)
        #expect(!error.description.contains("s3cret"))
    }

    @Test func anUnknownOptionIsNamed() throws {
        let error = try #require(throws: PostgresError.self) {
            try DatabaseConfiguration(url: "postgresql:///?sslmod=x")
        }
        #expect(error.description.contains("sslmod"))
    }

    @Test func theConnectTimeoutIsPerAddress() throws {
        #expect(try DatabaseConfiguration(url: "connect_timeout=7").connectTimeout == .seconds(7))
        #expect(try DatabaseConfiguration(url: "connect_timeout=1").connectTimeout == .seconds(2))
        #expect(throws: PostgresError.self) { try DatabaseConfiguration(url: "connect_timeout=soon") }
    }

    @Test func hostsAreTakenApart() throws {
        let hosts = try ServerHost.list(try DatabaseConfiguration(url: "postgresql://a:1,b:2,[::1]:3/x"))
        #expect(
            hosts == [
                ServerHost(host: "a", port: "1"), ServerHost(host: "b", port: "2"), ServerHost(host: "::1", port: "3"),
            ])
        let mixed = try ServerHost.list(try DatabaseConfiguration(url: "host=a,/run/pg hostaddr=10.0.0.1, port=5"))
        #expect(mixed.map(\.needsResolution) == [false, false])
        #expect(mixed.map(\.port) == ["5", "5"])
        let error = try #require(throws: PostgresError.self) {
            try ServerHost.list(try DatabaseConfiguration(url: "host=a,b port=1,2,3"))
        }
        #expect(error.code == .invalidConfiguration)
    }

    @Test func whatTheURLLeavesOpenHasDefaults() throws {
        let address = ServerAddress(host: "db", numeric: "10.0.0.1", port: "5432")
        let configuration = try DatabaseConfiguration(url: "postgresql://db/x?keepalives_idle=99&application_name=mine")
        let parameters = Connection.parameters(for: address, configuration, nil)
        #expect(parameters["host"] == "db" && parameters["hostaddr"] == "10.0.0.1")
        #expect(parameters["keepalives_idle"] == "99" && parameters["tcp_user_timeout"] == "15000")
        #expect(parameters["application_name"] == "mine" && parameters["client_encoding"] == "UTF8")
        #expect(parameters["options"] == nil)
    }
}
