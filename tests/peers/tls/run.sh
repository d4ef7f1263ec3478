#!/bin/sh
# wss:// against other people's TLS: openssl, python's websockets, node's ws.
#
#     run.sh PKI [--install]
#
# PKI is the folder that certificates.py has made.  The examples are built
# with BearSSL into tests/.work/tls.  The last line counts the cases.
set -u

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
store=$root/tests/.work
work=$store/tls
pki=$1
install=${2:-}
python=${PYTHON:-/usr/bin/python3}
node=${NODE:-node}
mkdir -p "$work" || exit 1
PYTHONDONTWRITEBYTECODE=1
export PYTHONDONTWRITEBYTECODE
. "$here/../counts.sh"

for name in echo_server echo_client wscat; do
    ${CC:-cc} -std=gnu99 -O1 -g -Wall -Wextra -Werror -DWSOCK_BEARSSL \
        -o "$work/$name" "$root/examples/$name.c" -lbearssl ||
        { fail "build of $name"; finish; }
    passed=$((passed + 1))
done
${CC:-cc} -std=gnu99 -O1 -g -Wall -Wextra -Werror -o "$work/tls_openssl" \
    "$root/examples/tls_openssl.c" -lssl -lcrypto ||
    { fail "build of tls_openssl (libssl-dev)"; finish; }
passed=$((passed + 1))

if [ -n "$install" ] && [ ! -d "$store/node_modules/ws" ] &&
    command -v npm >/dev/null 2>&1; then
    npm install --no-save --no-audit --no-fund --prefix "$store" ws@8 \
        >"$work/npm.log" 2>&1 || cat "$work/npm.log"
fi
if ! command -v "$node" >/dev/null 2>&1; then
    missing "node" "install nodejs"
    node=
elif [ ! -d "$store/node_modules/ws" ]; then
    missing "npm package ws" "run with --install"
    node=
fi
count "$work/peers.log" timeout 100 "$python" -W ignore "$here/peers.py" \
    "$pki" "$work" $node
finish
