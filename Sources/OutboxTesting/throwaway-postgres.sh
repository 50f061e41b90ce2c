#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Copyright the Outbox project authors
#
# throwaway-postgres.sh DIR: a Postgres cluster that lives as long as this script's standard input.
#
# Makes a cluster in DIR, prints one line with its URL when it accepts connections, and then obeys what it reads:
#   stop     stops it as a crash would (SIGQUIT: no checkpoint), and prints "stopped"
#   start    starts it again with the same data, and prints the URL
# When standard input ends it stops the cluster and removes DIR. So a process that starts this script with a pipe
# leaves nothing behind, even if it is killed. From a terminal:  sleep 3600 | throwaway-postgres.sh /tmp/pg
#
# It listens on a socket in DIR only, so there is no port to choose; DIR must be short (a socket's path has at most
# 107 bytes). OUTBOX_DURABLE=1 keeps fsync, full_page_writes and autovacuum on, for measurements.
# Exit status: 64 usage, 69 no Postgres, 70 it did not start.
set -u

directory=${1:-}
case $directory in
/*) ;;
*) echo "usage: throwaway-postgres.sh DIR (an absolute path)" >&2; exit 64 ;;
esac

# The newest version that Debian or Ubuntu installed, else what is on the PATH.
bin=$(ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null | sort -t/ -k5 -V | tail -n 1)
bin=${bin:-$(command -v initdb)}
bin=${bin%/initdb}
if [ -z "$bin" ] || [ ! -x "$bin/postgres" ]; then
    echo "No Postgres server found in /usr/lib/postgresql/*/bin or on the PATH." >&2
    echo "Install one (apt-get install postgresql; brew install postgresql), or set OUTBOX_DATABASE_URL" >&2
    echo "to a server on which databases may be created." >&2
    exit 69
fi

# initdb and postgres refuse to run as root.
drop=
if [ "$(id -u)" = 0 ]; then
    user=postgres
    id "$user" >/dev/null 2>&1 || user=nobody
    if command -v setpriv >/dev/null 2>&1; then
        drop="setpriv --reuid=$user --regid=$(id -gn "$user") --init-groups"
    else
        drop="runuser -u $user --"
    fi
fi

mkdir -p "$directory" || exit 70
[ -z "$drop" ] || chown "$user" "$directory" || exit 70
cd "$directory" || exit 70
log=$directory/log

postmaster() { head -n 1 data/postmaster.pid 2>/dev/null; }

stop() {
    pid=$(postmaster)
    [ -n "$pid" ] || return 0
    kill -QUIT "$pid" 2>/dev/null
    while kill -0 "$pid" 2>/dev/null; do sleep 0.01; done
}

cleanup() {
    trap - EXIT
    stop
    cd /
    rm -rf "$directory"
}
trap cleanup EXIT
# PIPE too: whoever started this may be gone before the cluster is up and its URL is printed
trap 'exit 0' INT TERM HUP PIPE

fail() {
    echo "$1" >&2
    tail -n 20 "$log" >&2
    exit 70
}

if [ "${OUTBOX_DURABLE:-}" = 1 ]; then
    settings="-c fsync=on -c synchronous_commit=on"
else
    settings="-c fsync=off -c full_page_writes=off -c wal_level=minimal -c max_wal_senders=0 -c autovacuum=off"
fi

start() {
    # shellcheck disable=SC2086  # the words of $drop and $settings are meant to be split
    $drop "$bin/postgres" -D data -k "$directory" -c listen_addresses= -c port=5432 -c max_connections=200 \
        -c log_min_messages=warning $settings >>"$log" 2>&1 </dev/null &
    child=$!
    until "$bin/pg_isready" -q -h "$directory" -p 5432 -U postgres; do
        kill -0 "$child" 2>/dev/null || fail "Postgres did not start:"
        sleep 0.02
    done
    echo "postgresql://postgres@/postgres?host=$directory&port=5432"
}

# shellcheck disable=SC2086
$drop "$bin/initdb" -D data -U postgres -N -A trust --no-locale -E UTF8 >"$log" 2>&1 </dev/null ||
    fail "initdb failed:"
[ -z "$drop" ] || chown "$user" "$log"
start

while read -r command; do
    case $command in
    stop) stop; wait; echo stopped ;;
    start) start ;;
    esac
done
