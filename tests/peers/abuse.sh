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
export PYTHONDONTWRITEBYTECODE
install=
. "$here/counts.sh"

# part NAME ARGUMENT...: run the tests against $program.
part() {
    log=$work/$1.log
    shift
    count "$log" "$python" "$here/abuse.py" "$@" "$program"
}

if ! command -v "$python" >/dev/null 2>&1; then
    fail "$python: not found"
    finish
fi
if [ ! -d /proc/self/fd ]; then
    missing "abuse: /proc" "the tests read it"
    finish
fi

if build "$here/abuse_server.c" plain "$cc" -O2; then
    part plain "$@"
fi
if build "$here/abuse_server.c" poll "$cc" -O2 -DWSOCK_USE_POLL; then
    part poll --small --title "abuse with poll()" "$@"
fi
if ! command -v "$clang" >/dev/null 2>&1; then
    missing "abuse under sanitizers" "install clang"
elif build "$here/abuse_server.c" sane "$clang" -g \
    -fsanitize=address,undefined -fno-sanitize-recover=all; then
    part sane --small --title "abuse under sanitizers" "$@"
fi

finish
