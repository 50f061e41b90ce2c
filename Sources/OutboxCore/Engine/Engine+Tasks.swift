// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

// What becomes of a task: begun, finished, settled.

extension Engine {
    mutating func begin(_ task: Claimed, leasedAt: Duration, at now: Duration, _ commands: inout [Command]) {
        // never claimed, by the claim's filter; if it was all the same, its lease brings it back
        guard let kind = kinds.number(of: task) else { return commands.append(.forget(seq: task.hold.seq)) }
        let policy = kinds.policy(kind)
        // before anything else: giving it back would forget that it may have run
        if task.acknowledged {
            let failure = Failure(
                type: "interrupted",
                message: "it is of a kind that is acknowledged before it runs, and that run did not come to its end"
            )
            return move(task, to: .dead(.interrupted), because: failure, kind: kind)
        }
        // its seq was issued again while the first that had it still runs: given back, it gets another one
        let isTaken = running[task.hold.seq] != nil
        // the answer was slow, or the relay stood still before it could read it: another attempt may run by now
        let isTooLate = leasedAt + settings.lease - leaseMargin <= now
        guard stopAt == nil, !isTaken, !isTooLate else { return move(task, to: .ready, kind: kind) }
        if let expiresIn = task.expiresIn, expiresIn <= .zero {
            return move(task, to: .dead(.expired), because: .expired, kind: kind)
        }
        if task.crashed >= policy.retry.maxCrashes {
            let failure = Failure(
                type: "crashed",
                message: "the relay that ran it vanished \(task.crashed) times; it may be what makes relays vanish"
            )
            return move(task, to: .dead(.crashed), because: failure, kind: kind)
        }
        if task.charged >= task.maxAttempts ?? policy.retry.maxAttempts {
            let failure = Failure(
                type: "exhausted", message: "its \(task.charged) attempts are as many as the policy now allows"
            )
            return move(task, to: .dead(.exhausted), because: failure, kind: kind)
        }
        let isWaiting = !hasPlace(for: task)
        running[task.hold.seq] = Running(
            claimed: task, kind: kind, claimedAt: now, startedAt: now, leasedAt: leasedAt,
            timeoutAt: now + policy.timeout, isWaiting: isWaiting
        )
        if isWaiting {
            ahead.waiting.append(task.hold.seq)
            payAttention(at: leasedAt + renewalAge)
        } else {
            payAttention(at: min(now + policy.timeout, leasedAt + renewalAge))
            commands.append(.start(seq: task.hold.seq))
        }
    }

    mutating func noteOutcome(_ outcome: Outcome, of seq: Int64, at now: Duration, _ commands: inout [Command]) {
        guard var task = running.removeValue(forKey: seq) else { return }
        if task.isAbandoned {
            guard outcome != .released, takeBack(task.claimed.hold) else {
                // until that is settled, what is known of the task is needed to tell of it
                if !isBeingSettled(task.claimed.hold) { commands.append(.forget(seq: seq)) }
                return
            }
            task.isAbandoned = false
        }
        switch outcome {
        case .succeeded:
            pending.succeeded.append(task.claimed.hold)
            pending.kindsOfSucceeded.append(task.kind)
            // the shell lets go by itself of what was never cancelled
            if task.cancelled != nil { commands.append(.forget(seq: seq)) }
        case .completed(let otherwise):
            // The row is gone if the handler's transaction committed: then this is refused, and that is no surprise.
            completed.insert(seq)
            running[seq] = task
            // with its lease lost nothing else would settle it; given back at a stop, it is not charged
            let isLost = otherwise == .released && task.cancelled?.reason == .leaseLost
            let outcome = isLost ? .retry(timeout(of: task)) : otherwise
            noteOutcome(outcome, of: seq, at: now, &commands)
        case .retry(let failure, let after, let charged):
            fail(task, failure, after: after, charged: charged, at: now)
        case .rejected(let failure):
            move(
                task.claimed, to: .dead(.rejected), because: failure, charged: true, kind: task.kind,
                took: now - task.startedAt)
        case .released:
            switch task.cancelled?.reason {
            case .leaseLost: commands.append(.forget(seq: seq))  // another attempt has it, or will have it
            case .stopping: giveBack(task, at: now)
            // it did not begin, since its lease had ended when it could
            case nil where leaseEnd(of: task) <= now: giveBack(task, at: now)
            case .timedOut, nil: fail(task, timeout(of: task), after: nil, charged: true, at: now)
            }
        }
    }

    /// Takes back what was decided about a task without its handler, if it has not been sent yet: where the relay stood
    /// still for the whole grace, the handler returns right after, and may have succeeded.
    private mutating func takeBack(_ hold: Hold) -> Bool {
        guard !uncertain.contains(hold.seq), let index = pending.failed.firstIndex(where: { $0.hold == hold }) else {
            return false
        }
        pending.failed.remove(at: index)
        pending.kindsOfFailed.remove(at: index)
        return true
    }

    private func isBeingSettled(_ hold: Hold) -> Bool {
        pending.failed.contains { $0.hold == hold } || exchange?.sent.failed.contains { $0.hold == hold } ?? false
    }

    func timeout(of task: Running) -> Failure {
        task.cancelled?.reason == .timedOut
            ? Failure(
                type: "timeout",
                message: "the attempt took longer than \(kinds.policy(task.kind).timeout) and was cancelled")
            : Failure(type: "cancelled", message: "the handler gave up as if it had been cancelled")
    }

    mutating func fail(_ task: Running, _ failure: Failure, after: Duration?, charged: Bool, at now: Duration) {
        let claimed = task.claimed
        let policy = kinds.policy(task.kind)
        let took = now - task.startedAt
        let sinceClaim = now - task.claimedAt
        let target: Move.Target
        if policy.acknowledgesEarly {
            target = .dead(.exhausted)
        } else {
            let fate = policy.retry.fate(
                charged: charged, failures: claimed.charged + 1, attempt: Int(claimed.hold.attempt), after: after,
                limit: claimed.maxAttempts, age: claimed.age + sinceClaim,
                expiresIn: claimed.expiresIn.map { $0 - sinceClaim },
                using: &random
            )
            switch fate {
            case .again(let delay): target = .later(delay)
            case .dead(let reason): target = .dead(reason)
            }
        }
        move(claimed, to: target, because: failure, charged: charged, kind: task.kind, took: took)
    }

    /// Gives a task back without a result: uncharged and claimable at once, unless it must not run twice.
    mutating func giveBack(_ task: Running, at now: Duration) {
        if kinds.policy(task.kind).acknowledgesEarly {
            let failure = Failure(
                type: "interrupted",
                message: "the relay stopped before the run came to its end, and the kind is never run twice"
            )
            move(task.claimed, to: .dead(.interrupted), because: failure, kind: task.kind, took: now - task.startedAt)
        } else {
            move(task.claimed, to: .ready, kind: task.kind, took: now - task.startedAt)
        }
    }

    mutating func move(
        _ task: Claimed, to target: Move.Target, because failure: Failure? = nil, charged: Bool = false, kind: Int,
        took: Duration = .zero
    ) {
        pending.failed.append(
            Move(
                hold: task.hold, target: target, failure: failure, charged: charged, took: took,
                endpoint: kinds.policy(kind).endpoint
            ))
        pending.kindsOfFailed.append(kind)
    }

    mutating func noteSettled(_ settled: [Int64], of sent: Exchange, _ commands: inout [Command]) {
        // the common case, all of them, without a set
        let accepted = settled.count == sent.settlements ? nil : Set(settled)
        for (hold, kind) in zip(sent.succeeded, sent.kindsOfSucceeded) {
            // refused after an exchange whose reply was lost: that exchange settled it
            let wasUncertain = !uncertain.isEmpty && uncertain.remove(hold.seq) != nil
            if accepted?.contains(hold.seq) ?? true || wasUncertain {
                kinds.countSucceeded(kind)
            } else {
                noteFenced(hold.seq, kind: kind, &commands)
            }
        }
        for (move, kind) in zip(sent.failed, sent.kindsOfFailed) {
            let wasUncertain = !uncertain.isEmpty && uncertain.remove(move.hold.seq) != nil
            let wasCompleted = !completed.isEmpty && completed.remove(move.hold.seq) != nil
            // refused after a lost reply: that exchange settled it, unless the handler's own transaction did
            if accepted?.contains(move.hold.seq) ?? true || wasUncertain && !wasCompleted {
                switch move.target {
                case .later: kinds.count(kind, \.retried)
                case .dead(let reason):
                    kinds.count(kind, \.dead)
                    if let failure = move.failure { commands.append(.buried(seq: move.hold.seq, reason, failure)) }
                case .ready: kinds.count(kind, \.released)
                }
            } else if wasCompleted {
                kinds.countSucceeded(kind)
            } else {
                noteFenced(move.hold.seq, kind: kind, &commands)
            }
            // what still runs is abandoned, or has the same seq by chance: it is forgotten when it returns
            if running[move.hold.seq] == nil { commands.append(.forget(seq: move.hold.seq)) }
        }
    }

    private mutating func noteFenced(_ seq: Int64, kind: Int, _ commands: inout [Command]) {
        kinds.count(kind, \.fenced)
        commands.append(.report(.fenced(seq: seq, kind: kinds.names[kind])))
    }
}

extension Failure {
    static let expired = Failure(type: "expired", message: "it was not done before it expired")
}
