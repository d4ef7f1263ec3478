#!/bin/sh
# Windows: the unit tests, and the conformance scripts against the echo
# programs, built with MinGW and run under wine.
#
#     sh tests/platform/windows.sh [--install] [NAME...]
#
#     --install  what is missing is a failure
#     NAME       a unit test program, as test_NAME.c; everything without one
#
# The last line counts: N passed, N failed, N skipped.  The exit status is 1
# if anything failed.  Everything is built and logged in tests/.work/windows,
# where wine has its own configuration too.  Programs are built for 64 bits and
# run; for 32 bits they are only built.  JOBS sets how many run at a time.
set -u

root=$(cd "$(dirname "$0")/../.." && pwd) || exit 1
cd "$root" || exit 1
work=$root/tests/.work/windows
cc64=x86_64-w64-mingw32-gcc-win32
cc32=i686-w64-mingw32-gcc-win32
jobs=${JOBS:-2}
passed=0 failed=0 skipped=0

finish() {
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" = 0 ]
    exit
}

install=
[ "${1:-}" = --install ] && install=yes && shift

skip() { # what, why
    if [ -n "$install" ]; then
        failed=$((failed + 1))
        echo "FAIL $1: $2"
    else
        skipped=$((skipped + 1))
        echo "SKIP $1: $2"
    fi
}

fail() { # what, log
    failed=$((failed + 1))
    echo "FAIL $1"
    tail -n 60 "$2" | sed 's/^/    /'
}

command -v $cc64 >/dev/null 2>&1 ||
    { skip "the unit tests on Windows" "no $cc64"; finish; }
wine=
for w in wine64 /usr/lib/wine/wine64 wine; do
    command -v $w >/dev/null 2>&1 && wine=$w && break
done
[ -n "$wine" ] || { skip "the unit tests on Windows" "no wine64"; finish; }
two=yes
command -v $cc32 >/dev/null 2>&1 || two=

names=$*
only=$*
[ -n "$names" ] || names=$(cd tests/unit && ls test_*.c |
    sed "s/^test_//; s/\.c\$//")
rm -rf "$work"
mkdir -p "$work" || exit 1

# Wine: a configuration of our own, and a server that goes with us.
WINEPREFIX=$work/prefix
WINEDEBUG=-all
WINEDLLOVERRIDES='mscoree,mshtml='
export WINEPREFIX WINEDEBUG WINEDLLOVERRIDES
server=
for s in wineserver /usr/lib/wine/wineserver64 /usr/lib/wine/wineserver; do
    command -v $s >/dev/null 2>&1 && server=$s && break
done
leave() { # the server of this WINEPREFIX alone
    [ -n "$server" ] && timeout 20 "$server" -k >/dev/null 2>&1
}
trap leave EXIT
trap 'exit 1' INT TERM HUP
timeout 180 "$wine" wineboot -i >"$work/wineboot.log" 2>&1 &
boot=$!

# Built while wine makes its configuration.  For wss:// with BearSSL, which
# takes no library for 32 bits.
python=${PYTHON:-/usr/bin/python3}
bearssl=$root/tests/.work/windows-bearssl
pki=$root/tests/.work/tls/pki
tls_ready() {
    {
        sh tests/platform/windows_bearssl.sh "$bearssl" &&
            "$python" -W ignore tests/peers/tls/certificates.py "$pki"
    } >"$work/tls.ready" 2>&1 && return
    skip "wss:// on Windows" "$(tail -n 1 "$work/tls.ready")"
    names=$(printf '%s\n' $names | grep -vx tls)
    return 1
}
case " "$(echo $names)" " in
*' tls '*) tls_ready || [ -n "$names" ] || finish ;;
esac
flags='-std=gnu99 -g -Wall -Wextra -Werror -Itests/platform/windows'
libraries='-lws2_32 -lbcrypt -lpthread -static'
cat >"$work/build.sh" <<END
two=$two
more=
if [ "\$1" = tls ]; then
    two=
    more='-isystem $bearssl/include -L$bearssl -lbearssl -lcrypt32'
fi
{
    $cc64 $flags -o $work/\$1.exe tests/unit/test_\$1.c \$more \\
        $libraries || echo "\$1: it does not build for 64 bits"
    [ -z "\$two" ] || $cc32 $flags -o $work/\$1.32.exe \\
        tests/unit/test_\$1.c $libraries ||
        echo "\$1: it does not build for 32 bits"
} >$work/\$1.build 2>&1
END
cat >"$work/run.sh" <<END
WSOCK_PKI='$pki' timeout 120 '$wine' $work/\$1.exe >$work/\$1.raw 2>&1
echo \$? >$work/\$1.status
tr -d '\r' <$work/\$1.raw >$work/\$1.log
END
printf '%s\n' $names | xargs -P "$jobs" -n 1 sh "$work/build.sh"
if ! wait $boot; then
    fail "wine does not start" "$work/wineboot.log"
    finish
fi

# Those that take longest begin.
for name in tls threads rules io $names; do
    [ -s "$work/$name.exe" ] && echo "$name"
done | awk '!seen[$0]++' | xargs -P "$jobs" -n 1 sh "$work/run.sh"

for name in $names; do
    log=$work/$name.log
    if [ -s "$work/$name.build" ]; then
        fail "$name" "$work/$name.build"
        continue
    fi
    status=$(cat "$work/$name.status")
    grep '^SKIP ' "$log"
    counts=$(grep -o '[0-9]* passed, [0-9]* failed.*' "$log" | tail -n 1 |
        tr -c '0-9' ' ')
    set -- $counts
    if [ $# -lt 2 ]; then
        fail "$name: no summary, status $status" "$log"
        continue
    fi
    passed=$((passed + $1)) skipped=$((skipped + ${3:-0}))
    if [ "$2" != 0 ]; then
        failed=$((failed + $2 - 1))
        fail "$name" "$log"
    elif [ "$status" != 0 ]; then
        fail "$name: status $status" "$log"
    fi
done
[ -n "$two" ] || skip "the builds for 32 bits" "no $cc32"

# Starts a server under wine; sets answer to what follows `word ` in the line
# in which it says where it listens, or to nothing.
start_server() { # word, log, program and arguments
    word=$1
    log=$2
    shift 2
    "$wine" "$@" >"$log" 2>&1 &
    answer=
    turns=0
    while [ -z "$answer" ] && [ $turns -lt 300 ]; do
        sleep 0.1
        answer=$(tr -d '\r' <"$log" | sed -n "s/^.*$word//p")
        turns=$((turns + 1))
    done
}

# Programs of another system at the other end of the wire: what the conformance
# scripts see of the echo programs under wine is what they see of the native
# ones.
native() { # what, its script and arguments
    log=$work/$1.log
    shift
    timeout 400 "$python" -B tests/peers/"$@" >"$log" 2>&1
    counts=$(tail -n 1 "$log" |
        sed -n 's/^.*: \([0-9]*\) passed, \([0-9]*\) failed.*/\1 \2/p')
    set -- $counts
    passed=$((passed + ${1:-0}))
    [ "${2:-1}" = 0 ] && return
    failed=$((failed + ${2:-1} - 1))
    fail "the conformance scripts, see $log" "$log"
}

echo_programs() {
    for f in examples/echo_server.c examples/echo_client.c \
        tests/platform/windows/echo_clients.c; do
        name=$(basename $f .c)
        $cc64 -O2 -Wall -Wextra -Werror -o "$work/$name.exe" $f \
            -lws2_32 -lbcrypt >"$work/$name.log" 2>&1 ||
            { fail "$f" "$work/$name.log"; return; }
    done
    start_server 'listening on ' "$work/echo.log" "$work/echo_server.exe" \
        --port 0
    native conformance_server conformance_server.py --fast --jobs 4 "$answer"
    start_server 'port ' "$work/echo_clients.log" "$work/echo_clients.exe"
    cat >"$work/echo_client" <<END
#!/bin/bash
exec 3<>/dev/tcp/127.0.0.1/$answer
printf '%s\n' "\$1" >&3
read -r status <&3
cat <&3 >&2
exit "\$status"
END
    chmod +x "$work/echo_client"
    native conformance_client conformance_client.py --fast --jobs 4 \
        "$work/echo_client"
    # Nobody listens on port 1.
    timeout 60 "$wine" "$work/echo_client.exe" ws://127.0.0.1:1/ \
        >"$work/refused.log" 2>&1
    if [ $? = 1 ] && grep -q '^echo_client: .*refused' "$work/refused.log"
    then passed=$((passed + 1)); else
        fail "echo_client where nobody listens" "$work/refused.log"
    fi
}

if [ -z "$only" ]; then
    if [ -x "$python" ]; then
        echo_programs
    else
        skip "the conformance scripts" "no $python"
    fi
fi
finish
