// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

// `import Outbox` is all that a service needs: the database, the transaction and the values that tasks are made of.
@_exported public import OutboxCore
@_exported public import PostgresClient
