// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import CLibCurl

/// The floor of HTTP delivery: a bare libcurl multi loop on the calling thread that posts one body again and again with
/// the headers that a relay sends. What a relay takes longer than this is the relay's.
///
/// It does what libcurl's own examples do: so many easy handles, prepared once, `perform`, `poll`, and each that is done
/// is added again. No database, no Swift concurrency, no answer is looked at but for its status.
struct CurlFloor {
    let url: String
    let inFlight: Int
    let body: [UInt8]

    struct Failed: Error, CustomStringConvertible {
        let description: String
    }

    /// What a relay sends with a task, so that as many bytes go over the wire.
    private static let headerLines = [
        "Content-Type: application/json",
        #"Idempotency-Key: "01890a5d-ac96-774b-bcce-b302099a8057""#,
        "Expect:",
        "webhook-id: 01890a5d-ac96-774b-bcce-b302099a8057",
        "outbox-attempt: 1",
    ]

    /// Sends so many requests; throws unless each is answered with 200.
    func run(_ requests: Int) throws(Failed) {
        guard let multi = curl_multi_init() else { throw Failed(description: "libcurl has no memory") }
        defer { curl_multi_cleanup(multi) }
        outbox_multi_setopt_long(multi, CURLMOPT_MAXCONNECTS, inFlight * 2)
        var headers: UnsafeMutablePointer<curl_slist>?
        for line in Self.headerLines { headers = curl_slist_append(headers, line) }
        defer { curl_slist_free_all(headers) }

        var handles: [UnsafeMutableRawPointer] = []
        defer { for handle in handles { curl_easy_cleanup(handle) } }
        for _ in 0..<min(inFlight, requests) {
            guard let handle = makeHandle(headers) else { throw Failed(description: "libcurl has no memory") }
            handles.append(handle)
            curl_multi_add_handle(multi, handle)
        }
        defer { for handle in handles { curl_multi_remove_handle(multi, handle) } }

        var started = handles.count
        var done = 0
        while done < requests {
            var running: CInt = 0
            curl_multi_perform(multi, &running)
            var left: CInt = 0
            while let message = curl_multi_info_read(multi, &left) {
                guard let handle = message.pointee.easy_handle else { continue }
                let code = message.pointee.data.result
                var status = 0
                outbox_getinfo_long(handle, CURLINFO_RESPONSE_CODE, &status)
                guard code == CURLE_OK, status == 200 else {
                    throw Failed(description: "the bare loop was answered \(status), libcurl code \(code.rawValue)")
                }
                done += 1
                curl_multi_remove_handle(multi, handle)
                if started < requests {
                    started += 1
                    curl_multi_add_handle(multi, handle)
                }
            }
            if done < requests { curl_multi_poll(multi, nil, 0, 1000, nil) }
        }
    }

    private func makeHandle(_ headers: UnsafeMutablePointer<curl_slist>?) -> UnsafeMutableRawPointer? {
        guard let easy = curl_easy_init() else { return nil }
        outbox_setopt_long(easy, CURLOPT_NOSIGNAL, 1)
        outbox_setopt_long(easy, CURLOPT_POST, 1)
        outbox_setopt_string(easy, CURLOPT_URL, url)
        outbox_setopt_string(easy, CURLOPT_PROXY, "")
        outbox_setopt_string(easy, CURLOPT_USERAGENT, "outbox/0.0.0")
        outbox_setopt_long(easy, CURLOPT_HTTP_VERSION, Int(CURL_HTTP_VERSION_1_1))
        outbox_setopt_list(easy, CURLOPT_HTTPHEADER, headers)
        outbox_setopt_offset(easy, CURLOPT_POSTFIELDSIZE_LARGE, curl_off_t(body.count))
        body.withUnsafeBytes { _ = outbox_setopt_pointer(easy, CURLOPT_COPYPOSTFIELDS, $0.baseAddress) }
        outbox_setopt_callback(easy, CURLOPT_WRITEFUNCTION) { _, size, count, _ in size * count }
        return easy
    }
}
