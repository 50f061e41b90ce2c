#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Copyright the Outbox project authors
#
# check-linkage.sh: a service that only enqueues must need libpq and must not need libcurl, nor build what uses it.
# Exit status: 1 if it does.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root/examples/enqueue-only"

began=$(date +%s)
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# without its cache, SwiftPM notices new files of the library
swift build --disable-build-manifest-caching >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
binary=$(swift build --show-bin-path)/enqueue-only
echo "enqueue-only is built in $(($(date +%s) - began)) s"

if command -v readelf >/dev/null 2>&1; then
    # what the program itself asks for
    needed=$(readelf -d "$binary" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
else
    needed=$(otool -L "$binary" | sed -n 's/^[[:space:]]*\([^ ]*\) .*/\1/p')
fi
failed=0
case $needed in
*libpq*) echo "ok      it needs libpq" ;;
*) echo "FAILED  it does not need libpq: $needed"; failed=1 ;;
esac
case $needed in
*libcurl* | *FoundationNetworking*) echo "FAILED  it needs libcurl: $needed"; failed=1 ;;
*) echo "ok      it does not need libcurl" ;;
esac
for target in OutboxRelay OutboxHTTP Logging; do
    # SwiftPM makes the directory for any target, the objects only for what it builds
    ls "$(dirname "$binary")/$target.build/"*.o >/dev/null 2>&1 || continue
    echo "FAILED  its build compiled $target"
    failed=1
done
[ "$failed" = 1 ] || echo "ok      its build compiled neither the relay nor its dependencies"
exit "$failed"
