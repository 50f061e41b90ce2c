// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Logging
internal import Outbox
internal import OutboxCore
internal import PostgresClient

/// What arrives at a relay.
enum RelayMessage: Sendable {
    case event(Event)
    case nudged
    indirect case exchanged(RelayStore.Result)
    case finished(seq: Int64, Outcome)
    case heartbeatDue
    case heartbeatFailed([String: Tally])
    case alertsDelivered
}

/// The shell around the engine: it feeds the engine what happens, and does what the engine says.
struct RelayLoop: Sendable {
    let mailbox: Mailbox<RelayMessage>
    let poller: Poller
    let store: RelayStore
    let handlers: HandlerTable
    let settings: Engine.Settings
    let unhandledAfter: Duration
    let courier: AlertCourier
    let bell: NudgeBell
    let nudgeSocket: String?
    let logger: Logger

    func run() async throws {
        let socket = try nudgeSocket.map { path throws(NudgeError) in try NudgeSocket(path: path) }
        guard try await awaitKnownDatabase() else { return }
        logger.info("relay started", metadata: ["channels": "\(store.channels.joined(separator: ","))"])
        if store.channels == ["log"] {
            logger.warning("dead letters are told to the log alone: no other alert channel is configured")
        }
        let unsettled = await withDiscardingTaskGroup { group in
            var turn = RelayTurn(loop: self)
            if let socket { group.addTask { await socket.listen(with: poller, bell.nudge) } }
            group.addTask { await ticking(every: .seconds(10)) { mailbox.post(.heartbeatDue) } }
            while turn.unsettledAtStop == nil {
                turn.handle(await mailbox.take(unhurried: turn.worthwhile), in: &group)
            }
            await turn.awaitHooks()
            await turn.sayGoodbye()
            group.cancelAll()
            return turn.unsettledAtStop ?? 0
        }
        await store.close()
        logger.info("relay stopped", metadata: ["unsettled": "\(unsettled)"])
    }

    /// Waits for the database if need be, and checks that its outbox is one that this relay knows and that the tasks in it
    /// belong there; false: stopped meanwhile.
    private func awaitKnownDatabase() async throws -> Bool {
        var pause = Duration.milliseconds(100)
        while true {
            do {
                try SchemaVersion.check(try await store.schemaVersion(), schema: store.schema)
                try await store.checkHome()
                return true
            } catch let error as PostgresError where error.isTransient {
                logger.warning("no database yet; trying again", metadata: ["error": "\(error)", "pause": "\(pause)"])
            }
            // a message to stop ends the wait. Nudges come too and are heard: the first claim looks for everything
            let waiting = Task { [mailbox, pause] in
                try? await Task.sleep(for: pause * Double.random(in: 0.7...1))
                mailbox.post(.event(.woke))
            }
            let stops = await mailbox.take().contains { if case .event(.stop) = $0 { true } else { false } }
            bell.heard()
            waiting.cancel()
            if stops { return false }
            // more than a second, so as not to be a nuisance; less than two, to be there soon after a promotion
            pause = min(pause * 2, .milliseconds(1500))
        }
    }

    /// Calls `body` again and again until the task is cancelled.
    private func ticking(every interval: Duration, _ body: @Sendable () -> Void) async {
        body()
        while (try? await Task.sleep(for: interval)) != nil { body() }
    }
}
