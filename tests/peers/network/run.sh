#!/bin/sh
# Builds peer.c and runs network.py: both ends of a connection on bad networks,
# then the same with poll() instead of epoll and under sanitizers.
#
#     run.sh [--only TEXT]
#
# CC, CLANG and PYTHON choose the tools.  It is to be root, or to be permitted
# namespaces and /dev/net/tun, which are Linux's: else all is skipped.
# Everything is built and logged in tests/.work/network.  The last line counts
# the tests; the exit status is 1 when one failed.
set -u

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
work=$root/tests/.work/network
mkdir -p "$work" || exit 1
cc=${CC:-cc}
clang=${CLANG:-clang}
python=${PYTHON:-python3}
PYTHONDONTWRITEBYTECODE=1
export PYTHONDONTWRITEBYTECODE
install=
. "$here/../counts.sh"

# The last line as other scripts read it.
finish() {
    echo "network: $passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ]
    exit
}

# part NAME ARGUMENT...: run the tests with $program.
part() {
    log=$work/$1.log
    shift
    count "$log" "$python" "$here/network.py" "$@" "$program"
}

if ! command -v "$python" >/dev/null 2>&1; then
    fail "$python: not found"
    finish
fi
if [ "$(uname -s)" != Linux ]; then
    missing network "it needs Linux's namespaces"
    finish
fi

if build "$here/peer.c" plain "$cc" -O2 -Wall -Wextra -Werror; then
    part plain "$@"
fi
if ! command -v "$clang" >/dev/null 2>&1; then
    missing "network under sanitizers" "install clang"
elif build "$here/peer.c" sane "$clang" -g \
    -DWSOCK_USE_POLL -fsanitize=address,undefined -fno-sanitize-recover=all
then
    part sane --title "network with poll(), under sanitizers" "$@"
fi

finish
