// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import CLibCurl
import OutboxCore

/// An easy handle with the options that never change: what makes deliveries safe is set here, once, for all.
///
/// libcurl copies every string that it is given.
final class CurlHandle {
    let easy: UnsafeMutableRawPointer
    /// libcurl writes the text of an error here; it must live as long as the handle.
    private let errorText: UnsafeMutablePointer<CChar>
    private var headers: UnsafeMutablePointer<curl_slist>?
    private var defaultCAFile: String?
    private var defaultCADirectory: String?
    private var hasOwnCAFile = false

    init?() {
        guard let easy = curl_easy_init() else { return nil }
        self.easy = easy
        errorText = .allocate(capacity: Int(CURL_ERROR_SIZE))
        errorText.initialize(repeating: 0, count: Int(CURL_ERROR_SIZE))
        defaultCAFile = text(CURLINFO_CAINFO)
        defaultCADirectory = text(CURLINFO_CAPATH)
        outbox_setopt_pointer(easy, CURLOPT_ERRORBUFFER, errorText)
        setConstantOptions()
    }

    deinit {
        curl_easy_cleanup(easy)
        curl_slist_free_all(headers)
        errorText.deallocate()
    }

    private func setConstantOptions() {
        // Timeouts without SIGALRM: https://curl.se/libcurl/c/CURLOPT_NOSIGNAL.html. The driver's thread has SIGPIPE
        // blocked, which this option would leave to the application.
        set(CURLOPT_NOSIGNAL, 1)
        set(CURLOPT_POST, 1)
        set(CURLOPT_USERAGENT, "outbox/\(OutboxVersion.current)")

        outbox_setopt_close_on_exec(easy)
        // Without this, ending a transfer whose name is still being looked up waits for the look-up, and with it wait
        // all other transfers of this thread (9.7 s were measured with a name server that does not answer):
        // https://curl.se/libcurl/c/CURLOPT_QUICK_EXIT.html
        set(CURLOPT_QUICK_EXIT, 1)

        // The receiver does not choose where the request goes, nor which protocol it becomes.
        set(CURLOPT_FOLLOWLOCATION, 0)
        set(CURLOPT_PROTOCOLS_STR, "http,https")
        set(CURLOPT_REDIR_PROTOCOLS_STR, "http,https")
        set(CURLOPT_HTTP09_ALLOWED, 0)

        // Neither does the environment: "" stands for "no proxy", and no name is exempt from a configured one.
        set(CURLOPT_PROXY, "")
        set(CURLOPT_NOPROXY, "")
        set(CURLOPT_NETRC, Int(CURL_NETRC_IGNORED.rawValue))
        set(CURLOPT_UNRESTRICTED_AUTH, 0)

        set(CURLOPT_SSL_VERIFYPEER, 1)
        set(CURLOPT_SSL_VERIFYHOST, 2)
        set(CURLOPT_SSLVERSION, Int(CURL_SSLVERSION_TLSv1_2))
        set(CURLOPT_PROXY_SSLVERSION, Int(CURL_SSLVERSION_TLSv1_2))

        outbox_setopt_callback(easy, CURLOPT_WRITEFUNCTION) { data, size, count, context in
            CurlTransfer.from(context)?.receiveBody(UnsafeRawBufferPointer(start: data, count: size * count)) ?? 0
        }
        outbox_setopt_prerequest(easy) { context, remoteAddress, _, remotePort, localPort in
            let address = remoteAddress.map { String(cString: $0) } ?? ""
            let transfer = CurlTransfer.from(context)
            let allows = transfer?.allowsRequest(to: address, port: Int(remotePort), from: Int(localPort)) ?? false
            return allows ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT
        }
        outbox_setopt_callback(easy, CURLOPT_HEADERFUNCTION) { _, size, count, context in
            CurlTransfer.from(context)?.receiveHeader(byteCount: size * count) ?? 0
        }
    }

    /// Sets what differs from request to request. The body is copied: libcurl reads it until the transfer ends, and
    /// the memory of a Swift array stays put only within a call.
    func prepare(_ request: CurlRequest) -> CURLcode {
        errorText[0] = 0
        for line in request.headerLines {
            guard let longer = curl_slist_append(headers, line) else { return CURLE_OUT_OF_MEMORY }
            headers = longer
        }
        outbox_setopt_list(easy, CURLOPT_HTTPHEADER, headers)
        outbox_setopt_offset(easy, CURLOPT_POSTFIELDSIZE_LARGE, curl_off_t(request.body.count))
        let copied = request.body.withUnsafeBytes { body in
            // Some pointer even for no bytes: a null one would make libcurl read the body from a callback.
            withUnsafePointer(to: 0 as UInt8) { empty in
                outbox_setopt_pointer(easy, CURLOPT_COPYPOSTFIELDS, body.baseAddress ?? UnsafeRawPointer(empty))
            }
        }
        guard copied == CURLE_OK else { return copied }
        set(CURLOPT_CONNECTTIMEOUT_MS, request.connectTimeout.roundedUpMilliseconds)
        set(CURLOPT_TIMEOUT_MS, request.timeout.roundedUpMilliseconds)
        set(CURLOPT_PROXY, request.proxy ?? "")
        set(CURLOPT_FRESH_CONNECT, request.needsFreshConnection ? 1 : 0)
        set(CURLOPT_HTTP_VERSION, request.version.curlValue)
        if request.caFile != nil || hasOwnCAFile {
            // A file of one's own replaces the system's authorities, the directory of them included.
            hasOwnCAFile = request.caFile != nil
            set(CURLOPT_CAINFO, request.caFile ?? defaultCAFile)
            set(CURLOPT_CAPATH, hasOwnCAFile ? nil : defaultCADirectory)
        }
        return set(CURLOPT_URL, request.url)
    }

    /// Lets go of what belonged to one request, the copy of its body above all.
    func clear() {
        outbox_setopt_pointer(easy, CURLOPT_COPYPOSTFIELDS, nil)
        outbox_setopt_list(easy, CURLOPT_HTTPHEADER, nil)
        curl_slist_free_all(headers)
        headers = nil
    }

    /// What libcurl says about the last error, if it said anything.
    var errorMessage: String? {
        errorText[0] == 0 ? nil : String(cString: errorText)
    }

    /// A header of the final answer, informational ones (1xx) aside; of several the last.
    func answerHeader(_ name: String) -> String? {
        var header: UnsafeMutablePointer<curl_header>?
        guard curl_easy_header(easy, name, 0, CUnsignedInt(CURLH_HEADER), -1, &header) == CURLHE_OK else { return nil }
        return header.map { String(cString: $0.pointee.value) }
    }

    func number(_ info: CURLINFO) -> Int {
        var value = 0
        outbox_getinfo_long(easy, info, &value)
        return value
    }

    func duration(_ info: CURLINFO) -> Duration {
        var microseconds: curl_off_t = 0
        outbox_getinfo_offset(easy, info, &microseconds)
        return .microseconds(Int64(microseconds))
    }

    func text(_ info: CURLINFO) -> String? {
        var value: UnsafeMutablePointer<CChar>?
        outbox_getinfo_string(easy, info, &value)
        return value.map { String(cString: $0) }
    }

    private func set(_ option: CURLoption, _ value: Int) {
        outbox_setopt_long(easy, option, value)
    }

    @discardableResult
    private func set(_ option: CURLoption, _ value: String?) -> CURLcode {
        outbox_setopt_string(easy, option, value)
    }
}
