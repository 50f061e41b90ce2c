// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import OutboxTesting
import PostgresClient
import Testing

@testable import OutboxCore
@testable import OutboxRelay
@testable import OutboxSimulation

/// The fake table is held to the real one: the same random operations on both, every reply and what is left compared.
@Suite(.timeLimit(.minutes(3))) struct ConformanceTests {
    @Test(arguments: [UInt64](0..<12)) func theFakeTableAnswersLikeTheRealOne(seed: UInt64) async throws {
        let (difference, claimed) = try await compare(seed: seed)
        #expect(claimed > 20, "there was something to compare")
        if let difference { Issue.record("seed \(seed): \(difference)") }
    }

    /// What the fake table does wrong as a mutant is a difference: so the comparison looks at it.
    @Test(
        arguments: [
            Mutant.noFence, .countAfterRun, .renewalIgnoresAttempt, .rescueWithoutCrash, .attemptGivenBack,
            .claimIgnoresKinds, .acknowledgementForgotten, .suspectsAmongOthers,
        ]) func aMistakeIsADifference(mutant: Mutant) async throws
    {
        for seed in UInt64(0)..<12 {
            if try await compare(seed: seed, mutant: mutant).difference != nil { return }
        }
        Issue.record("no difference in twelve histories")
    }

    /// Runs one history: what differs first, with the history, and how many tasks were claimed.
    private func compare(seed: UInt64, mutant: Mutant? = nil) async throws -> (difference: String?, claimed: Int) {
        let database = Database(try await ThrowAwayPostgres.shared().makeOutbox())
        do {
            var pair = TablePair(seed: seed, database, mutant: mutant)
            for _ in 0..<120 {
                guard try await pair.step() else { break }
            }
            if pair.difference == nil { try await pair.compareTables() }
            await pair.close()
            await database.close()
            return (pair.difference.map { "\($0)\n\(pair.history.joined(separator: "\n"))" }, pair.claimed)
        } catch {
            await database.close()
            throw error
        }
    }
}
