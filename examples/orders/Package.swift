// swift-tools-version: 6.0
// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import PackageDescription

/// What a receiver of HTTP requests is made of.
let server: [Target.Dependency] = ["Stage", .product(name: "FlyingFox", package: "FlyingFox")]

let package = Package(
    name: "orders",
    platforms: [.macOS(.v15)],
    dependencies: [
        .package(name: "outbox", path: "../.."),
        // The HTTP servers: small, without dependencies of its own, built in seconds where NIO takes minutes.
        .package(url: "https://github.com/swhitty/FlyingFox", from: "0.27.1"),
    ],
    targets: [
        // What the service and the relay agree on: the tasks.
        .target(name: "OrderTasks", dependencies: [.product(name: "Outbox", package: "outbox")]),

        // The application: a service that enqueues, and a relay that runs what was enqueued.
        .executableTarget(
            name: "orders-service",
            dependencies: ["OrderTasks", .product(name: "Outbox", package: "outbox")] + server
        ),
        .executableTarget(
            name: "orders-relay",
            dependencies: [
                "OrderTasks", "Stage",
                .product(name: "OutboxRelay", package: "outbox"),
                .product(name: "OutboxHTTP", package: "outbox"),
            ]
        ),

        // The world outside, which knows nothing of Outbox.
        .executableTarget(name: "payment-gateway", dependencies: server),
        .executableTarget(name: "partner", dependencies: server),
        .executableTarget(name: "alert-receiver", dependencies: server),

        // The demonstration: it starts all of these and the command line, kills the relay, and checks everyone's books.
        .executableTarget(
            name: "demo",
            dependencies: [
                "Stage",
                .product(name: "Outbox", package: "outbox"),
                .product(name: "outbox", package: "outbox"),
            ]
        ),
        .target(name: "Stage", dependencies: [.product(name: "FlyingFox", package: "FlyingFox")]),
    ],
    swiftLanguageModes: [.v6]
)
