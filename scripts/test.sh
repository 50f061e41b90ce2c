#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Copyright the Outbox project authors
#
# test.sh [ARGUMENTS OF swift test]: runs all tests. They start a throw-away Postgres of their own, or use the server
# of OUTBOX_DATABASE_URL. OUTBOX_SAMPLE_DATA names a directory of sample data for the tests that want some.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
# Tests kill processes on purpose; a backtrace of each would take seconds and say nothing.
export SWIFT_BACKTRACE=enable=no
# First, so that the tests' own closing line is the last that is seen.
scripts/check-linkage.sh
if [ $# -gt 0 ]; then exec swift test --disable-xctest "$@"; fi
# What keeps every core busy runs apart, and so do real processes that are killed: the others have deadlines to keep.
swift test --disable-xctest --filter '^OutboxSimulationTests\.'
swift test --disable-xctest --skip-build --filter '^OutboxStormTests\.'
swift test --disable-xctest --skip-build --skip '^(OutboxSimulationTests|OutboxStormTests)\.'
