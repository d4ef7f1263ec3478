#!/bin/sh
# Usage: sh tests/proof/run.sh [--install]
#
# Proves with Frama-C that the functions of wsock.h that read a peer's bytes
# first have no run-time errors and keep to their memory: the frame header,
# masking, UTF-8, the scanners of HTTP heads and of chunked bodies.
#
# splice.py takes the functions from wsock.h and puts the contracts of
# wp.acsl and eva.acsl before them; nothing is copied.  WP proves every goal
# of wp.acsl, for sizes without bound.  Where words are copied through bytes
# or constant strings searched, which WP's memory model does not show, Eva
# runs main() of eva.acsl over all bytes, and may raise no alarm.  What WP
# assumes of a function that is only declared in wp.acsl is what Eva saw, but
# for the C library's.
#
# --install lets frama-c-base, why3, z3 and cvc4 be installed with apt-get.
# The last line is `N passed, N failed, N skipped`.
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$root/tests/.work/proof
mkdir -p "$work" || exit 2
python=${PYTHON:-/usr/bin/python3}
passed=0 failed=0

missing() {
    for tool in frama-c why3 z3 cvc4 "$python"; do
        command -v "$tool" >/dev/null 2>&1 || echo "$tool"
    done
}

if [ "${1:-}" = --install ] && [ -n "$(missing)" ]; then
    DEBIAN_FRONTEND=noninteractive apt-get install -y \
        --no-install-recommends frama-c-base why3 z3 cvc4 \
        >"$work/install.log" 2>&1
fi
if [ -n "$(missing)" ]; then
    echo "SKIP proof: not here: $(missing | tr '\n' ' ')"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
fi

finish() {
    echo "$passed passed, $failed failed, 0 skipped"
    [ $failed = 0 ]
    exit
}

fail() { # what, log
    echo "FAIL $1"
    grep -v '^\[.*Valid' "$2" | tail -n 40 | sed 's/^/    /'
    failed=$((failed + 1))
}

# Why3 has to know its provers; its own file, so that nobody's is changed.
WHY3CONFIG=$work/why3.conf
export WHY3CONFIG
[ -s "$WHY3CONFIG" ] || why3 config detect >"$work/why3.log" 2>&1

for name in wp eva; do
    "$python" "$here/splice.py" "$root/wsock.h" "$here/$name.acsl" \
        >"$work/$name.c" 2>"$work/$name.log" ||
        { fail "$name.acsl does not fit wsock.h" "$work/$name.log"; finish; }
done

# Function by function.  Why3's server now and then loses a prover's answer,
# and waits for good: so there is a limit, and what was proved is kept for the
# next attempt, in a cache that this run begins.
rm -rf "$work/.frama-c"
cat >"$work/prove.sh" <<END
cd "$work" || exit 1
for limit in 20 30 40 60 90; do
    timeout \$limit frama-c -wp -wp-rte -wp-fct "\$1" -wp-cache update \
        -wp-prover cvc4,z3 -wp-timeout 10 -wp-par 1 \
        -cpp-extra-args="-I$root" wp.c >"\$1.log" 2>&1
    grep -q 'Proved goals' "\$1.log" && exit
done
END
jobs=${JOBS:-$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)}
sed -n 's/^== \(wsock__[a-z_0-9]*\)$/\1/p' "$here/wp.acsl" |
    grep -v -x 'wsock__\(lanes\|frame\|account\|rare\)' >"$work/functions"
xargs -P "$jobs" -n 1 sh "$work/prove.sh" <"$work/functions"
proved=0 total=0
while read -r name; do
    log=$work/$name.log
    set -- $(sed -n 's|.*Proved goals: *\([0-9]*\) */ *\([0-9]*\).*|\1 \2|p' \
        "$log") none none
    if [ "$1" = none ] || [ "$1" != "$2" ]; then
        fail "$name: $1 of $2 goals proved" "$log"
        continue
    fi
    proved=$((proved + $1)) total=$((total + $2))
    passed=$((passed + 1))
done <"$work/functions"
echo "WP: $proved of $total goals proved, in $(grep -c . "$work/functions")" \
    "functions"

log=$work/eva.log
timeout 300 frama-c -eva -eva-precision 6 -cpp-extra-args="-I$root" \
    "$work/eva.c" >"$log" 2>&1
if grep -q '0 alarms generated' "$log" &&
    ! grep -q '[1-9][0-9]* unknown\|[1-9][0-9]* invalid' "$log"; then
    echo "Eva: no alarms in $(sed -n \
        's/ *\([0-9]* functions analyzed\).*/\1/p' "$log")"
    passed=$((passed + 1))
else
    grep -A 2 'alarm\]' "$log"
    fail "Eva: alarms" "$log"
fi
finish
