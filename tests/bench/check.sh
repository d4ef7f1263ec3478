#!/bin/sh
# Usage: sh tests/bench/check.sh [--write]
#
# Counts user-space instructions a message (see README.md) and holds them
# against limits.txt, with 5 % slack upwards; --write makes limits.txt anew.
# The counts depend on compiler and C library, so other ones than those of
# limits.txt are a skip.  Takes some seconds.
# Last line: bench: N passed, N failed, N skipped
set -u
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
work=$here/../.work/bench
limits=$here/limits.txt
write=
case ${1:-} in
'') ;;
--write) write=yes ;;
*) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
passed=0 failed=0 skipped=0
finish() {
    echo "bench: $passed passed, $failed failed, $skipped skipped"
    [ "$failed" = 0 ]
    exit
}
skip() {
    echo "SKIP bench: $1"
    skipped=$((skipped + 1))
    finish
}

[ "$(uname -s)" = Linux ] || skip "not Linux"
. "$here/common.sh"
command -v valgrind >/dev/null || skip "no valgrind"
command -v "$cc" >/dev/null || skip "no $cc"
# What the counts depend on: gcc's major version, CPU, system.
made=$("$cc" -v 2>&1 |
    sed -n 's/^\(.*\) version \([0-9][0-9]*\).*/\1 \2/p' | head -n 1)
made="$made, $(uname -m), $(sed -n 's/^PRETTY_NAME="\(.*\)"/\1/p' \
    /etc/os-release)"
known=$(sed -n 's/^# made by: //p' "$limits" 2>/dev/null)
[ -n "$write" ] || [ "$made" = "$known" ] ||
    skip "limits.txt is for $known; this is $made"
build_ours || { failed=1; finish; }

# The difference of runs of N and 2N.
count() { # option with N, N, arguments
    option=$1 n=$2
    shift 2
    a=$(instructions wsock "$option" "$n" "$@") || return
    b=$(instructions wsock "$option" $((n * 2)) "$@") || return
    [ -n "$a" ] && [ -n "$b" ] && echo $(((b - a) / n))
}

one() { # name, option with N, N, arguments
    name_of_case=$1
    shift
    limit=$(sed -n "s/^$name_of_case  *\([0-9]*\)$/\1/p" "$limits" 2>/dev/null)
    got=$(count "$@")
    if [ -n "$write" ]; then
        echo "$name_of_case ${got:-?}" >>"$work/limits"
        return
    fi
    # Too many are counted again: large messages cost more when the kernel
    # cuts the stream into smaller pieces, never less.
    for _ in 1 2; do
        [ -n "$got" ] && [ -n "$limit" ] || break
        [ $((got * 100)) -gt $((limit * 105)) ] || break
        again=$(count "$@")
        [ -z "$again" ] || [ "$again" -ge "$got" ] || got=$again
    done
    if [ -z "$got" ] || [ -z "$limit" ]; then
        echo "FAIL $name_of_case: ${got:-no count}, limit ${limit:-missing}"
    elif [ $((got * 100)) -gt $((limit * 105)) ]; then
        echo "FAIL $name_of_case: $got instructions, limit $limit + 5 %"
    else
        echo "$name_of_case: $got/$limit"
        passed=$((passed + 1))
        return
    fi
    failed=$((failed + 1))
}

: >"$work/limits"
one echo-125 --messages 2000 --size 125
one echo-125-16-in-flight --messages 8000 --size 125 --window 16
one echo-16384 --messages 400 --size 16384
one echo-262144 --messages 100 --size 262144
one handshake --handshakes 200
if [ -n "$write" ]; then
    {
        echo "# User-space instructions a message; see check.sh."
        echo "# made by: $made"
        cat "$work/limits"
    } >"$limits"
    cat "$limits"
    grep -q '?' "$limits" && failed=1
fi
finish
