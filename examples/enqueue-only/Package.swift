// swift-tools-version: 6.0
// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import PackageDescription

let package = Package(
    name: "enqueue-only",
    platforms: [.macOS(.v15)],
    dependencies: [.package(name: "outbox", path: "../..")],
    targets: [
        // `Outbox` alone: no relay, no HTTP. What runs the tasks is another process, such as `outbox run`.
        .executableTarget(name: "enqueue-only", dependencies: [.product(name: "Outbox", package: "outbox")])
    ],
    swiftLanguageModes: [.v6]
)
