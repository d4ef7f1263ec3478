#!/bin/sh
# Builds abuse_server.c and runs abuse.py against it: all of it, then with
# fewer connections under sanitizers and with poll() instead of epoll.
#
#     abuse.sh [--only TEXT]
#
# CC, CLANG and PYTHON choose the tools.  Everything is built and logged in
# tests/.work/abuse.  The last line counts the tests; the exit status is 1
# when one failed.
set -u

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$root/tests/.work/abuse
mkdir -p "$work" || exit 1
cc=${CC:-cc}
clang=${CLANG:-clang}
python=${PYTHON:-python3}
PYTHONDONTWRITEBYTECODE=1
ASAN_OPTIONS=exitcode=86:abort_on_error=0
UBSAN_OPTIONS=print_stacktrace=1
export PYTHONDONTWRITEBYTECODE ASAN_OPTIONS UBSAN_OPTIONS

passed=0
failed=0
skipped=0

fail() {
    echo "FAIL $1"
    failed=$((failed + 1))
}

# build NAME COMPILER FLAG...: the program $work/NAME.
build() {
    program=$work/$1
    shift
    if ! "$@" -std=c99 -o "$program" "$here/abuse_server.c" \
        >"$work/build.log" 2>&1; then
        cat "$work/build.log"
        fail "build of abuse_server: $*"
        return 1
    fi
}

# part NAME ARGUMENT...: run the tests against $program.
part() {
    log=$work/$1.log
    shift
    "$python" "$here/abuse.py" "$@" "$program" >"$log" 2>&1
    status=$?
    cat "$log"
    numbers=$(tail -n 1 "$log" | sed -n \
's/^.*: \([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p')
    if [ -z "$numbers" ]; then
        fail "$log: exit status $status, no count in its last line"
        return
    fi
    set -- $numbers
    passed=$((passed + $1))
    failed=$((failed + $2))
    skipped=$((skipped + $3))
    if [ "$status" -ne 0 ] && [ "$2" -eq 0 ]; then
        fail "$log: exit status $status"
    fi
}

if ! command -v "$python" >/dev/null 2>&1; then
    echo "FAIL $python: not found"
    echo "0 passed, 1 failed, 0 skipped"
    exit 1
fi
if [ ! -d /proc/self/fd ]; then
    echo "SKIP abuse: the tests read /proc"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
fi

if build plain "$cc" -O2; then
    part plain "$@"
fi
if build poll "$cc" -O2 -DWSOCK_USE_POLL; then
    part poll --small --title "abuse with poll()" "$@"
fi
if ! command -v "$clang" >/dev/null 2>&1; then
    echo "SKIP abuse under sanitizers: install clang"
    skipped=$((skipped + 1))
elif build sane "$clang" -g -O1 -fno-omit-frame-pointer \
    -fsanitize=address,undefined -fno-sanitize-recover=all; then
    part sane --small --title "abuse under sanitizers" "$@"
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
