// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// The version of the toolkit, as `User-Agent` and `outbox --version` give it.
package enum OutboxVersion {
    package static let current = "0.1.0"
}
