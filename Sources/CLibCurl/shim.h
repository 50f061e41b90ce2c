// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors
//
// libcurl's option functions are variadic, which Swift does not import: one wrapper per type of argument.
// The parentheses around the callee keep curl's type-checking macros of the same names out of the way.
#pragma once
#include <curl/curl.h>
#include <fcntl.h>
#include <sys/socket.h>

#if LIBCURL_VERSION_NUM < 0x075700
#error "Outbox needs libcurl 7.87 or newer (CURLOPT_QUICK_EXIT; before it CURLOPT_PROTOCOLS_STR, curl_easy_header)."
#endif

typedef size_t (*outbox_data_callback)(char *data, size_t size, size_t count, void *context);

static inline CURLcode outbox_setopt_long(CURL *easy, CURLoption option, long value) {
    return (curl_easy_setopt)(easy, option, value);
}
static inline CURLcode outbox_setopt_offset(CURL *easy, CURLoption option, curl_off_t value) {
    return (curl_easy_setopt)(easy, option, value);
}
static inline CURLcode outbox_setopt_string(CURL *easy, CURLoption option, const char *value) {
    return (curl_easy_setopt)(easy, option, value);
}
static inline CURLcode outbox_setopt_pointer(CURL *easy, CURLoption option, const void *value) {
    return (curl_easy_setopt)(easy, option, value);
}
static inline CURLcode outbox_setopt_list(CURL *easy, CURLoption option, struct curl_slist *value) {
    return (curl_easy_setopt)(easy, option, value);
}
static inline CURLcode outbox_setopt_callback(CURL *easy, CURLoption option, outbox_data_callback value) {
    return (curl_easy_setopt)(easy, option, value);
}
static inline CURLcode outbox_setopt_prerequest(CURL *easy, curl_prereq_callback value) {
    return (curl_easy_setopt)(easy, CURLOPT_PREREQFUNCTION, value);
}
static inline CURLMcode outbox_multi_setopt_long(CURLM *multi, CURLMoption option, long value) {
    return (curl_multi_setopt)(multi, option, value);
}
static inline CURLcode outbox_getinfo_long(CURL *easy, CURLINFO info, long *value) {
    return (curl_easy_getinfo)(easy, info, value);
}
static inline CURLcode outbox_getinfo_offset(CURL *easy, CURLINFO info, curl_off_t *value) {
    return (curl_easy_getinfo)(easy, info, value);
}
static inline CURLcode outbox_getinfo_pointer(CURL *easy, CURLINFO info, void **value) {
    return (curl_easy_getinfo)(easy, info, value);
}
static inline CURLcode outbox_getinfo_string(CURL *easy, CURLINFO info, char **value) {
    return (curl_easy_getinfo)(easy, info, value);
}

static inline CURLcode outbox_getinfo_socket(CURL *easy, CURLINFO info, curl_socket_t *value) {
    return (curl_easy_getinfo)(easy, info, value);
}

// libcurl's own sockets stay open in every program that this process starts; these do not.
static inline curl_socket_t outbox_open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address) {
    (void)context;
    (void)purpose;
#ifdef SOCK_CLOEXEC
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
#else
    curl_socket_t opened = socket(address->family, address->socktype, address->protocol);
    if (opened != CURL_SOCKET_BAD) fcntl(opened, F_SETFD, FD_CLOEXEC);
    return opened;
#endif
}
static inline CURLcode outbox_setopt_close_on_exec(CURL *easy) {
    return (curl_easy_setopt)(easy, CURLOPT_OPENSOCKETFUNCTION, outbox_open_socket);
}
