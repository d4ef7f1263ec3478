#!/bin/sh
# Runs the conformance scripts and the peers against the echo programs.
#
#     run.sh [--install] [--fast]
#
#     --install  fetch the npm package `ws` into tests/.work; a peer that is
#                missing is then a failure, else it is skipped
#     --fast     without the cases that wait for a time-out
#
# CC, CLANG, PYTHON, NODE and JAVA choose the tools.  Everything is built and
# logged in tests/.work/peers.  The last line counts the cases; the exit
# status is 1 when one failed.
set -u

install=
fast=
for argument; do
    case $argument in
    --install) install=yes ;;
    --fast) fast=--fast ;;
    *) sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
done

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
store=$root/tests/.work
work=$store/peers
mkdir -p "$work" || exit 1
cc=${CC:-cc}
clang=${CLANG:-clang}
python=${PYTHON:-python3}
node=${NODE:-node}
java=${JAVA:-java}
PATH=$PATH:/usr/sbin # nginx, haproxy
PYTHONDONTWRITEBYTECODE=1
export PYTHONDONTWRITEBYTECODE
. "$here/counts.sh"

started=
stop() {
    for pid in $started; do
        kill "$pid" 2>/dev/null
    done
    wait
    started=
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# part NAME COMMAND...: run one script and add what its last line counts.
part() {
    log=$work/$1.log
    shift
    count "$log" "$@"
}

# build NAME COMPILER FLAG...: $work/NAME_server and $work/NAME_client.
build() {
    name=$1
    shift
    for role in server client; do
        if ! "$@" -I"$root" -o "$work/${name}_$role" \
            "$root/examples/echo_$role.c" >"$work/build.log" 2>&1; then
            cat "$work/build.log"
            fail "build of echo_$role: $*"
            return 1
        fi
    done
}

# Start a server; its URL is in $url then.
listen() {
    : >"$work/listen.out" # else the URL of an earlier one might be read
    "$1" --port 0 >"$work/listen.out" 2>"$work/listen.err" &
    server=$!
    started="$started $server"
    tries=0
    url=
    while [ -z "$url" ] && [ $tries -lt 100 ]; do
        url=$(sed -n 's|.*\(ws://[^/ ]*\).*|\1/|p' "$work/listen.out" |
            head -n 1)
        [ -n "$url" ] || sleep 0.1
        tries=$((tries + 1))
    done
    if [ -z "$url" ]; then
        cat "$work/listen.err"
        fail "$1: no URL on its standard output"
        return 1
    fi
}

# End it; it has to end with status 0.
unlisten() {
    kill "$server"
    wait "$server"
    status=$?
    started=
    if [ $status -ne 0 ] || [ -s "$work/listen.err" ]; then
        cat "$work/listen.err"
        fail "the server of the peers: exit status $status"
    else
        passed=$((passed + 1))
    fi
}

if ! command -v "$python" >/dev/null 2>&1; then
    fail "$python: not found; the conformance scripts need it"
    finish
fi

# ------------------------------------------------------------- conformance

if ! build plain "$cc" -std=c99 -O2; then
    finish
fi
part server "$python" "$here/conformance_server.py" $fast \
    "$work/plain_server"
part client "$python" "$here/conformance_client.py" $fast \
    "$work/plain_client"

if build poll "$cc" -std=c99 -O2 -DWSOCK_USE_POLL; then
    part server_poll "$python" "$here/conformance_server.py" $fast \
        --title "conformance of the server with poll()" "$work/poll_server"
fi

sane=
if ! command -v "$clang" >/dev/null 2>&1; then
    missing "sanitizer build" "install clang"
elif build sane "$clang" -std=c99 -g \
    -fsanitize=address,undefined -fno-sanitize-recover=all; then
    sane=yes
    part server_sane "$python" "$here/conformance_server.py" $fast \
        --title "conformance of the server under sanitizers" \
        "$work/sane_server"
    part client_sane "$python" "$here/conformance_client.py" $fast \
        --title "conformance of the client under sanitizers" \
        "$work/sane_client"
fi

# ------------------------------------------------------------------- peers

if [ -n "$install" ] && [ ! -d "$store/node_modules/ws" ]; then
    if command -v npm >/dev/null 2>&1; then
        npm install --no-save --no-audit --no-fund --prefix "$store" ws@8 \
            >"$work/npm.log" 2>&1 || cat "$work/npm.log"
    fi
fi
if ! command -v "$node" >/dev/null 2>&1; then
    missing "node" "install nodejs"
elif [ ! -d "$store/node_modules/ws" ]; then
    missing "npm package ws" "run with --install"
else
    if listen "$work/plain_server"; then
        part node_client "$node" "$here/node/client.js" "$url"
        unlisten
    fi
    part node_server "$node" "$here/node/server.js" "$work/plain_client"
fi

websockets=
for candidate in "$python" /usr/bin/python3; do
    if "$candidate" -c 'import websockets' >/dev/null 2>&1; then
        websockets=$candidate
        break
    fi
done
if [ -z "$websockets" ]; then
    missing "python package websockets" "install python3-websockets"
else
    if listen "$work/plain_server"; then
        part python_client "$websockets" "$here/python/peer.py" client "$url"
        unlisten
    fi
    part python_server "$websockets" "$here/python/peer.py" server \
        "$work/plain_client"
fi

# What follows talks with programs that are made for it: talk and obey, which
# are built with sanitizers where that is possible.
# make NAME SOURCE FLAG...: $work/NAME
make() {
    name=$1
    source=$2
    shift 2
    if ! $compile -I"$root" -o "$work/$name" "$source" "$@" \
        >"$work/build.log" 2>&1; then
        cat "$work/build.log"
        fail "build of $source"
        return 1
    fi
}

have() { command -v "$1" >/dev/null 2>&1; }

sanitize='-fsanitize=address,undefined -fno-sanitize-recover=all'
compile="$cc -O2"
if [ -n "$sane" ]; then
    compile="$clang -g $sanitize"
fi
warn='-Wall -Wextra -Werror'
# shellcheck disable=SC2086
if make talk "$here/steps/talk.c" -std=c99 $warn &&
    make obey "$here/steps/obey.c" -std=c99 $warn &&
    compile="$cc -O1" &&
    make wscat "$root/examples/wscat.c" &&
    make chat "$root/examples/chat.c"; then
    made=yes
else
    made=
fi

if ! echo '#include <libwebsockets.h>' | $cc -E - >/dev/null 2>&1; then
    missing "libwebsockets" "install libwebsockets-dev"
elif [ -n "$made" ]; then
    if make lws_talk "$here/lws/talk.c" -lwebsockets &&
        make lws_serve "$here/lws/serve.c" -lwebsockets; then
        part libwebsockets "$python" "$here/lws/run.py" "$work"
    fi
fi

if ! have websocketd; then
    missing "websocketd" "install websocketd"
elif [ -n "$made" ]; then
    part websocketd "$python" "$here/websocketd/run.py" "$work" "$work"
fi

if ! have "$java" || ! "$java" --list-modules 2>/dev/null |
    grep -q '^jdk.compiler@\(1[7-9]\|[2-9][0-9]\)'; then
    missing "a JDK, 17 or later" "install default-jdk-headless"
elif [ -n "$made" ]; then
    part java "$java" "$here/java/Client.java" "$work/obey" \
        "$work/plain_server"
fi

for proxy in nginx haproxy; do
    if ! have $proxy; then
        missing $proxy "install $proxy"
    elif [ -n "$made" ]; then
        # shellcheck disable=SC2086
        part $proxy "$python" "$here/proxies/run.py" $proxy "$work" "$work" \
            $websockets
    fi
done

PYTHON=$python
export PYTHON
part autobahn sh "$here/autobahn.sh" "$work/plain_server" \
    "$work/plain_client" "$work/autobahn"

finish
