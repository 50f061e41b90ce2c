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
swift test --disable-xctest "$@"
