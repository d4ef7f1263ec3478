#!/bin/sh
# Runs the same scenarios by Windows' own WebSocket client and by wsock.h:
# WinHTTP (wine's) and wsock.h, both built with MinGW and run under wine,
# against one server that is written with wsock.h, too.
#
#     sh run.sh [--brief] [--windows-server] [NUMBER...]
#
#     --brief            failures only
#     --windows-server   the server is built with MinGW, too
#     NUMBER             of a row of the porting table, 16: W16 (all)
#
# Prints what each saw, side by side, row by row: `=` the same; `~` a
# difference that differences.txt knows, with its reason; `!` a failure.  The
# last line counts rows: N passed, N failed, N skipped.  The exit status is 1
# if any failed.  Everything is built in tests/.work/winhttp.
set -u

here=$(cd "$(dirname "$0")" && pwd) || exit 1
work=$here/../../.work/winhttp
cc=x86_64-w64-mingw32-gcc-win32
command -v $cc >/dev/null || cc=x86_64-w64-mingw32-gcc
players=

skip() { # why
    echo "SKIP winhttp: $1"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
}

first() { # programs, of which one is to be found
    for program in "$@"; do
        command -v "$program" 2>/dev/null && return
    done
}

serve=./server
brief=0
numbers=
for argument in "$@"; do
    case $argument in
    --brief) brief=1 ;;
    --windows-server) serve=windows ;;
    '' | *[!0-9]*) sed -n '2,17s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    *) numbers="$numbers $argument" ;;
    esac
done
command -v $cc >/dev/null || skip "no MinGW compiler ($cc)"
wine=$(first wine64 /usr/lib/wine/wine64)
[ -n "$wine" ] || skip "no wine64"
[ "$serve" = ./server ] || serve="$wine server.exe"
wineserver=$(first wineserver64 /usr/lib/wine/wineserver64 wineserver)

mkdir -p "$work" && cd "$work" || exit 1
WINEPREFIX=$PWD/prefix WINEDEBUG=-all WINEDLLOVERRIDES='mscoree,mshtml='
export WINEPREFIX WINEDEBUG WINEDLLOVERRIDES

# The players, and the servers that they have not stopped.
stop() {
    for process in $players $(cat ./*.pid 2>/dev/null); do
        kill "$process" 2>/dev/null
    done
    rm -f ./*.pid
    [ -z "$wineserver" ] || timeout 20 "$wineserver" -k 2>/dev/null
}
trap stop EXIT
trap 'exit 1' HUP INT TERM

build() {
    warn='-O1 -Wall -Wextra -Werror'
    ${CC:-cc} -std=gnu99 $warn "$here/server.c" -o server &&
        $cc $warn "$here/server.c" -o server.exe -lws2_32 -lbcrypt &&
        $cc $warn "$here/winhttp_client.c" -o winhttp.exe -lwinhttp &&
        $cc $warn "$here/wsock_client.c" -o wsock.exe -lws2_32 -lbcrypt
}

# One client with a server of its own; the server's lines belong to the same
# steps.
play() { # client
    client=$1
    $serve >"$client.server" &
    server=$!
    echo $server >"$client.pid"
    n=0
    until grep -qs . "$client.server" || [ $n -ge 200 ]; do
        sleep 0.1
        n=$((n + 1))
    done
    timeout 300 "$wine" "$client.exe" $(head -n 1 "$client.server") \
        $numbers >"$client.out" 2>"$client.err"
    echo $? >"$client.status"
    sleep 1 # for the server to see the last one's end
    kill $server
    wait $server 2>/dev/null
    rm -f "$client.pid"
    cat "$client.out" "$client.server" | tr -d '\r' | grep -a '|' |
        LC_ALL=C sort -s -t '|' -k 1,1V >"$client.log"
}

build || {
    echo "FAIL winhttp: it does not build"
    echo "0 passed, 1 failed, 0 skipped"
    exit 1
}
if [ ! -f prefix/system.reg ] && ! timeout 120 "$wine" wineboot -i \
    >wineboot.log 2>&1; then
    skip "wine cannot make its directory: see tests/.work/winhttp"
fi
rm -f ./*.pid ./*.log ./*.status ./*.server
play winhttp &
one=$!
play wsock &
two=$!
players="$one $two"
wait $one
wait $two
players=

LC_ALL=C awk -v winhttp="$(cat winhttp.status)" \
    -v wsock="$(cat wsock.status)" -v brief=$brief \
    -v all="$(echo $numbers | wc -w)" \
    -f "$here/compare.awk" "$here/differences.txt" winhttp.log wsock.log
