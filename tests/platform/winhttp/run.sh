#!/bin/sh
# Runs the same scenarios by Windows' own WebSocket client and by wsock.h:
# WinHTTP (wine's) and wsock.h, both built with MinGW and run under wine,
# against one server that is written with wsock.h, too: all of them over
# ws://, then some over wss://.
#
#     sh run.sh [--install] [--brief] [--windows-server] [--only SCHEME]
#               [NUMBER...]
#
#     --install          what is missing is a failure
#     --brief            failures only
#     --windows-server   the server is built with MinGW, too
#     --only SCHEME      ws or wss
#     NUMBER             of a row of the porting table, 16: W16 (all)
#
# Prints what each saw, side by side, row by row: `=` the same; `~` a
# difference that differences.txt knows, with its reason; `!` a failure.  The
# last line counts rows: N passed, N failed, N skipped.  The exit status is 1
# if any failed.  Everything is built in tests/.work/winhttp.
set -u

here=$(cd "$(dirname "$0")" && pwd) || exit 1
store=$(cd "$here/../.." && pwd)/.work
work=$store/winhttp
cc=x86_64-w64-mingw32-gcc-win32
command -v $cc >/dev/null || cc=x86_64-w64-mingw32-gcc
players=
passed=0 failed=0 skipped=0

finish() {
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" = 0 ]
    exit
}

fail() { # what
    echo "FAIL $1"
    failed=$((failed + 1))
}

missing() { # what, why
    [ -z "$install" ] || { fail "$1: $2"; return; }
    echo "SKIP $1: $2"
    skipped=$((skipped + 1))
}

skip() { # why
    missing winhttp "$1"
    finish
}

first() { # programs, of which one is to be found
    for program in "$@"; do
        command -v "$program" 2>/dev/null && return
    done
}

serve=./server
brief=0
install=
schemes='ws wss'
numbers=
while [ $# -gt 0 ]; do
    case $1 in
    --install) install=yes ;;
    --brief) brief=1 ;;
    --windows-server) serve=windows ;;
    --only) schemes=${2:-}; [ $# -gt 1 ] && shift ;;
    '' | *[!0-9]*) sed -n '2,22s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    *) numbers="$numbers $1" ;;
    esac
    shift
done
command -v $cc >/dev/null || skip "no MinGW compiler ($cc)"
wine=$(first wine64 /usr/lib/wine/wine64)
[ -n "$wine" ] || skip "no wine64"
[ "$serve" = ./server ] || serve="$wine server.exe"
wineserver=$(first wineserver64 /usr/lib/wine/wineserver64 wineserver)

mkdir -p "$work" && cd "$work" || exit 1
WINEPREFIX=$PWD/prefix WINEDEBUG=-all WINEDLLOVERRIDES='mscoree,mshtml='
export WINEPREFIX WINEDEBUG WINEDLLOVERRIDES
unset SSL_CERT_FILE # the authorities are those of Windows' store

# The players, and the servers that they have not stopped.
stop() {
    for process in $players $(cat ./*.pid 2>/dev/null); do
        kill "$process" 2>/dev/null
    done
    rm -f ./*.pid
    [ -z "$wineserver" ] || timeout 20 "$wineserver" -k 2>/dev/null
}
trap stop EXIT
trap 'exit 1' HUP INT TERM PIPE

# Over wss:// what is other there: how a connection is made, how messages pass,
# how it ends, in order and not, and certificates.  Last come the rows that
# close handles on which something waits: wine sometimes writes into memory
# that it has freed then (of W7 above all), and what is played next breaks.
rows="$(seq 6) $(seq 8 13) $(seq 15 27) 14 28 29 7"
secure_rows='1 2 3 4 5 10 11 12 15 16 17 20 21 22 23 24 26 30 14 28 29'

# What wss:// takes besides: BearSSL for both systems, and certificates.
pki=$store/tls/pki
windows_bearssl=$store/windows-bearssl
secure_ready() {
    { echo '#include <bearssl.h>' | ${CC:-cc} -E - >/dev/null &&
        sh "$here/../windows_bearssl.sh" "$windows_bearssl" &&
        "${PYTHON:-/usr/bin/python3}" -W ignore \
            "$here/../../peers/tls/certificates.py" "$pki"
    } >secure.log 2>&1 && return
    missing "winhttp over wss://" "$(tail -n 1 secure.log)"
    return 1
}

build() {
    warn='-O1 -Wall -Wextra -Werror'
    native= windows=
    case " $schemes " in
    *' wss '*)
        native='-DWSOCK_BEARSSL -lbearssl'
        windows="-DWSOCK_BEARSSL -isystem $windows_bearssl/include
            -L$windows_bearssl -lbearssl -lcrypt32" ;;
    esac
    case $serve in
    ./server) ${CC:-cc} -std=gnu99 $warn "$here/server.c" -o server $native ;;
    *) $cc $warn "$here/server.c" -o server.exe $windows -lws2_32 -lbcrypt ;;
    esac &&
        $cc $warn "$here/winhttp_client.c" -o winhttp.exe -lwinhttp &&
        $cc $warn "$here/wsock_client.c" -o wsock.exe $windows -lws2_32 \
            -lbcrypt &&
        $cc $warn "$here/trust.c" -o trust.exe -lcrypt32
}

# One that is to be killed by its number in NAME.pid; its first line is there
# when it listens.
start_server() { # name, arguments
    name=$1
    shift
    $serve "$@" >"$name.server" &
    echo $! >"$name.pid"
    n=0
    until grep -qs . "$name.server" || [ $n -ge 200 ]; do
        sleep 0.1
        n=$((n + 1))
    done
}

stop_server() { # name
    process=$(cat "$1.pid")
    kill "$process"
    wait "$process" 2>/dev/null
    rm -f "$1.pid"
}

# One client with a server of its own; the server's lines belong to the same
# steps.
play() { # client, where its files go, numbers
    client=$1
    files=$2.$1
    shift 2
    start_server "$files" $identity
    timeout 300 "$wine" "$client.exe" \
        $(head -n 1 "$files.server" | tr -d '\r') "$wrong" "$@" \
        >"$files.out" 2>"$files.err"
    echo $? >"$files.status"
    sleep 1 # for the server to see the last one's end
    stop_server "$files"
    cat "$files.out" "$files.server" | tr -d '\r' | grep -a '|' |
        LC_ALL=C sort -s -t '|' -k 1,1V >"$files.log"
}

# Both clients at a time; all players are waited for later.
begin() { # scheme, numbers
    for player in winhttp wsock; do
        play $player "$@" &
        players="$players $!"
    done
}

# What they saw.
compare() { # scheme
    LC_ALL=C awk -v winhttp="$(cat "$1.winhttp.status")" \
        -v wsock="$(cat "$1.wsock.status")" -v brief=$brief \
        -f "$here/compare.awk" "$here/differences.txt" "$1.winhttp.log" \
        "$1.wsock.log" >"$1.compared"
    sed '$d' "$1.compared"
    set -- $(tail -n 1 "$1.compared" | tr -c '0-9\n' ' ')
    passed=$((passed + ${1:-0})) failed=$((failed + ${2:-1}))
}

# The servers of W30, and the good one's authority in the store.
secure_servers() {
    wrong=
    for name in unknown_root self_signed wrong_name expired future \
        client_use; do
        start_server $name "$pki/$name.pem" "$pki/$name.key"
        wrong=$wrong$(head -n 1 $name.server | cut -d ' ' -f 2),
    done
    identity="$pki/chain.pem $pki/chain.key"
    timeout 60 "$wine" trust.exe "$pki/ca.pem" 'Test CA'
}

# Built while wine makes its directory.
boot=
if [ ! -f prefix/system.reg ]; then
    timeout 120 "$wine" wineboot -i >wineboot.log 2>&1 &
    boot=$!
fi
case " $schemes " in
*' wss '*) secure_ready || schemes=$(echo $schemes | sed 's/ *wss//') ;;
esac
build || { fail "winhttp: it does not build"; finish; }
[ -z "$boot" ] || wait $boot ||
    skip "wine cannot make its directory: see tests/.work/winhttp"
rm -f ./*.pid ./*.log ./*.server ./*.status
for scheme in $schemes; do
    identity= wrong=0
    case $scheme in
    ws) begin ws ${numbers:-$rows} ;;
    wss)
        secure_servers || { fail "trust.exe"; finish; }
        begin wss ${numbers:-$secure_rows} ;;
    esac
done
wait $players
players=
for scheme in $schemes; do
    [ "$brief" = 1 ] || echo "Over $scheme://"
    compare "$scheme"
done
finish
