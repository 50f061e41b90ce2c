// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Synchronization

/// A value that several have in common, such as a scenario and the closure that fills it.
final class Locked<Value: Sendable>: Sendable {
    private let mutex: Mutex<Value>
    init(_ value: Value) { mutex = Mutex(value) }

    var value: Value { mutex.withLock { $0 } }
    func withLock<R: Sendable>(_ body: (inout sending Value) -> sending R) -> R { mutex.withLock(body) }
    func set(_ value: Value) { mutex.withLock { $0 = value } }
    func append<Element>(_ element: Element) where Value == [Element] { mutex.withLock { $0.append(element) } }
}
