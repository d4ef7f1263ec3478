#!/bin/sh
# Usage: sh tests/bench/run.sh [--quick]
#
# Prints one table: examples/echo_server beside raw_echo, from this run.
# What the figures mean stands in README.md.  Needs Linux and a C compiler;
# valgrind and strace, where they are missing, leave their columns empty.
set -u
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
work=$here/../.work/bench
quick=0
case ${1:-} in
'') ;;
--quick) quick=1 ;;
*) echo "usage: run.sh [--quick]" >&2; exit 2 ;;
esac
mkdir -p "$work" || exit 2
cc=${CC:-cc}
server=

# The server's process is ours; end it whatever happens.
stop() {
    [ -n "$server" ] || return 0
    kill "$server" 2>/dev/null
    # Again, for a program that was just about to wait when it came.
    (while sleep 2; do kill "$server" || exit; done) 2>/dev/null &
    again=$!
    wait "$server" 2>/dev/null
    kill "$again" 2>/dev/null
    wait "$again" 2>/dev/null
    server=
}
trap stop EXIT
trap 'exit 1' INT TERM

build() { # program, source
    $cc -std=c99 -O2 -o "$work/$1" "$2" >"$work/$1.log" 2>&1 || {
        echo "does not build: $2" >&2
        cat "$work/$1.log" >&2
        exit 1
    }
}

# start KIND [wrapper...]: the server in the background; sets $server, $port.
start() {
    kind=$1
    shift
    : >"$work/url"
    if [ "$kind" = raw ]; then
        "$@" "$work/raw_echo" 0 >"$work/url" 2>"$work/server.log" &
    else
        "$@" "$work/echo_server" --host 127.0.0.1 --port 0 \
            >"$work/url" 2>"$work/server.log" &
    fi
    server=$!
    port=
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        port=$(sed -n 's/.*:\/\/[^ ]*:\([0-9][0-9]*\).*/\1/p' "$work/url" |
            head -n 1)
        [ -n "$port" ] && return 0
        sleep 0.5
    done
    echo "the $kind server does not say where it listens:" >&2
    cat "$work/url" "$work/server.log" >&2
    exit 1
}

load() { # kind, arguments
    kind=$1
    shift
    raw=
    [ "$kind" = raw ] && raw=--raw
    "$work/load" $raw --port "$port" "$@" || {
        cat "$work/server.log" >&2
        stop
        exit 1
    }
}

calc() { awk "BEGIN { printf \"$1\", $2 }"; }

# Instructions of a run of N messages, start-up and handshake included.
instructions() { # kind, size, window, messages
    start "$1" valgrind --tool=callgrind --callgrind-out-file=/dev/null
    load "$1" --size "$2" --window "$3" --messages "$4" >/dev/null
    stop
    sed -n 's/.*Collected *: *\([0-9]*\).*/\1/p' "$work/server.log"
}

# System calls of a run of N messages.  strace runs the server as its child
# and passes no signal on, so the child is told to end by its own number.
calls() { # kind, size, window, messages
    start "$1" strace -f -c -o "$work/strace" sh -c 'echo $$ >"$1"; shift
        exec "$@"' sh "$work/pid"
    load "$1" --size "$2" --window "$3" --messages "$4" >/dev/null
    kill "$(cat "$work/pid")"
    wait "$server" 2>/dev/null
    server=
    awk '$NF == "total" { print (NF > 4 && $4 ~ /^[0-9]+$/) ? $4 : $3 }' \
        "$work/strace"
}

# The difference of 2N and N messages, by N.
slope() { # measure, format, kind, size, window, messages
    a=$("$1" "$3" "$4" "$5" "$6") || exit 1
    b=$("$1" "$3" "$4" "$5" $(($6 * 2))) || exit 1
    if [ -n "$a" ] && [ -n "$b" ]; then
        calc "$2" "($b - $a) / $6"
    else
        printf '?'
    fi
}

# Server CPU in microseconds a message: one run of each, in turn, several
# times, and the least of each, because other work on the machine can only
# add.  Sets $raw_us and $our_us.
cpu_pair() { # conns, size, window, messages
    raw_us=1e9 our_us=1e9
    for _ in 1 2 3; do
        for kind in raw wsock; do
            start $kind
            result=$(load $kind --pid "$server" --conns "$1" --size "$2" \
                --window "$3" --messages "$4") || exit 1
            stop
            us=$(echo "$result" | awk '{ printf "%.4f", $3 / $1 * 1e6 }')
            if [ $kind = raw ]; then
                raw_us=$(calc %.4f "$us < $raw_us ? $us : $raw_us")
            else
                our_us=$(calc %.4f "$us < $our_us ? $us : $our_us")
            fi
        done
    done
}

idle() { # kind
    start "$1"
    result=$(load "$1" --pid "$server" --idle 5000 10000) || exit 1
    stop
    echo "$result" | awk '{ printf "%.0f", ($2 - $1) / 5000 }'
}

build load "$here/load.c"
build raw_echo "$here/raw_echo.c"
build micro "$here/micro.c"
build echo_server "$top/examples/echo_server.c"
have_valgrind=0 have_strace=0
command -v valgrind >/dev/null && have_valgrind=1
command -v strace >/dev/null && strace -o /dev/null true 2>/dev/null &&
    have_strace=1

echo "$(date -u +%Y-%m-%d), $(uname -sm), $(nproc) CPUs:" \
    "$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1);" \
    "$($cc --version | head -n 1)"
echo
echo "| a message | instructions | raw | calls | raw |" \
    "CPU us, 1 conn. | of raw | CPU us, 50 conn. | of raw |"
echo "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"

# size, window, messages under valgrind, messages natively
row() {
    label="$1 B"
    [ "$2" = 1 ] || label="$1 B, $2 in flight"
    n=$3 m=$4
    if [ $quick = 1 ]; then n=$((n / 5)) m=$((m / 10)); fi
    line="| $label"
    if [ $have_valgrind = 1 ]; then
        ours=$(slope instructions %.0f wsock "$1" "$2" "$n") || exit 1
        raw=$(slope instructions %.0f raw "$1" "$2" "$n") || exit 1
        line="$line | $ours | $raw"
    else
        line="$line | - | -"
    fi
    if [ $have_strace = 1 ]; then
        ours=$(slope calls %.2f wsock "$1" "$2" "$n") || exit 1
        raw=$(slope calls %.2f raw "$1" "$2" "$n") || exit 1
        line="$line | $ours | $raw"
    else
        line="$line | - | -"
    fi
    for conns in 1 50; do
        cpu_pair $conns "$1" "$2" "$m"
        line="$line | $(calc %.2f "$our_us")"
        line="$line | $(calc %.2f "$our_us / $raw_us")"
    done
    echo "$line |"
}

row 16 1 4000 60000
row 125 1 4000 60000
row 125 16 16000 400000
row 1024 1 4000 60000
row 16384 1 1000 40000
row 262144 1 100 4000

echo
if [ "$(ulimit -n)" = unlimited ] || [ "$(ulimit -n)" -ge 10100 ] ||
    ulimit -S -n 10100 2>/dev/null; then
    ours=$(idle wsock) || exit 1
    raw=$(idle raw) || exit 1
    echo "Bytes per idle connection: $ours (raw $raw)"
else
    echo "Bytes per idle connection: - (needs ulimit -n 10100)"
fi
echo
"$work/micro"
