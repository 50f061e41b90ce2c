// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

import CLibCurl

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// Checks an endpoint's URLs with libcurl's own parser, so that what is checked is what is dialled: two parsers that
/// disagree about where the host ends are how checks are passed by
/// (<https://curl.se/libcurl/c/libcurl-security.html>, "RFC 3986 vs WHATWG URL").
enum EndpointURL {
    /// The normalised URL.
    static func checked(_ url: String, endpoint: String) throws(HTTPEndpointError) -> String {
        func problem(_ message: String) -> HTTPEndpointError {
            HTTPEndpointError(.invalidURL, endpoint: endpoint, message: message)
        }
        guard !url.isEmpty, url.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
            throw problem(
                "The URL is empty or holds a space, a control character or a character outside ASCII: "
                    + "percent-encode the path and query, write the host in its xn-- form.")
        }
        guard let parts = Parts(url) else {
            throw problem("The URL cannot be read: write it in full, like https://example.com/hooks.")
        }
        guard parts.scheme == "http" || parts.scheme == "https" else {
            throw problem("The URL begins with \(parts.scheme)://: only http:// and https:// are spoken.")
        }
        guard parts.user == nil, parts.password == nil else {
            throw problem("The URL holds a user name or password: put them into an Authorization header instead.")
        }
        guard parts.fragment == nil else {
            throw problem("The URL has a fragment (#…), which is never sent: remove it.")
        }
        return parts.url
    }

    /// The proxy's URL as given. A user name and password are allowed: a proxy has no header to put them into.
    static func checkedProxy(_ url: String, endpoint: String) throws(HTTPEndpointError) -> String {
        guard let parts = Parts(url), ["http", "https", "socks5", "socks5h"].contains(parts.scheme) else {
            throw HTTPEndpointError(
                .invalidProxy, endpoint: endpoint,
                message: "The proxy is not a URL of the kind http://, https://, socks5:// or socks5h://. "
                    + "Leave it out to connect directly.")
        }
        return url
    }

    static func isReadable(_ path: String) -> Bool { access(path, R_OK) == 0 }

    private struct Parts {
        let url: String
        let scheme: String
        let user: String?
        let password: String?
        let fragment: String?

        init?(_ text: String) {
            guard !text.isEmpty, let handle = curl_url() else { return nil }
            defer { curl_url_cleanup(handle) }
            func part(_ part: CURLUPart) -> String? {
                var value: UnsafeMutablePointer<CChar>?
                guard curl_url_get(handle, part, &value, 0) == CURLUE_OK, let value else { return nil }
                defer { curl_free(value) }
                return String(cString: value)
            }
            // Without CURLU_NON_SUPPORT_SCHEME a scheme that this libcurl was built without would look like bad syntax.
            guard curl_url_set(handle, CURLUPART_URL, text, CUnsignedInt(CURLU_NON_SUPPORT_SCHEME)) == CURLUE_OK,
                let url = part(CURLUPART_URL), let scheme = part(CURLUPART_SCHEME)
            else { return nil }
            self.url = url
            self.scheme = scheme
            user = part(CURLUPART_USER)
            password = part(CURLUPART_PASSWORD)
            fragment = part(CURLUPART_FRAGMENT)
        }
    }
}
