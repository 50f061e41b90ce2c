#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Copyright the Outbox project authors
#
# setup.sh: installs what building and testing needs and is missing; says nothing if nothing is.
#
# On Debian and Ubuntu it calls apt-get, as root or by a sudo that asks for no password. Elsewhere, and without that
# right, it says what to install and exits with 69. With OUTBOX_DATABASE_URL set no Postgres server is needed here.
# Installing Debian's postgresql starts a cluster of its own; nothing here uses it or changes it.
set -eu

has() { command -v "$1" >/dev/null 2>&1; }

give_up() {
    printf '%s\n' "$@" >&2
    exit 69
}

# Swift is the one thing that is not in the distribution.
has swift || give_up "There is no Swift toolchain on the PATH. Install Swift 6: https://www.swift.org/install"
major=$(swift --version 2>/dev/null | sed -n 's/.*Swift version \([0-9][0-9]*\).*/\1/p' | head -n 1)
[ "${major:-0}" -ge 6 ] || give_up "Swift 6 or newer is needed, this is ${major:-unknown}: https://www.swift.org/install"

has_server() {
    [ -n "${OUTBOX_DATABASE_URL:-}" ] || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || has initdb
}
has_library() { has pkg-config && pkg-config --exists "$1"; }

if [ "$(uname -s)" = Darwin ]; then
    missing=
    has pkg-config || missing="$missing pkg-config"
    has_library libpq || [ -d "$(brew --prefix libpq 2>/dev/null)" ] || missing="$missing libpq"
    has_library libcurl || [ -d "$(brew --prefix curl 2>/dev/null)" ] || missing="$missing curl"
    has_server || missing="$missing postgresql"
    [ -z "$missing" ] || give_up "Missing:$missing" "Run: brew install libpq curl postgresql pkg-config" \
        "and let pkg-config find them: export PKG_CONFIG_PATH=\"\$(brew --prefix libpq)/lib/pkgconfig:\$(brew --prefix curl)/lib/pkgconfig\""
    exit 0
fi

missing=
has pkg-config || missing="$missing pkg-config"
has_library libpq || dpkg -s libpq-dev >/dev/null 2>&1 || missing="$missing libpq-dev"
has_library libcurl || dpkg -s libcurl4-openssl-dev >/dev/null 2>&1 || missing="$missing libcurl4-openssl-dev"
has_server || missing="$missing postgresql"
[ -n "$missing" ] || exit 0

has apt-get || give_up "Missing, by the names of Debian:$missing" "Install them with this system's package manager."
if [ "$(id -u)" = 0 ]; then
    sudo=
elif has sudo && sudo -n true 2>/dev/null; then
    sudo="sudo -n"
else
    set -- "Missing:$missing" "There is no right to install here. Let somebody who has it run:" \
        "  apt-get install -y$missing"
    case $missing in
    *\ postgresql*) set -- "$@" "Or, instead of postgresql, set OUTBOX_DATABASE_URL to a server on which databases may be created:" \
        "  export OUTBOX_DATABASE_URL=postgresql://user:password@host:5432/postgres" ;;
    esac
    give_up "$@"
fi

echo "installing$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# A fresh image has no lists of packages; one that has them is not asked to fetch them again.
# shellcheck disable=SC2086  # the words of $sudo and $missing are meant to be split
install() {
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing >"$log" 2>&1
}
install || { $sudo apt-get update -q >"$log" 2>&1 && install; } || {
    tail -n 20 "$log" >&2
    give_up "apt-get could not install$missing"
}
