#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Copyright the Outbox project authors
#
# style.sh lint      prints what `swift format` finds against .swift-format, and counts it. Exit status: 1 if anything.
# style.sh format    rewrites the sources instead.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"

# A list, since recursion would look into examples/*/.build too.
sources() {
    git ls-files -z --cached --others --exclude-standard \
        Package.swift 'Sources/*.swift' 'Tests/*.swift' 'migrations/*.swift' 'examples/*.swift'
}

case ${1:-} in
lint) ;;
format) sources | xargs -0 swift format --in-place --parallel; exit ;;
*) echo "usage: style.sh lint|format" >&2; exit 64 ;;
esac

findings=$(mktemp)
trap 'rm -f "$findings"' EXIT
if sources | xargs -0 swift format lint --strict --parallel >"$findings" 2>&1; then
    echo "findings: 0"
    exit 0
fi
sed "s|^$root/||" "$findings"
echo "findings: $(grep -c ': \(warning\|error\): \[' "$findings" || true)"
sed -n 's/.*: \(warning\|error\): \[\([A-Za-z]*\)\].*/\2/p' "$findings" | sort | uniq -c | sort -rn
exit 1
