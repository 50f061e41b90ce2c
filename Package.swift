// swift-tools-version: 6.0
// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import PackageDescription

/// Cross-target internals are `package`; what a file does not name in its signature it imports internally.
let strict: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
]

let package = Package(
    name: "outbox",
    platforms: [.macOS(.v15)],
    products: [
        .library(name: "Outbox", targets: ["Outbox"]),
        .library(name: "OutboxRelay", targets: ["OutboxRelay"]),
        .library(name: "OutboxHTTP", targets: ["OutboxHTTP"]),
        .library(name: "OutboxTesting", targets: ["OutboxTesting"]),
        .executable(name: "outbox", targets: ["OutboxCommand"]),
    ],
    dependencies: [
        // The logging façade that every Swift server already has: handlers get a logger of their service's kind.
        .package(url: "https://github.com/apple/swift-log", from: "1.6.0"),
        // The command line: subcommands, `--help` and completions, as Swift tools have them. Command target only.
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0"),
        // YAML with line numbers, for a configuration file whose errors name their line. Command target only.
        .package(url: "https://github.com/jpsim/Yams", from: "6.0.0"),
    ],
    targets: [
        .systemLibrary(name: "CLibPQ", pkgConfig: "libpq", providers: [.apt(["libpq-dev"]), .brew(["libpq"])]),
        .systemLibrary(name: "CLibCurl", pkgConfig: "libcurl", providers: [.apt(["libcurl4-openssl-dev"])]),

        .target(name: "PostgresClient", dependencies: ["CLibPQ"], swiftSettings: strict),
        .target(name: "OutboxCore", swiftSettings: strict),
        .target(name: "Outbox", dependencies: ["OutboxCore", "PostgresClient"], swiftSettings: strict),
        .target(
            name: "OutboxMigrations",
            path: "migrations",
            exclude: ["README.md", "roles.sql"],
            resources: ["0001_tables", "0002_enqueue", "0003_claim", "0004_settle", "0005_upkeep", "0006_operate"]
                .flatMap {
                    [.embedInCode("\($0).up.sql"), .embedInCode("\($0).down.sql")]
                },
            swiftSettings: strict
        ),
        .target(
            name: "OutboxRelay",
            dependencies: ["Outbox", "OutboxCore", "PostgresClient", .product(name: "Logging", package: "swift-log")],
            swiftSettings: strict
        ),
        .target(
            name: "OutboxHTTP",
            dependencies: ["OutboxRelay", "OutboxCore", "CLibCurl", .product(name: "Logging", package: "swift-log")],
            swiftSettings: strict
        ),
        .target(
            name: "OutboxTesting",
            dependencies: [
                "OutboxRelay", "Outbox", "OutboxCore", "OutboxMigrations", "PostgresClient",
                .product(name: "Logging", package: "swift-log"),
            ],
            resources: [.embedInCode("throwaway-postgres.sh")],
            swiftSettings: strict
        ),
        .target(
            name: "OutboxBench",
            dependencies: [
                "CLibCurl", "CLibPQ", "Outbox", "OutboxCore", "OutboxHTTP", "OutboxRelay", "OutboxMigrations",
                "PostgresClient",
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: strict
        ),
        .executableTarget(
            name: "OutboxCommand",
            dependencies: [
                "Outbox", "OutboxBench", "OutboxRelay", "OutboxHTTP", "OutboxCore", "OutboxMigrations",
                "PostgresClient",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "Yams", package: "Yams"),
            ],
            swiftSettings: strict
        ),

        // What judges a run from outside: shared by tests, the simulation and storms of real processes.
        .target(name: "OutboxAudit", path: "Tests/Audit", swiftSettings: strict),
        .testTarget(
            name: "OutboxAuditTests", dependencies: ["OutboxAudit"], path: "Tests/AuditTests", swiftSettings: strict),
        // The engine against a table in memory, with a seeded scheduler and faults.
        .target(
            name: "OutboxSimulation", dependencies: ["OutboxAudit", "OutboxCore"], path: "Tests/Simulation",
            swiftSettings: strict),
        .executableTarget(
            name: "simulate", dependencies: ["OutboxSimulation"], path: "Tests/Simulate", swiftSettings: strict),
        .testTarget(
            name: "OutboxSimulationTests",
            dependencies: [
                "OutboxSimulation", "OutboxCore", "Outbox", "OutboxRelay", "OutboxTesting", "PostgresClient",
                .product(name: "Logging", package: "swift-log"),
            ],
            path: "Tests/SimulationTests", swiftSettings: strict),
        // Real processes, real signals and a real Postgres, judged by the auditor.
        .executableTarget(
            name: "storm",
            dependencies: [
                "OutboxAudit", "Outbox", "OutboxCore", "OutboxRelay", "OutboxTesting", "PostgresClient",
            ],
            path: "Tests/Storm",
            swiftSettings: strict
        ),
        .testTarget(
            name: "OutboxStormTests", dependencies: ["storm", "OutboxCommand", "OutboxTesting"],
            path: "Tests/StormTests", swiftSettings: strict),

        .testTarget(
            name: "PostgresClientTests", dependencies: ["PostgresClient", "OutboxTesting"], swiftSettings: strict),
        .testTarget(name: "OutboxCoreTests", dependencies: ["OutboxCore"], swiftSettings: strict),
        .testTarget(
            name: "OutboxTests",
            dependencies: [
                "Outbox", "OutboxCore", "OutboxRelay", "OutboxTesting", "OutboxMigrations", "PostgresClient",
            ],
            exclude: ["Golden"],
            swiftSettings: strict
        ),
        .testTarget(
            name: "OutboxHTTPTests",
            dependencies: [
                "OutboxHTTP", "OutboxRelay", "Outbox", "OutboxCore", "OutboxTesting", "PostgresClient",
                .product(name: "Logging", package: "swift-log"),
            ],
            exclude: ["Samples"],
            swiftSettings: strict
        ),
        .testTarget(
            name: "OutboxCommandTests",
            dependencies: [
                "OutboxCommand", "Outbox", "OutboxCore", "OutboxHTTP", "OutboxMigrations", "OutboxRelay",
                "OutboxTesting",
                "PostgresClient", .product(name: "Logging", package: "swift-log"),
            ],
            exclude: ["Golden"],
            swiftSettings: strict
        ),
    ],
    swiftLanguageModes: [.v6]
)
