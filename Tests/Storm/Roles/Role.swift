// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import Foundation
import OutboxRelay

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// What this program is when it has started itself again.
enum Role: String {
    case producer, receiver, handlers, proxy, warden

    func play(_ argument: String) async throws {
        func order<T: Decodable>(_ type: T.Type) throws -> T {
            try JSONDecoder().decode(type, from: Data(argument.utf8))
        }
        signal(SIGPIPE, SIG_IGN)
        switch self {
        case .producer: try await Producer(order(Producer.Order.self)).run()
        case .receiver: try Receiver(order(Receiver.Order.self)).run()
        case .handlers: try await Handlers(order(Handlers.Order.self)).run()
        case .proxy: try Proxy(order(Proxy.Order.self)).run()
        case .warden: Warden.run(directory: argument)
        }
    }

    /// Reads orders until the input ends, and this process with it: nobody outlives the storm.
    static func obey(_ each: @escaping @Sendable (String) -> Void = { _ in }) throws {
        let started = DetachedThread.start {
            var reader = LineReader(0)
            while let line = reader.next() { each(line) }
            _exit(0)
        }
        guard started else { throw StormError("the system has no room for another thread") }
    }
}

/// Ends the processes of a storm that was itself ended in the middle, and removes its directory.
///
/// `+PID SIGNAL` enters a process and `-PID` strikes it out. Sidecars do not know that they are part of a storm, so that
/// somebody has to outlive it.
enum Warden {
    static func run(directory: String) {
        var reader = LineReader(0)
        var processes: [pid_t: CInt] = [:]
        while let line = reader.next() {
            let words = line.dropFirst().split(separator: " ").compactMap { Int32($0) }
            guard let process = words.first else { continue }
            processes[process] = line.hasPrefix("+") ? words.last : nil
        }
        for (process, signal) in processes {
            kill(process, SIGCONT)
            kill(process, signal)
        }
        guard directory.hasPrefix("/tmp/outbox-storm-") else { return }
        usleep(500_000)
        #if os(Linux)
        // a file system that a scenario mounted there
        umount2("\(directory)/disk", 2)
        #endif
        try? FileManager.default.removeItem(atPath: directory)
    }
}
