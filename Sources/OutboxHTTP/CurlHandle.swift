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
    private var headers = HeaderList()
    /// What the options of the last request's target are set for.
    private var target: CurlTarget?
    private var isFreshConnectionSet = false
    /// What libcurl calls back for. The loop holds it; here it is only as long as it runs.
    unowned(unsafe) var transfer: CurlTransfer?
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

        let context = Unmanaged.passUnretained(self).toOpaque()
        outbox_setopt_pointer(easy, CURLOPT_PRIVATE, context)
        outbox_setopt_pointer(easy, CURLOPT_WRITEDATA, context)
        outbox_setopt_pointer(easy, CURLOPT_HEADERDATA, context)
        outbox_setopt_pointer(easy, CURLOPT_PREREQDATA, context)
        outbox_setopt_callback(easy, CURLOPT_WRITEFUNCTION) { data, size, count, context in
            CurlHandle.transfer(context)?.receiveBody(UnsafeRawBufferPointer(start: data, count: size * count)) ?? 0
        }
        outbox_setopt_prerequest(easy) { context, remoteAddress, _, remotePort, localPort in
            let address = remoteAddress.map { String(cString: $0) } ?? ""
            let transfer = CurlHandle.transfer(context)
            let allows = transfer?.allowsRequest(to: address, port: Int(remotePort), from: Int(localPort)) ?? false
            return allows ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT
        }
        outbox_setopt_callback(easy, CURLOPT_HEADERFUNCTION) { _, size, count, context in
            CurlHandle.transfer(context)?.receiveHeader(byteCount: size * count) ?? 0
        }
    }

    /// The transfer that a handle works for, given what libcurl passes to its callbacks.
    private static func transfer(_ context: UnsafeMutableRawPointer?) -> CurlTransfer? {
        context.flatMap { Unmanaged<CurlHandle>.fromOpaque($0).takeUnretainedValue().transfer }
    }

    /// The transfer that an easy handle works for.
    static func transfer(of easy: UnsafeMutableRawPointer) -> CurlTransfer? {
        var context: UnsafeMutableRawPointer?
        outbox_getinfo_pointer(easy, CURLINFO_PRIVATE, &context)
        return transfer(context)
    }

    /// Sets what differs from the last request. The body is copied: libcurl reads it until the transfer ends, and
    /// the memory of a Swift array stays put only within a call.
    func prepare(_ request: CurlRequest) -> CURLcode {
        errorText[0] = 0
        outbox_setopt_list(easy, CURLOPT_HTTPHEADER, headers.set(request.headers))
        outbox_setopt_offset(easy, CURLOPT_POSTFIELDSIZE_LARGE, curl_off_t(request.body.count))
        let copied = request.body.withUnsafeBytes { body in
            // Some pointer even for no bytes: a null one would make libcurl read the body from a callback.
            withUnsafePointer(to: 0 as UInt8) { empty in
                outbox_setopt_pointer(easy, CURLOPT_COPYPOSTFIELDS, body.baseAddress ?? UnsafeRawPointer(empty))
            }
        }
        guard copied == CURLE_OK else { return copied }
        if isFreshConnectionSet != request.needsFreshConnection {
            isFreshConnectionSet = request.needsFreshConnection
            set(CURLOPT_FRESH_CONNECT, isFreshConnectionSet ? 1 : 0)
        }
        return request.target === target ? CURLE_OK : aim(at: request.target)
    }

    private func aim(at new: CurlTarget) -> CURLcode {
        target = nil
        set(CURLOPT_CONNECTTIMEOUT_MS, new.connectTimeout.roundedUpMilliseconds)
        set(CURLOPT_TIMEOUT_MS, new.timeout.roundedUpMilliseconds)
        set(CURLOPT_PROXY, new.proxy ?? "")
        set(CURLOPT_HTTP_VERSION, new.version.curlValue)
        if new.caFile != nil || hasOwnCAFile {
            // A file of one's own replaces the system's authorities, the directory of them included.
            hasOwnCAFile = new.caFile != nil
            set(CURLOPT_CAINFO, new.caFile ?? defaultCAFile)
            set(CURLOPT_CAPATH, hasOwnCAFile ? nil : defaultCADirectory)
        }
        let code = set(CURLOPT_URL, new.url)
        if code == CURLE_OK { target = new }
        return code
    }

    /// Lets go of what belonged to one request, the copy of its body above all.
    func clear() {
        outbox_setopt_pointer(easy, CURLOPT_COPYPOSTFIELDS, nil)
        transfer = nil
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
