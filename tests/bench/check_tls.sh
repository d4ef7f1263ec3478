#!/bin/sh
# Usage: sh tests/bench/check_tls.sh
#
# Tries the benchmark over wss:// (see tls.sh) without figures: its load
# against wsock with BearSSL, and in TLS 1.3 against the raw server.  The load
# ends with a failure when what comes back is not what was sent, or a session
# is not resumed that should be, or is that should not.  Takes some seconds.
# Last line: bench_tls: N passed, N failed, N skipped
set -u
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
work=$here/../.work/bench/check_tls
passed=0 failed=0

finish() {
    echo "bench_tls: $passed passed, $failed failed, ${1:-0} skipped"
    [ "$failed" = 0 ]
    exit
}

skip() {
    echo "SKIP bench_tls: $1"
    finish 1
}

[ "$(uname -s)" = Linux ] || skip "not Linux"
command -v openssl >/dev/null || skip "no openssl"
. "$here/common.sh"
. "$here/tls.sh"
command -v "$cc" >/dev/null || skip "no $cc"
for header in openssl/ssl.h bearssl.h; do
    printf '#include <%s>\n' $header | $cc -E - >/dev/null 2>&1 ||
        skip "no $header"
done
tls_flags='-std=gnu99 -O0 -Wall -Wextra -Werror'
certificates && build_load_and_raw && build_bearssl ||
    { failed=1; finish; }

one() { # kind, arguments of load
    if load "$@" >"$work/figures" &&
        grep -q '^[1-9][0-9]* ' "$work/figures"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAIL $*:" $(cat "$work/load.log")
    fi
}

start bearssl rsa
one bearssl --handshakes 2
stop_all
start bearssl ecdsa
one bearssl --pid "$pid" --size 1048576 --messages 2
one bearssl --pid "$pid" --idle 2 4 --size 16384 --touch
one bearssl --handshakes 4 --conns 2
one bearssl --handshakes 4 --conns 2 --resume yes --group p256
one bearssl --messages 20 --window 4 --conns 2 --suite chacha
stop_all
start raw13 ecdsa
one raw13 --messages 20
one raw13 --handshakes 4 --conns 2 --resume yes
stop_all
finish
