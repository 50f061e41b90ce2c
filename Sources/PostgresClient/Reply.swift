// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import CLibPQ

/// What has arrived of the answer to a batch.
///
///     result, NULL, result, NULL, … Sync             all statements succeeded
///     result, NULL, error, NULL, aborted, NULL, Sync  the second failed; the rest was not run
struct Reply {
    private(set) var results: [QueryResult] = []
    /// The first error.
    private(set) var failure: PostgresError?
    private(set) var isComplete = false
    /// COPY needs a conversation that this client does not have; the connection cannot go on.
    private(set) var isUnintelligible = false
    /// A script in the simple protocol has no Sync: a NULL ends it.
    private let endsWithoutSync: Bool

    init(endsWithoutSync: Bool = false) {
        self.endsWithoutSync = endsWithoutSync
    }

    /// Takes over everything that libpq can give without reading from the socket.
    mutating func collect(from handle: Handle) {
        var ends = 0
        while !isComplete, PQisBusy(handle.pointer) == 0 {
            guard let result = PQgetResult(handle.pointer) else {
                if endsWithoutSync {
                    isComplete = true
                    return
                }
                // One NULL ends a statement. Two in a row say that nothing is under way any more.
                ends += 1
                if ends > 1 || handle.isBroken { return }
                continue
            }
            ends = 0
            take(result)
            if isUnintelligible { return }
        }
    }

    private mutating func take(_ result: OpaquePointer) {
        switch PQresultStatus(result) {
        case PGRES_PIPELINE_SYNC:
            isComplete = true
            PQclear(result)
        case PGRES_PIPELINE_ABORTED:
            PQclear(result)
        case PGRES_COPY_IN, PGRES_COPY_OUT, PGRES_COPY_BOTH:
            isUnintelligible = true
            PQclear(result)
        case PGRES_FATAL_ERROR, PGRES_BAD_RESPONSE, PGRES_NONFATAL_ERROR:
            if failure == nil {
                failure = PostgresError(result: result)
                failure?.statementIndex = results.count
            }
            PQclear(result)
        default:
            results.append(QueryResult(adopting: result))
        }
    }
}
