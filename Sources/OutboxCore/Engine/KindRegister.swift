// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// The kinds that a relay knows, by number, with their policies and what was done of each.
struct KindRegister: Sendable {
    private var numbers: [String: Int] = [:]
    private(set) var names: [String] = []
    private var policies: [KindPolicy] = []
    private var tallies: [Tally] = []
    private let otherKinds: KindPolicy?
    /// Beyond so many kinds that came by themselves, the rest share one number: a bound on memory.
    private let most = 1000

    init(settings: Engine.Settings) {
        otherKinds = settings.otherKinds
        for (name, policy) in settings.kinds.sorted(by: { $0.key < $1.key }) { add(name, policy) }
    }

    @discardableResult
    private mutating func add(_ name: String, _ policy: KindPolicy) -> Int {
        numbers[name] = names.count
        names.append(name)
        policies.append(policy)
        tallies.append(Tally())
        return names.count - 1
    }

    /// The kind's number; `nil` if this relay cannot run it.
    mutating func number(of name: String) -> Int? {
        if let number = numbers[name] { return number }
        guard let otherKinds else { return nil }
        if names.count < most { return add(name, otherKinds) }
        return numbers["(other)"] ?? add("(other)", otherKinds)
    }

    func policy(_ number: Int) -> KindPolicy { policies[number] }

    mutating func count(_ number: Int, _ outcome: WritableKeyPath<Tally, Int>) { tallies[number][keyPath: outcome] += 1 }

    mutating func countSucceeded(_ number: Int) { tallies[number].succeeded += 1 }

    mutating func take() -> [String: Tally] {
        var taken: [String: Tally] = [:]
        for number in tallies.indices where tallies[number] != Tally() {
            taken[names[number]] = tallies[number]
            tallies[number] = Tally()
        }
        return taken
    }
}
