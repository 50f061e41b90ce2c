// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

package import Synchronization

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// Keeps one child from inheriting the pipes that are being made for another.
package let spawnLock = Mutex(())

/// The pipes between this process and a child: one to its standard input, one from its output and error output.
///
/// Every end is closed in whatever else this process starts meanwhile: an end that a stranger held would keep the
/// child from ever seeing the end of its input. Making a pipe and marking it are two steps (Swift's Glibc module lacks
/// `pipe2`), so pipes are made, and children are started, under ``spawnLock``.
package final class ChildPipes {
    package private(set) var childInput: CInt = -1
    package private(set) var childOutput: CInt = -1
    package private(set) var input: CInt = -1
    package private(set) var output: CInt = -1

    package init?() {
        guard let (inputReader, inputWriter) = makePipe() else { return nil }
        (childInput, input) = (inputReader, inputWriter)
        // The deinitialiser runs even if this fails, and closes the first pipe.
        guard let (outputReader, outputWriter) = makePipe() else { return nil }
        (output, childOutput) = (outputReader, outputWriter)
        for end in [input, output] { _ = fcntl(end, F_SETFL, fcntl(end, F_GETFL) | O_NONBLOCK) }
    }

    deinit {
        closeChildEnds()
        closeInput()
        close(&output)
    }

    /// After the child has its copies: what is left open then is closed when the child closes it.
    package func closeChildEnds() {
        close(&childInput)
        close(&childOutput)
    }

    /// Tells the child that its input is complete.
    func closeInput() {
        close(&input)
    }

    private func close(_ descriptor: inout CInt) {
        if descriptor >= 0 { closeDescriptor(descriptor) }
        descriptor = -1
    }
}

private func closeDescriptor(_ descriptor: CInt) { _ = close(descriptor) }

private func makePipe() -> (reader: CInt, writer: CInt)? {
    var ends: [CInt] = [-1, -1]
    guard pipe(&ends) == 0 else { return nil }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    return (ends[0], ends[1])
}

/// Feeds a child its input and collects the beginning of its output, as far as either goes without blocking.
struct ChildConversation {
    private let pipes: ChildPipes
    private var unsent: ArraySlice<UInt8>
    private let keep: Int
    private var outputEnded = false
    private(set) var output: [UInt8] = []

    init(pipes: ChildPipes, input: [UInt8], keep: Int) {
        self.pipes = pipes
        self.unsent = input[...]
        self.keep = keep
    }

    /// Waits for either pipe, at most as long as given, then moves what can be moved.
    mutating func advance(for limit: Duration) {
        var ends = [
            // A negative descriptor is skipped; a closed pipe would be reported without end.
            pollfd(fd: pipes.input, events: Int16(POLLOUT), revents: 0),
            pollfd(fd: outputEnded ? -1 : pipes.output, events: Int16(POLLIN), revents: 0),
        ]
        _ = poll(&ends, nfds_t(ends.count), CInt(limit / .milliseconds(1)))
        send()
        receive()
    }

    /// Collects what is still in the pipe after the child has ended. Not until its end: a grandchild may hold it open.
    mutating func drain() {
        receive()
    }

    private mutating func send() {
        guard pipes.input >= 0 else { return }
        while !unsent.isEmpty {
            let sent = unsent.withUnsafeBytes { write(pipes.input, $0.baseAddress, $0.count) }
            if sent > 0 {
                unsent = unsent.dropFirst(sent)
            } else if errno == EAGAIN {
                return
            } else if errno != EINTR {
                // EPIPE: the child does not care for its input. Its exit status says whether that matters.
                break
            }
        }
        pipes.closeInput()
    }

    private mutating func receive() {
        while !outputEnded {
            var buffer = [UInt8](repeating: 0, count: 4096)
            let count = buffer.withUnsafeMutableBytes { read(pipes.output, $0.baseAddress, $0.count) }
            if count > 0 {
                output.append(contentsOf: buffer[..<min(count, keep - output.count)])
            } else if count == 0 {
                outputEnded = true
            } else if errno != EINTR {
                return
            }
        }
    }
}
