// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// URLs as logs and messages show them.
package enum URLText {
    /// The URL without what is often a secret: credentials, the query and the fragment.
    ///
    /// It works on any text, well-formed or not, since a receiver's `Location` can be anything.
    package static func redacted(_ url: String) -> String {
        var shown = url.prefix { $0 != "?" && $0 != "#" }
        let hidesEnd = shown.endIndex < url.endIndex
        if let scheme = shown.firstRange(of: "://") {
            let authority = shown[scheme.upperBound...].prefix { $0 != "/" }
            if let at = authority.lastIndex(of: "@") {
                shown = shown[..<scheme.upperBound] + "…@" + shown[shown.index(after: at)...]
            }
        }
        return hidesEnd ? "\(shown)?…" : String(shown)
    }
}
