// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import FoundationEssentials
import Testing

/// The page of guarantees names what is there: tests, functions, and numbers of its own.
@Suite struct GuaranteesTests {
    private static let root = #filePath.replacing("/Tests/OutboxTests/GuaranteesTests.swift", with: "")
    private let page: String

    init() throws {
        page = try String(contentsOfFile: Self.root + "/docs/guarantees.md", encoding: .utf8)
    }

    private func contents(of folder: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: "\(Self.root)/\(folder)").sorted()
    }

    @Test func everyTestThatIsNamedExists() throws {
        var sources: [String: String] = [:]
        for target in try contents(of: "Tests") where target.hasSuffix("Tests") {
            for file in try contents(of: "Tests/\(target)") where file.hasSuffix(".swift") {
                sources[String(file.dropLast(6))] = try String(
                    contentsOfFile: "\(Self.root)/Tests/\(target)/\(file)", encoding: .utf8)
            }
        }
        let named = page.matches(of: /`([A-Z]\w*Tests)\.(\w+)`/)
        #expect(named.count > 20)
        for match in named {
            let source = sources[String(match.1)] ?? ""
            #expect(source.contains("@Test") && source.contains("func \(match.2)("), "\(match.1).\(match.2)")
        }
    }

    @Test func everyFunctionThatIsNamedExists() throws {
        let migrations = try contents(of: "migrations").filter { $0.hasSuffix(".up.sql") }
            .map { try String(contentsOfFile: "\(Self.root)/migrations/\($0)", encoding: .utf8) }.joined()
        let named = page.matches(of: /`(\w+_v\d+)`/)
        #expect(named.count > 5)
        for match in named { #expect(migrations.contains("CREATE FUNCTION \(match.1)("), "\(match.1)") }
    }

    @Test func everyLimitThatIsCitedIsThere() throws {
        let defined = Set(page.matches(of: /- \*\*(L\d\.\d)/).map { String($0.1) })
        let cited = Set(page.matches(of: /L\d\.\d/).map { String($0.0) })
        #expect(defined.count > 20)
        #expect(cited.subtracting(defined).isEmpty)
    }
}
