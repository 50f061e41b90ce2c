// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// The kinds that a relay knows, by number, with their policies and what was done of each. A kind has a number for
/// each endpoint that a producer named for it besides, since the endpoint's policy goes before the kind's.
struct KindRegister: Sendable {
    private struct Key: Hashable {
        let kind: String
        let endpoint: String?
    }
    private var numbers: [Key: Int] = [:]
    /// The last that was asked for: tasks come many of a kind, and comparing is quicker than hashing.
    private var last: (key: Key, number: Int)?
    private(set) var names: [String] = []
    private var policies: [KindPolicy] = []
    private var tallies: [Tally] = []
    private let otherKinds: KindPolicy?
    private let endpoints: [String: KindPolicy]
    /// Beyond so many kinds that came by themselves, the rest share one number: a bound on memory.
    private let most = 1000

    init(settings: Engine.Settings) {
        otherKinds = settings.otherKinds
        endpoints = settings.endpoints
        for (name, policy) in settings.kinds.sorted(by: { $0.key < $1.key }) {
            add(Key(kind: name, endpoint: nil), policy)
        }
    }

    @discardableResult
    private mutating func add(_ key: Key, _ policy: KindPolicy) -> Int {
        numbers[key] = names.count
        names.append(key.kind)
        policies.append(policy)
        tallies.append(Tally())
        return names.count - 1
    }

    /// The task's number; `nil` if this relay cannot run it.
    mutating func number(of task: Claimed) -> Int? {
        let key = Key(kind: task.kind, endpoint: task.endpoint)
        if let last, last.key == key { return last.number }
        if let number = numbers[key] {
            last = (key, number)
            return number
        }
        guard let policy = task.endpoint.map({ endpoints[$0] }) ?? otherKinds else { return nil }
        if names.count < most { return add(key, policy) }
        let others = Key(kind: "(other)", endpoint: task.endpoint)
        return numbers[others] ?? add(others, policy)
    }

    func policy(_ number: Int) -> KindPolicy { policies[number] }

    mutating func count(_ number: Int, _ outcome: WritableKeyPath<Tally, Int>) {
        tallies[number][keyPath: outcome] += 1
    }

    mutating func countSucceeded(_ number: Int) { tallies[number].succeeded += 1 }

    mutating func take() -> [String: Tally] {
        var taken: [String: Tally] = [:]
        for number in tallies.indices where tallies[number] != Tally() {
            taken[names[number], default: Tally()].add(tallies[number])
            tallies[number] = Tally()
        }
        return taken
    }

    mutating func giveBack(_ taken: [String: Tally]) {
        for (name, tally) in taken {
            if let number = names.firstIndex(of: name) { tallies[number].add(tally) }
        }
    }
}
