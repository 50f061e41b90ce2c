// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Outbox

/// Enqueues the lines of a file, a batch in a transaction, in their order.
///
/// It stops at the first line that is no task and at the first batch that is not committed, and says how to go on: what
/// was committed before stays, and of the batch that it stopped in nothing is written.
struct Import {
    /// What became of a batch.
    enum Ending: Equatable {
        case committed
        /// The answer to COMMIT was lost, and the server says that it was not committed.
        case aborted
        /// The answer to COMMIT was lost, and the server cannot say.
        case unknown(transaction: UInt64?)
    }

    typealias Batch = [(kind: String, payload: [UInt8])]

    /// What was done so far.
    struct Progress: Equatable {
        /// The last line of which everything up to it is enqueued.
        var lines = 0
        var tasks = 0
        var bytes = 0
    }

    let rules: LineRules
    /// The most tasks of a transaction.
    let batch: Int
    /// The first line to enqueue, 1 first; those before are read past.
    let firstLine: Int
    /// The most bytes of a transaction, so that a batch of large payloads stays in memory and in the server's limits.
    var batchBytes = 8 << 20
    let write: (Batch) async throws -> Ending
    /// Whether someone wants it to stop; asked between batches.
    var isStopped: () -> Bool = { false }
    var tell: (Progress) -> Void = { _ in }

    /// Enqueues what `reader` gives.
    ///
    /// - Throws: ``Problem`` that names the line and how to go on.
    func run(_ reader: LineReader) async throws -> Progress {
        var progress = Progress(lines: firstLine - 1)
        var pending: Batch = []
        var pendingBytes = 0
        var number = 0
        while true {
            let line: [UInt8]?
            do {
                line = try reader.next()
            } catch {
                throw unreadable(error, at: number + 1, after: progress)
            }
            if let line {
                number += 1
                guard number >= firstLine else { continue }
                if !line.allSatisfy({ $0 == 0x20 || $0 == 0x09 }) {
                    do {
                        let task = try rules.task(of: line)
                        pending.append(task)
                        pendingBytes += task.payload.count
                    } catch {
                        throw Problem(
                            .failed, "line \(number) \(error.message); " + Self.done(progress, from: firstLine),
                            hint: "\(error.advice), then go on with --from-line \(progress.lines + 1)")
                    }
                }
            }
            guard line == nil || pending.count >= batch || pendingBytes >= batchBytes else { continue }
            if !pending.isEmpty { try await commit(pending, through: number, progress) }
            progress.lines = max(progress.lines, number)
            progress.tasks += pending.count
            progress.bytes += pendingBytes
            (pending, pendingBytes) = ([], 0)
            guard line != nil else { return progress }
            tell(progress)
            if isStopped() {
                throw Problem(
                    .incomplete, "stopped: " + Self.done(progress, from: firstLine),
                    hint: "go on with --from-line \(progress.lines + 1)")
            }
        }
    }

    private func commit(_ batch: Batch, through last: Int, _ progress: Progress) async throws {
        let first = progress.lines + 1
        let lines = first == last ? "line \(first)" : "lines \(first) to \(last)"
        let ending: Ending
        do {
            ending = try await write(batch)
        } catch {
            guard let problem = Problem(describing: error) else { throw error }
            throw Problem(
                problem.status, "\(lines): \(problem.message); " + Self.done(progress, from: firstLine),
                hint: [problem.hint, "go on with --from-line \(first)"].compactMap(\.self).joined(separator: "; "))
        }
        switch ending {
        case .committed: return
        case .aborted:
            throw Problem(
                .unavailable,
                "\(lines): the connection was lost at COMMIT, and nothing of them is written; "
                    + Self.done(progress, from: firstLine),
                hint: "go on with --from-line \(first)")
        case .unknown(let transaction):
            let which = transaction.map { " of transaction \($0)" } ?? ""
            throw Problem(
                .unavailable,
                "\(lines): the answer to COMMIT\(which) was lost, and whether they are enqueued is unknown; "
                    + Self.done(progress, from: firstLine),
                hint: transaction.map {
                    "ask SELECT pg_xact_status('\($0)'): committed means go on with --from-line \(last + 1), aborted with "
                        + "--from-line \(first)"
                }
                    ?? "look for their tasks with outbox tasks list before going on with --from-line \(first) or \(last + 1)"
            )
        }
    }

    private func unreadable(_ failure: LineReader.Failure, at line: Int, after progress: Progress) -> Problem {
        let done = Self.done(progress, from: firstLine)
        let goOn = "go on with --from-line \(progress.lines + 1)"
        switch failure {
        case .tooLong:
            return Problem(
                .failed, "line \(line) is longer than \(LineReader.longest >> 20) MiB; \(done)",
                hint: "write one JSON object a line, then \(goOn)")
        case .unreadable(let reason):
            return Problem(.failed, "line \(line) cannot be read: \(reason); \(done)", hint: goOn)
        }
    }

    /// How much is enqueued.
    private static func done(_ progress: Progress, from first: Int) -> String {
        guard progress.lines >= first else { return "nothing was enqueued" }
        let tasks = progress.tasks == 1 ? "1 task" : "\(progress.tasks) tasks"
        return "lines \(first) to \(progress.lines) are enqueued (\(tasks)), nothing after them"
    }
}
