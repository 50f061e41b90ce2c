// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import CLibCurl
import OutboxCore

/// One request on its way, with what has come back so far. Confined to the driver's thread like its loop.
final class CurlTransfer {
    let job: CurlJob
    let handle: CurlHandle
    private let limits: CurlDriver.Limits
    private let kept: KeptConnections
    private var bodyStart: [UInt8] = []
    private var bodyBytes = 0
    private var headerBytes = 0
    private var requests = 0

    init(job: CurlJob, handle: CurlHandle, limits: CurlDriver.Limits, kept: KeptConnections) {
        self.job = job
        self.handle = handle
        self.limits = limits
        self.kept = kept
    }

    func prepare() throws(CurlError) {
        handle.transfer = self
        let code = handle.prepare(job.request)
        if code != CURLE_OK { throw failure(code) }
    }

    // MARK: What libcurl calls

    /// Whether a request may be sent, asked when a connection stands.
    ///
    /// Only once: where a kept connection breaks before an answer, libcurl would send the request again by itself, and
    /// the receiver would see one attempt twice. And not on a kept connection on which something has come unasked for:
    /// it would be taken for the answer, whatever the server says to this request.
    func allowsRequest(to address: String, port: Int, from localPort: Int) -> Bool {
        guard requests == 0 else {
            requests += 1
            return false
        }
        guard job.mayBeSent() else {
            isRevoked = true
            return false
        }
        // of HTTP/2, whose server may speak at any time, libcurl tells the answers apart
        let isKept = handle.number(CURLINFO_NUM_CONNECTS) == 0
        if isKept, job.request.target.version == .http1 {
            let unread = kept.hasUnreadInput(remoteAddress: address, remotePort: port, localPort: localPort)
            if unread == true {
                needsAnotherConnection = true
                return false
            }
            isKnownConnection = unread != nil
        }
        requests += 1
        return true
    }

    /// Whether the connection is among those that were kept, with its socket.
    private(set) var isKnownConnection = false

    /// Nothing was sent, since it was too late for it.
    private var isRevoked = false

    /// Nothing was sent, since the kept connection was not clean.
    private(set) var needsAnotherConnection = false

    /// Keeps the beginning. Any number but the given one makes libcurl end the transfer with `CURLE_WRITE_ERROR`.
    func receiveBody(_ bytes: UnsafeRawBufferPointer) -> Int {
        bodyBytes += bytes.count
        bodyStart.append(contentsOf: bytes.prefix(HTTPAnswer.excerptBytes - bodyStart.count))
        return isCutOff ? 0 : bytes.count
    }

    /// Only counts: libcurl itself keeps the headers for `curl_easy_header`, and before 8.4 it keeps any number.
    func receiveHeader(byteCount: Int) -> Int {
        headerBytes += byteCount
        return headerBytes > limits.headerBytes ? 0 : byteCount
    }

    private var isCutOff: Bool { bodyBytes > limits.bodyBytes }

    // MARK: The end

    func result(_ code: CURLcode) -> Result<CurlResponse, any Error> {
        if isRevoked { return .failure(CancellationError()) }
        guard code == CURLE_OK || code == CURLE_WRITE_ERROR && isCutOff else { return .failure(failure(code)) }
        let status = handle.number(CURLINFO_RESPONSE_CODE)
        let isSuccess = (200...299).contains(status)
        return .success(
            CurlResponse(
                status: status,
                retryAfter: isSuccess ? nil : handle.answerHeader("Retry-After"),
                location: isSuccess ? nil : handle.answerHeader("Location"),
                bodyStart: bodyStart,
                isCutOff: isCutOff,
                total: handle.duration(CURLINFO_TOTAL_TIME_T),
                connect: handle.duration(CURLINFO_CONNECT_TIME_T)
            ))
    }

    private func failure(_ code: CURLcode) -> CurlError {
        let description = String(cString: curl_easy_strerror(code))
        let total = handle.duration(CURLINFO_TOTAL_TIME_T)
        return .failed(
            kind(of: code),
            message: requests > 1 ? "the connection broke before an answer came" : handle.errorMessage ?? description,
            detail: "curl error \(code.rawValue) (\(description)) after \(total)"
        )
    }

    /// What a libcurl code means, with a look at how far the transfer had come where the code leaves that open.
    /// <https://curl.se/libcurl/c/libcurl-errors.html>
    private func kind(of code: CURLcode) -> TransportFailure {
        switch code {
        case CURLE_COULDNT_RESOLVE_HOST: .dns
        case CURLE_COULDNT_RESOLVE_PROXY, CURLE_PROXY: .proxy
        // With a proxy, it is the proxy that one connects to.
        case CURLE_COULDNT_CONNECT: job.request.target.proxy == nil ? .connect : .proxy
        case CURLE_OPERATION_TIMEDOUT: timedOutKind

        case CURLE_SSL_CONNECT_ERROR, CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CERTPROBLEM, CURLE_SSL_CIPHER,
            CURLE_SSL_CACERT_BADFILE, CURLE_SSL_ISSUER_ERROR, CURLE_SSL_INVALIDCERTSTATUS, CURLE_SSL_CLIENTCERT,
            CURLE_SSL_PINNEDPUBKEYNOTMATCH, CURLE_USE_SSL_FAILED, CURLE_SSL_ENGINE_INITFAILED,
            CURLE_SSL_SHUTDOWN_FAILED:
            .tls

        // A proxy that refuses to open a tunnel shows as a broken connection.
        case CURLE_RECV_ERROR, CURLE_SEND_ERROR: isTunnelRefused ? .proxy : .reset
        case CURLE_GOT_NOTHING, CURLE_PARTIAL_FILE, CURLE_HTTP2, CURLE_HTTP2_STREAM, CURLE_SEND_FAIL_REWIND: .reset
        case CURLE_ABORTED_BY_CALLBACK where requests > 1: .reset

        // Our callbacks refuse nothing but a body beyond its limit, which is no failure, and headers beyond theirs.
        case CURLE_WRITE_ERROR, CURLE_WEIRD_SERVER_REPLY, CURLE_UNSUPPORTED_PROTOCOL, CURLE_BAD_CONTENT_ENCODING:
            .malformedAnswer

        case CURLE_URL_MALFORMAT, CURLE_BAD_FUNCTION_ARGUMENT: .invalidRequest
        case CURLE_OUT_OF_MEMORY, CURLE_FAILED_INIT: .local
        default: .transport
        }
    }

    /// Ready to send is the one mark that a connection used again passes too; the earlier ones stay zero then.
    private var timedOutKind: TransportFailure {
        if handle.duration(CURLINFO_PRETRANSFER_TIME_T) > .zero { return .timeout }
        if handle.duration(CURLINFO_NAMELOOKUP_TIME_T) == .zero { return .dnsTimeout }
        return job.request.target.proxy == nil ? .connect : .proxy
    }

    private var isTunnelRefused: Bool {
        let status = handle.number(CURLINFO_HTTP_CONNECTCODE)
        return status != 0 && !(200...299).contains(status)
    }
}
