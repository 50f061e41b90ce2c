#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Copyright the Outbox project authors
#
# demo.sh: builds the demonstration in examples/orders and plays it.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
"$root/scripts/setup.sh"
cd "$root/examples/orders"

echo "building the demonstration; the first time this takes a minute or two ..."
echo
log=$(mktemp)
trap 'rm -f "$log"' EXIT
trap 'exit 130' INT TERM HUP    # or dash ends without its EXIT trap
# Without its cache SwiftPM looks again which files there are: a file that is new in a package that is depended on by
# its path goes unnoticed otherwise, and the build fails for want of it.
if ! swift build --disable-build-manifest-caching >"$log" 2>&1; then
    grep -E 'error:|warning: .*pkg-config' "$log" >&2 || tail -n 40 "$log" >&2
    exit 1
fi
rm -f "$log"
trap - EXIT INT TERM HUP
# exec: a signal from the terminal, or kill, reaches the demonstration itself
exec "$(swift build --show-bin-path)/demo" "$root"
