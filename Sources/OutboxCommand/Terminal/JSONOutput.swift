// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import OutboxCore

/// Prints one JSON value and a line feed.
func printJSON(_ body: (inout JSONWriter) throws -> Void) rethrows {
    var json = JSONWriter()
    try body(&json)
    Terminal.output.write(json.bytes + [UInt8(ascii: "\n")])
}
