# common.sh - servers under load: what run.sh and check.sh share.  To be read
# with `.`; $here, $top and $work are set.
mkdir -p "$work" || exit 2
cc=${CC:-cc}
cxx=${CXX:-c++}
node=${NODE:-node}
NODE_PATH=$work/node_modules:$work/../node_modules
export NODE_PATH
servers_up=

# Server and load on one CPU: nobody waits for another CPU to wake up, which
# costs more than the work, and comes and goes with the scheduler's mood.
pin=
if command -v taskset >/dev/null && taskset -c 1 true 2>/dev/null; then
    pin='taskset -c 1'
fi

calc() { awk "BEGIN { printf \"$1\", $2 }"; }

# ------------------------------------------------------------------ build --

# Only when the command, a file that it names or wsock.h has changed.
build() { # program, command...
    program=$work/$1
    shift
    if [ -x "$program" ] && [ "$(cat "$program.cmd" 2>/dev/null)" = "$*" ] &&
        up_to_date "$@"; then
        return
    fi
    rm -f "$program"
    if ! "$@" -o "$program" $libraries >"$program.log" 2>&1; then
        echo "does not build: $*" >&2
        tail -n 20 "$program.log" >&2
        return 1
    fi
    echo "$*" >"$program.cmd"
}
libraries= # behind the source

up_to_date() {
    for file; do
        [ -f "$file" ] || continue
        [ -z "$(find "$file" -newer "$program")" ] || return 1
        grep -q 'wsock\.h"' "$file" &&
            [ -n "$(find "$top/wsock.h" -newer "$program")" ] && return 1
    done
    return 0
}

build_ours() {
    for name in load raw_echo fanout pingpong micro; do
        build $name $cc -std=c99 -O2 "$here/$name.c" || return 1
    done
    build echo_server $cc -std=c99 -O2 "$top/examples/echo_server.c"
}

# ---------------------------------------------------------------- servers --

launch() { # kind, mode (echo, fanout, idle), wrapper...
    kind=$1 mode=$2 argument=
    shift 2
    [ "$mode" != fanout ] || argument=fanout
    case $kind-$mode in
    libwebsockets-idle) exec "$@" "$work/$kind" uv ;;
    wsock-fanout) exec "$@" "$work/fanout" ;;
    wsock-*) exec "$@" "$work/echo_server" --port 0 \
        --max-message 2000000000 ;;
    raw-*) exec "$@" "$work/raw_echo" $argument ;;
    ws-*) exec "$@" "$node" "$here/peers/ws.js" $argument ;;
    *) exec "$@" "$work/$kind" $argument ;;
    esac
}

# A server in the background: its process in $pid_KIND and $pid, its port in
# $port_KIND and $port.
start() { # kind, mode, wrapper...
    name=$1
    [ $# -gt 2 ] || set -- "$@" $pin
    : >"$work/$name.url"
    (launch "$@") >"$work/$name.url" 2>"$work/$name.err" &
    pid=$!
    eval "pid_$name=$pid"
    servers_up="$servers_up $pid"
    tries=0
    while [ $tries -lt 600 ]; do
        port=$(sed -n 's|.*://[^ ]*:\([0-9][0-9]*\).*|\1|p' \
            "$work/$name.url")
        [ -z "$port" ] || break
        sleep 0.02
        tries=$((tries + 1))
    done
    eval "port_$name=$port"
    [ -n "$port" ] && return
    echo "the $name server does not say where it listens:" >&2
    cat "$work/$name.url" "$work/$name.err" >&2
    exit 1
}

# These processes are ours; they end whatever happens.
stop_all() {
    for each in $servers_up; do kill -KILL "$each" 2>/dev/null; done
    for each in $servers_up; do wait "$each" 2>/dev/null; done
    servers_up=
}
trap stop_all EXIT
trap 'exit 1' INT TERM

# With a tool around it a server ends in order, so that the tool can tell.
stop_gently() { # pid
    kill "$1" 2>/dev/null
    # Again, for a program that was just about to wait when it came.  It must
    # not hold on to a pipe that its caller reads.
    (while sleep 2; do kill "$1" || exit; done) >/dev/null 2>&1 &
    again=$!
    wait "$pid" 2>/dev/null
    kill "$again" 2>/dev/null
    wait "$again" 2>/dev/null
    servers_up=
}

load() { # kind, arguments
    kind=$1
    shift
    raw=
    [ "$kind" != raw ] || raw=--raw
    $pin "$work/load" $raw --port "$port" "$@" 2>"$work/load.log"
}

# ----------------------------------------------------------------- counts --

# User-space instructions of a whole run, start-up and handshake included.
instructions() { # kind, load's arguments
    start "$1" echo valgrind --tool=callgrind \
        --callgrind-out-file=/dev/null
    load "$@" >/dev/null
    done=$?
    stop_gently "$pid"
    [ $done = 0 ] || { cat "$work/load.log" >&2; return 1; }
    sed -n 's/.*Collected *: *\([0-9]*\).*/\1/p' "$work/$name.err"
}

# System calls of a whole run.  strace runs the server as its child and
# passes no signal on, so the child is told to end by its own number.
calls() { # kind, load's arguments
    start "$1" echo strace -f -c -o "$work/strace" sh -c 'echo $$ >"$1"; shift
        exec "$@"' sh "$work/pid"
    load "$@" >/dev/null
    done=$?
    stop_gently "$(cat "$work/pid")"
    [ $done = 0 ] || { cat "$work/load.log" >&2; return 1; }
    awk '$NF == "total" { print (NF > 4 && $4 ~ /^[0-9]+$/) ? $4 : $3 }' \
        "$work/strace"
}
