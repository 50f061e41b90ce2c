// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import OutboxCore
import OutboxRelay
import Testing

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// Real programs, started by the channel. The shell is only there to write them in one line.
@Suite struct CommandChannelTests {
    private func channel(
        _ script: String, environment: [String: String] = [:], timeout: Duration = .seconds(30),
        grace: Duration = .seconds(30)
    ) throws -> CommandChannel {
        try CommandChannel(
            name: "cmd", command: ["/bin/sh", "-c", script, "sh"], environment: environment, timeout: timeout,
            grace: grace)
    }

    private func failure(_ script: String, timeout: Duration = .seconds(30), grace: Duration = .seconds(30)) async
        -> AlertError?
    {
        await #expect(throws: AlertError.self) {
            try await channel(script, timeout: timeout, grace: grace).send(testAlert)
        }
    }

    @Test func theAlertArrivesOnStandardInputAndZeroIsSuccess() async throws {
        try await channel("[ \"$(cat)\" = \"$EXPECTED\" ]", environment: ["EXPECTED": testAlertJSON]).send(testAlert)
        let echoed = await failure("cat; exit 3")
        #expect(echoed?.code == .refused)
        #expect(echoed?.message == "/bin/sh exited with 3. It said: \(String(reflecting: testAlertJSON))")
    }

    @Test func independentParsersReadTheJSON() async throws {
        guard access("/usr/bin/python3", X_OK) == 0 else { return }
        let program = """
            import json,sys; a=json.load(sys.stdin); d=a["data"]
            sys.exit(0 if a["type"]=="outbox.dead_letter.opened" and d["message"]==sys.argv[1] and d["count"]==3 else 1)
            """
        var alert = testAlert
        alert.message = "tab\t nul\u{1} quote\" back\\ é 😀 \u{2028}"
        try await CommandChannel(command: ["/usr/bin/python3", "-c", program, alert.message]).send(alert)
    }

    @Test func failingProgramsThrowWhatTheySaid() async throws {
        #expect(
            await failure("echo out; echo err >&2; exit 1")?.message == #"/bin/sh exited with 1. It said: "out\nerr\n""#
        )
        #expect(await failure("kill -9 $$")?.message == "/bin/sh was ended by signal 9.")
        let missing = await #expect(throws: AlertError.self) {
            try await CommandChannel(command: ["/no/such/program"]).send(testAlert)
        }
        #expect(missing?.code == .notSent && missing?.message.contains("No such file") == true)
        #expect(throws: AlertError.self) { try CommandChannel(command: []) }
        #expect(throws: AlertError.self) { try CommandChannel(command: ["a\0b"]) }
        #expect(throws: AlertError.self) { try CommandChannel(command: ["a"], environment: ["B=C": "d"]) }
    }

    @Test func theProgramIsFoundInPATHAndSeesLittleElse() async throws {
        setenv("OUTBOX_TEST_SECRET", "s", 1)
        try await CommandChannel(command: ["true"]).send(testAlert)
        let seen = await failure("echo ${OUTBOX_TEST_SECRET-none} ${HOME-none} ${PATH:+path}; exit 1")
        #expect(seen?.message.contains(#""none none path\n""#) == true, "\(seen?.message ?? "")")
    }

    #if os(Linux)
    /// The channel's own thread has its signals blocked; a program that inherited that could not be ended politely.
    @Test func theProgramHasNoSignalBlockedOrIgnored() async throws {
        // The C library ignores two signals of its own, the highest bits here, in every program that it starts.
        for line in ["SigBlk:.0000000000000000", "SigIgn:.0000000[01][08]0000000"] {
            try await CommandChannel(command: ["grep", "-q", line, "/proc/self/status"]).send(testAlert)
        }
    }
    #endif

    @Test func argumentsAreNotInterpreted() async throws {
        let text = "$(echo x); `echo y` > /tmp/z 'a' \"b\""
        let error = await #expect(throws: AlertError.self) {
            try await CommandChannel(command: ["/bin/sh", "-c", "printf %s \"$1\"; exit 1", "sh", text]).send(testAlert)
        }
        #expect(error?.message.hasSuffix(String(reflecting: text)) == true)
    }

    @Test func outputIsCappedAndNeverBlocksTheProgram() async throws {
        let error = await failure("head -c 1000000 /dev/zero | tr '\\0' 'x'; exit 1")
        #expect(error?.message.count(where: { $0 == "x" }) == 4096 + "exited".count(where: { $0 == "x" }))
        try await channel("head -c 1000000 /dev/zero; exit 0").send(testAlert)
    }

    @Test func aProgramNeedNotReadItsInput() async throws {
        var alert = testAlert
        alert.message = String(repeating: "long ", count: 100_000)
        try await channel("exec <&-; exit 0").send(alert)
        try await channel("exit 0").send(alert)
        try await channel("exec <&-; exec sleep 0.1").send(alert)
    }

    @Test func theWholeGroupEndsWhenTimeIsUp() async throws {
        // The pipe to its output stays open as long as the grandchild lives; it also ignores the polite signal.
        let error = await failure(
            "trap '' TERM; (trap '' TERM; sleep 1000) & echo $! $$; wait", timeout: .seconds(2),
            grace: .milliseconds(100))
        #expect(error?.code == .timedOut)
        let quoted = try #require(error?.message.split(separator: "\"").last)
        let pids = quoted.dropLast(2).split(separator: " ").compactMap { pid_t($0) }
        #expect(pids.count == 2)
        for pid in pids { #expect(await isGone(pid)) }
    }

    @Test func aPoliteProgramEndsAtTheFirstSignal() async throws {
        let error = await failure(
            "trap 'echo bye; exit 0' TERM; echo hi; while :; do sleep 0.05; done", timeout: .seconds(2))
        #expect(error?.code == .timedOut)
        let said = error?.message ?? ""
        #expect(said.contains("hi\\n") && said.contains("bye\\n"), "\(said)")
    }

    @Test func cancellationEndsTheProgram() async throws {
        let channel = try channel("exec sleep 1000")
        let sending = Task { try await channel.send(testAlert) }
        sending.cancel()
        await #expect(throws: CancellationError.self) { try await sending.value }
    }

    @Test func aDaemonLeftBehindDoesNotHoldTheAlertUp() async throws {
        let error = await failure("sleep 5 & echo $!; exit 4")
        #expect(error?.message.hasPrefix("/bin/sh exited with 4.") == true)
        if let pid = error?.message.split(separator: "\"").last?.dropLast(2), let pid = pid_t(pid) {
            kill(pid, SIGKILL)
        }
    }

    /// The kernel may take a moment to bury a killed process whose parent has gone too.
    private func isGone(_ pid: pid_t) async -> Bool {
        for _ in 0..<100_000 {
            if kill(pid, 0) != 0 || isZombie(pid) { return true }
            await Task.yield()
        }
        return false
    }

    /// In a container without an init process, orphans stay as zombies.
    private func isZombie(_ pid: pid_t) -> Bool {
        guard let file = fopen("/proc/\(pid)/stat", "r") else { return true }
        defer { fclose(file) }
        var buffer = [CChar](repeating: 0, count: 256)
        guard fgets(&buffer, 256, file) != nil else { return true }
        return String(decoding: buffer.map { UInt8(bitPattern: $0) }, as: UTF8.self).contains(") Z ")
    }
}
