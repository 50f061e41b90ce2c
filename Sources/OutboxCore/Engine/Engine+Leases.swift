// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

// Leases, deadlines and the end: renew in time, cancel in time, give up in time.

extension Engine {
    mutating func payAttention(at time: Duration) {
        nextAttention = min(nextAttention ?? time, time)
    }

    /// Looks at all that runs: cancels what is out of time, renews leases that are a third used up.
    mutating func attend(at now: Duration, _ commands: inout [Command]) {
        nextAttention = nil
        giveBackWaiting(claimedBefore: now - renewalAge)
        var renewals: [Hold] = []
        for seq in running.keys.sorted() {
            guard let task = running[seq], !task.isAbandoned else { continue }
            if task.isWaiting {
                payAttention(at: task.leasedAt + renewalAge)
                continue
            }
            if let (_, graceUntil) = task.cancelled {
                if graceUntil <= now {
                    abandon(seq, at: now, &commands)
                    continue
                }
                payAttention(at: graceUntil)
            } else if task.timeoutAt <= now {
                cancel(seq, .timedOut, at: now, &commands)
            } else if leaseEnd(of: task) <= now {
                cancel(seq, .leaseLost, at: now, &commands)
            } else {
                payAttention(at: min(task.timeoutAt, leaseEnd(of: task)))
            }
            // what is cancelled holds its lease until its grace ends, unless it is the lease that is lost
            guard running[seq]?.cancelled?.reason != .leaseLost, leaseEnd(of: task) > now else { continue }
            let renewAt = task.leasedAt + renewalAge
            if renewAt > now {
                payAttention(at: renewAt)
            } else if renewing == nil {
                renewals.append(task.claimed.hold)
            }
        }
        guard !renewals.isEmpty else { return }
        renewing = Dictionary(uniqueKeysWithValues: renewals.map { ($0.seq, now) })
        commands.append(.renew(renewals))
    }

    /// Until when this relay may be sure of a lease: some time before its end, for the cancellation to arrive.
    func leaseEnd(of task: Running) -> Duration { leaseEnd(leasedAt: task.leasedAt) }

    /// The same of a task that runs, for the shell.
    package func leaseEnd(of seq: Int64) -> Duration? { running[seq].map(leaseEnd(of:)) }

    /// The same of what the exchange that is under way claims.
    package var leaseEndOfClaim: Duration? { exchange.map { leaseEnd(leasedAt: $0.at) } }

    private func leaseEnd(leasedAt: Duration) -> Duration { leasedAt + settings.lease - leaseMargin }

    mutating func noteRenewal(_ renewed: Set<Int64>, at now: Duration, _ commands: inout [Command]) {
        guard let asked = renewing else { return }
        renewing = nil
        payAttention(at: now)  // others may have come to be renewed meanwhile
        for (seq, askedAt) in asked.sorted(by: { $0.key < $1.key }) {
            guard let task = running[seq], !task.isAbandoned else { continue }
            if renewed.contains(seq) {
                running[seq]?.leasedAt = askedAt
                payAttention(at: askedAt + renewalAge)
            } else if task.cancelled == nil {
                // A handler that completed its task in its own transaction has no lease any more and is about to
                // return: cancelling it is harmless then.
                cancel(seq, .leaseLost, at: now, &commands)
            }
        }
    }

    mutating func noteRenewalFailure(at now: Duration) {
        guard renewing != nil else { return }
        renewing = nil
        payAttention(at: now + .seconds(Double.random(in: 0.1...0.5, using: &random)))
    }

    private mutating func cancel(_ seq: Int64, _ reason: Cancellation, at now: Duration, _ commands: inout [Command]) {
        guard let task = running[seq], task.cancelled == nil else { return }
        let graceUntil = now + settings.cancellationGrace
        running[seq]?.cancelled = (reason, graceUntil)
        payAttention(at: graceUntil)
        switch reason {
        case .timedOut: commands.append(.report(.timedOut(seq: seq, kind: kinds.names[task.kind])))
        case .leaseLost: commands.append(.report(.leaseLost(seq: seq, kind: kinds.names[task.kind])))
        case .stopping: break
        }
        commands.append(.cancel(seq: seq, reason))
    }

    /// A handler did not return in spite of its cancellation: settle its attempt without it. Its place stays taken.
    private mutating func abandon(_ seq: Int64, at now: Duration, _ commands: inout [Command]) {
        guard let task = running[seq], let reason = task.cancelled?.reason else { return }
        running[seq]?.isAbandoned = true
        commands.append(.report(.ignoredCancellation(seq: seq, kind: kinds.names[task.kind])))
        switch reason {
        case .timedOut: fail(task, timeout(of: task), after: nil, charged: true, at: now)
        case .stopping: giveBack(task, at: now)
        case .leaseLost: commands.append(.forget(seq: seq))
        }
    }

    mutating func cancelAll(at now: Duration, _ commands: inout [Command]) {
        for seq in running.keys.sorted() { cancel(seq, .stopping, at: now, &commands) }
    }
}
