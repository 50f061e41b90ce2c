// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

#if canImport(Darwin)
package import Darwin
#else
package import Glibc
#endif

/// Why a program was not started, as an `errno`.
package struct SpawnFailure: Error {
    package let number: CInt
}

/// Starts a program with `posix_spawnp`: directly, in a process group of its own, with no signal blocked and with the
/// pipes' ends as its standard streams. The relay's other descriptors are marked close-on-exec where they are made.
package func spawn(_ command: [String], environment: [String: String], pipes: ChildPipes) -> Result<pid_t, SpawnFailure>
{
    #if canImport(Darwin)
    var actions: posix_spawn_file_actions_t?
    var attributes: posix_spawnattr_t?
    #else
    var actions = posix_spawn_file_actions_t()
    var attributes = posix_spawnattr_t()
    #endif
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, pipes.childInput, 0)
    posix_spawn_file_actions_adddup2(&actions, pipes.childOutput, 1)
    posix_spawn_file_actions_adddup2(&actions, pipes.childOutput, 2)

    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var flags = CInt(POSIX_SPAWN_SETPGROUP) | CInt(POSIX_SPAWN_SETSIGMASK) | CInt(POSIX_SPAWN_SETSIGDEF)
    #if canImport(Darwin)
    flags |= CInt(POSIX_SPAWN_CLOEXEC_DEFAULT)
    #endif
    posix_spawnattr_setflags(&attributes, Int16(flags))
    posix_spawnattr_setpgroup(&attributes, 0)
    // This thread has its signals blocked, which a child would inherit, and some services ignore SIGPIPE.
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    var all = sigset_t()
    sigfillset(&all)
    posix_spawnattr_setsigdefault(&attributes, &all)

    var variables = environment
    if variables["PATH"] == nil, let path = getenv("PATH") { variables["PATH"] = String(cString: path) }
    var process: pid_t = 0
    let result = withCStrings(command) { arguments in
        withCStrings(variables.map { "\($0.key)=\($0.value)" }) { variables in
            posix_spawnp(&process, command[0], &actions, &attributes, arguments, variables)
        }
    }
    return result == 0 ? .success(process) : .failure(SpawnFailure(number: result))
}

/// Calls `body` with a null-terminated array of C strings that lives as long as the call.
private func withCStrings<R>(_ texts: [String], _ body: ([UnsafeMutablePointer<CChar>?]) -> R) -> R {
    let pointers = texts.map { strdup($0) }
    defer { for pointer in pointers { free(pointer) } }
    return body(pointers + [nil])
}
