// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Logging
internal import OutboxCore
internal import PostgresClient

/// The state of a running relay: the engine, the handlers that run, and what is known of their tasks.
struct RelayTurn {
    private let loop: RelayLoop
    private var engine: Engine
    private let began = ContinuousClock.now
    /// Tasks that are claimed and neither succeeded nor settled.
    private var runs: [Int64: HandlerRun] = [:]
    private let surroundings: RunSurroundings
    private let hooks = HookRuns()
    private let alarm: Alarm
    private var isDelivering = false
    private var lastHeartbeat: Duration?
    private var failures = 0
    private(set) var unsettledAtStop: Int?
    /// How many handlers that have finished are worth looking at before anything else happens.
    private(set) var worthwhile = 1

    init(loop: RelayLoop) {
        self.loop = loop
        surroundings = RunSurroundings(store: loop.store, logger: loop.logger, mailbox: loop.mailbox)
        alarm = Alarm(on: loop.poller) { [mailbox = loop.mailbox] in mailbox.post(.event(.woke)) }
        engine = Engine(settings: loop.settings, seed: .random(in: .min ... .max))
    }

    private var now: Duration { ContinuousClock.now - began }

    mutating func handle(_ messages: [RelayMessage], in group: inout DiscardingTaskGroup) {
        var events: [Event] = []
        events.reserveCapacity(messages.count)
        var haveSomeFinished = false
        for message in messages {
            switch message {
            case .event(let event):
                events.append(event)
            case .nudged:
                loop.bell.heard()
                events.append(.nudged)
            case .finished(let seq, let outcome):
                if outcome == .succeeded { letGo(of: seq) }
                haveSomeFinished = true
                events.append(.finished(seq: seq, outcome))
            case .exchanged(.answered(let answer, let claimed)):
                failures = 0
                take(claimed, answer)
                events.append(.answered(answer))
            case .exchanged(.failed(let error, let mayBeExecuted)):
                noteFailure(error)
                events.append(.exchangeFailed(unknown: mayBeExecuted))
            case .heartbeatDue: beat(in: &group)
            case .heartbeatFailed(let done): engine.giveBack(done)
            case .alertsDelivered: isDelivering = false
            }
        }
        let commands = engine.handle(events, at: now)
        noteRenewals(events)
        // first what the database has to do, and while it does that, the handlers are started
        var starting = commands.compactMap { command in
            if case .start(let seq) = command { start(seq) } else { nil }
        }
        for command in commands { perform(command, starting: &starting, in: &group) }
        for run in starting { run.start() }
        setAlarm(haveSomeFinished: haveSomeFinished)
    }

    /// Handlers that finish one after the other are looked at together, or each would cost a turn of the loop: none while
    /// nothing could be done about it; otherwise, once the first has come, a quarter of those that run, or what there is a
    /// millisecond later.
    private mutating func setAlarm(haveSomeFinished: Bool) {
        var next = engine.nextWake
        if engine.canDoNothingUntilAnswered {
            worthwhile = .max
        } else {
            worthwhile = haveSomeFinished ? max(1, engine.started / 4) : 1
            if worthwhile > 1 { next = min(next ?? .seconds(1) + now, now + .milliseconds(1)) }
        }
        alarm.set(next.map { began + $0 })
    }

    private func start(_ seq: Int64) -> HandlerRun? {
        if let run = runs[seq] { return run }
        loop.mailbox.post(.finished(seq: seq, .released))
        return nil
    }

    private mutating func perform(
        _ command: Command, starting: inout [HandlerRun], in group: inout DiscardingTaskGroup
    ) {
        let (mailbox, store) = (loop.mailbox, loop.store)
        switch command {
        case .exchange(let exchange):
            group.addTask { [runs = starting] in
                mailbox.post(.exchanged(await store.perform(exchange) { for run in runs { run.start() } }))
            }
            starting = []
        case .start: break
        case .cancel(let seq, let reason):
            runs[seq]?.cancel(reason)
        case .renew(let holds):
            group.addTask {
                do {
                    mailbox.post(.event(.renewed(try await store.renew(holds))))
                } catch {
                    store.logger.warning("leases could not be renewed; trying again", metadata: ["error": "\(error)"])
                    mailbox.post(.event(.renewalFailed))
                }
            }
        case .deliverAlerts:
            guard !isDelivering else { return }
            isDelivering = true
            let courier = loop.courier
            group.addTask {
                await courier.deliverAll()
                mailbox.post(.alertsDelivered)
            }
        case .buried(let seq, let reason, let failure):
            noteDeadLetter(seq, reason, failure)
        case .report(let report):
            note(report)
        case .forget(let seq):
            runs[seq] = nil
        case .stopped(let unsettled):
            unsettledAtStop = unsettled
        }
    }

    /// Of what was cancelled the engine says itself when it is over: it may be settled otherwise.
    private mutating func letGo(of seq: Int64) {
        if let run = runs.removeValue(forKey: seq), run.cancellation != nil { runs[seq] = run }
    }

    private mutating func take(_ tasks: [ClaimedTask], _ answer: Answer) {
        guard let leaseEnds = engine.leaseEndOfClaim.map({ began + $0 }) else { return }
        for (task, claim) in zip(tasks, answer.claimed) {
            guard let handler = loop.handlers.handler(kind: claim.kind, endpoint: claim.endpoint) else { continue }
            // after a failover a seq may be issued again while the first that had it still runs: that one stays
            guard runs[claim.hold.seq] == nil else { continue }
            runs[claim.hold.seq] = HandlerRun(
                task, hold: claim.hold, handler: handler, leaseEnds: leaseEnds, in: surroundings)
        }
    }

    private func noteRenewals(_ events: [Event]) {
        for case .renewed(let seqs) in events {
            for seq in seqs {
                if let ends = engine.leaseEnd(of: seq) { runs[seq]?.noteRenewal(until: began + ends) }
            }
        }
    }

    // MARK: - Telling

    private mutating func beat(in group: inout DiscardingTaskGroup) {
        let done = engine.takeTally()
        guard !done.isEmpty || lastHeartbeat.map({ now - $0 >= .seconds(59) }) ?? true else { return }
        lastHeartbeat = now
        let (mailbox, store, unhandledAfter) = (loop.mailbox, loop.store, loop.unhandledAfter)
        group.addTask {
            do {
                try await store.heartbeat(done, isStopping: false)
            } catch {
                store.logger.warning("the heartbeat failed; trying again", metadata: ["error": "\(error)"])
                return mailbox.post(.heartbeatFailed(done))
            }
            do {
                for (kind, endpoint) in try await store.findUnhandled(after: unhandledAfter) {
                    store.logger.warning(
                        "tasks wait, and no relay can run them",
                        metadata: ["kind": "\(kind)", "endpoint": "\(endpoint ?? "-")"])
                }
                let trimmed = try await store.trim()
                if trimmed > 0 {
                    store.logger.info("drained leaves were truncated", metadata: ["leaves": "\(trimmed)"])
                }
            } catch {
                store.logger.warning(
                    "upkeep failed; it is tried again with the next heartbeat", metadata: ["error": "\(error)"])
            }
        }
    }

    private mutating func noteFailure(_ error: PostgresError) {
        failures += 1
        // the first one, and then ever fewer: 2, 4, 8 …
        guard failures & (failures - 1) == 0 else { return }
        let metadata: Logger.Metadata = ["error": "\(error)", "failures": "\(failures)"]
        if error.sqlState == .tasksOfAnotherDatabase {
            loop.logger.error(
                "the tasks belong to another database: nothing is run; asking again", metadata: metadata)
        } else {
            loop.logger.warning("the database did not answer; trying again", metadata: metadata)
        }
    }

    private mutating func noteDeadLetter(_ seq: Int64, _ reason: DeathReason, _ failure: Failure) {
        guard let run = runs[seq] else { return }
        let (task, handler) = (run.task, run.handler)
        loop.logger.error(
            "a task became a dead letter",
            metadata: [
                "task": "\(task.id)", "kind": "\(task.kind)", "reason": "\(reason.rawValue)",
                "attempt": "\(task.attempt)",
                "error": "\(failure.type)",
            ])
        guard let hook = handler.onDeadLetter else { return }
        hooks.run { await hook(task, reason, failure) }
    }

    private mutating func note(_ report: Report) {
        let (message, level, seq, kind): (Logger.Message, Logger.Level, Int64?, String?) =
            switch report {
            case .fenced(let seq, let kind):
                (
                    "a settlement was refused: another attempt holds the task, or it is settled already", .warning, seq,
                    kind
                )
            case .leaseLost(let seq, let kind):
                ("a lease was lost; the handler is cancelled", .warning, seq, kind)
            case .timedOut(let seq, let kind):
                ("an attempt took too long; the handler is cancelled", .warning, seq, kind)
            case .ignoredCancellation(let seq, let kind):
                ("a handler ignores its cancellation; its place stays taken until it returns", .error, seq, kind)
            case .rescued(let count):
                ("tasks whose relay vanished were rescued: \(count)", .warning, nil, nil)
            }
        var metadata: Logger.Metadata = [:]
        if let task = seq.flatMap({ runs[$0]?.task }) {
            metadata["task"] = "\(task.id)"
            metadata["attempt"] = "\(task.attempt)"
        }
        if let kind { metadata["kind"] = "\(kind)" }
        loop.logger.log(level: level, message, metadata: metadata)
    }

    // MARK: - The end

    /// Waits for the hooks as long as for cancelled handlers; those that do not return are left.
    func awaitHooks() async {
        alarm.set(nil)
        await hooks.wait(atMost: loop.settings.cancellationGrace)
    }

    /// Says that this relay is gone and what it has done last; not to a database that does not answer, for which the end
    /// would wait.
    mutating func sayGoodbye() async {
        guard failures == 0 else { return }
        do {
            try await loop.store.heartbeat(engine.takeTally(), isStopping: true)
        } catch {
            loop.logger.warning("the last heartbeat failed", metadata: ["error": "\(error)"])
        }
    }
}
