// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import Outbox
internal import PostgresClient

/// Enqueues a batch in a transaction, and finds out what became of it if the answer to COMMIT is lost.
struct BatchWriter {
    let database: Database
    let schema: Schema
    let contentType: String
    let options: EnqueueOptions

    func write(_ batch: Import.Batch) async throws -> Import.Ending {
        do {
            try await database.transaction { transaction in
                // with the identifier, a lost answer to COMMIT can be cleared up
                try await transaction.readIdentifier()
                try await transaction.enqueue(
                    batch: batch, contentType: contentType, options: options, schema: schema)
            }
            return .committed
        } catch let error as PostgresError where error.code == .commitOutcomeUnknown {
            return await ending(of: error.transactionIdentifier)
        }
    }

    /// Asks the server, for as long as a restart takes.
    func ending(of transaction: TransactionIdentifier?, patience: Duration = .seconds(20)) async -> Import.Ending {
        guard let transaction else { return .unknown(transaction: nil) }
        let deadline = ContinuousClock.now + patience
        while true {
            switch try? await database.status(ofTransaction: transaction) {
            case .committed: return .committed
            case .aborted: return .aborted
            case .unknown: return .unknown(transaction: transaction.number)
            case .inProgress, nil: break
            }
            guard ContinuousClock.now < deadline, (try? await Task.sleep(for: .milliseconds(250))) != nil else {
                return .unknown(transaction: transaction.number)
            }
        }
    }
}
