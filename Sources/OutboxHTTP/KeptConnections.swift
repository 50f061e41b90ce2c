// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import CLibCurl

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// The sockets of connections that have served a request, so that they can be looked at before they serve another.
///
/// What a server sends on an idle connection would be taken for the answer to the next request, whatever that one's
/// answer is: libcurl does not look. Nor does it tell which socket a request is about to use, only between which
/// addresses; so the socket is noted when a transfer has finished, where libcurl does tell. A note of a connection
/// that is closed does no harm: one with the same addresses notes itself anew before it is used again.
final class KeptConnections {
    private struct Ends: Hashable {
        let remoteAddress: String
        let remotePort: Int
        let localPort: Int

        /// Our own port tells nearly all of them apart: hashing an address takes longer than comparing it.
        func hash(into hasher: inout Hasher) {
            hasher.combine(localPort)
        }
    }
    private var sockets: [Ends: curl_socket_t] = [:]
    /// Beyond so many notes, most of them of closed connections, they are made anew.
    private let most: Int

    init(most: Int) {
        self.most = most
    }

    func note(_ handle: CurlHandle) {
        var socket = CURL_SOCKET_BAD
        guard outbox_getinfo_socket(handle.easy, CURLINFO_ACTIVESOCKET, &socket) == CURLE_OK, socket != CURL_SOCKET_BAD,
            let address = handle.text(CURLINFO_PRIMARY_IP)
        else { return }
        if sockets.count > most { sockets = [:] }
        let ends = Ends(
            remoteAddress: address, remotePort: handle.number(CURLINFO_PRIMARY_PORT),
            localPort: handle.number(CURLINFO_LOCAL_PORT))
        sockets[ends] = socket
    }

    /// Whether something can be read from a connection that was kept, without reading it; `nil` if its socket is not known.
    func hasUnreadInput(remoteAddress: String, remotePort: Int, localPort: Int) -> Bool? {
        let ends = Ends(remoteAddress: remoteAddress, remotePort: remotePort, localPort: localPort)
        guard let socket = sockets[ends] else { return nil }
        var byte: UInt8 = 0
        return recv(socket, &byte, 1, CInt(MSG_PEEK) | CInt(MSG_DONTWAIT)) > 0
    }
}
