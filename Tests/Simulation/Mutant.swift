// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// A mistake that the simulation must find: what a fake table or a shell does wrong, to prove that it would be noticed.
/// Production code has no such switch.
package enum Mutant: String, Sendable, CaseIterable {
    /// settle and fail find the task by its id alone.
    case noFence = "no-fence"
    /// The attempt rises when the attempt's result is recorded, instead of with the claim.
    case countAfterRun = "count-after-run"
    /// A lane is never read below the highest floor that anybody gave, like a cursor.
    case floorWithoutSweep = "floor-without-sweep"
    /// A lease is renewed for whoever asks.
    case renewalIgnoresAttempt = "renewal-ignores-attempt"
    /// A lease that ended counts for nothing.
    case rescueWithoutCrash = "rescue-without-crash"
    /// A task counts as done when its handler starts.
    case settledBeforeRun = "settled-before-run"
    /// A task that is given back gets its attempt back as well.
    case attemptGivenBack = "attempt-given-back"
    /// The claim gives a relay kinds that it cannot run.
    case claimIgnoresKinds = "claim-ignores-kinds"
    /// A rescue forgets that the task was acknowledged before it ran.
    case acknowledgementForgotten = "acknowledgement-forgotten"
    /// A task whose relay vanished runs among the others.
    case suspectsAmongOthers = "suspects-among-others"
    /// The handlers never hear of a cancellation.
    case cancellationUnheard = "cancellation-unheard"
}
