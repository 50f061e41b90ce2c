// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// Which transaction it was, and in which life of the server.
///
/// The number alone is not enough. A crash undoes a transaction that had not committed, and where nothing of it had been
/// written to disk, the server gives its number to another one: asked for that number it then says "committed", and means
/// the other.
/// https://www.postgresql.org/message-id/CAMsr+YHPZetkB0OeBsBu76+Km=Mb4SEbP1=-jJ6fF9MGSYn8mw@mail.gmail.com
public struct TransactionIdentifier: Hashable, Sendable, CustomStringConvertible {
    /// The server's 64-bit number.
    public let number: UInt64
    /// A life lasts from one crash of the server to the next, and no two servers share one.
    package let life: String

    package init(number: UInt64, life: String) {
        self.number = number
        self.life = life
    }

    public var description: String { "\(number)" }

    /// Reads what `expression(serverVersion:)` returned.
    package init?(_ text: String) {
        let words = text.split(separator: " ")
        guard words.count == 2, let number = UInt64(words[0]) else { return nil }
        self.init(number: number, life: String(words[1]))
    }

    /// What identifies the transaction that evaluates it, as text, because xid8 is unsigned: int8 cannot hold all of it.
    package static func expression(serverVersion: Int) -> String {
        "pg_current_xact_id()::text || ' ' || \(life(serverVersion: serverVersion))"
    }

    /// What differs after a crash, and is looked up in memory.
    ///
    /// Since version 15 statistics live in shared memory, are saved at an orderly stop and begin anew after a crash, also
    /// where only one backend crashed and the postmaster stayed. Before, reading them may wait for a process to write a
    /// file, hence the postmaster's start, which that one crash leaves as it was.
    package static func life(serverVersion: Int) -> String {
        serverVersion >= 150_000
            ? "coalesce(extract(epoch FROM pg_stat_get_bgwriter_stat_reset_time())::text, '-')"
            : "extract(epoch FROM pg_postmaster_start_time())::text"
    }
}
