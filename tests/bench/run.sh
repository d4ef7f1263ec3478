#!/bin/sh
# Usage: sh tests/bench/run.sh [--tls] [--quick] [--install] [--write]
#
#     --tls      over wss://, beside OpenSSL: see tls.sh
#     --quick    a minute instead of a quarter of an hour: fewer rows, shorter
#                runs, instructions of raw and wsock only; with --tls one
#                minute instead of three
#     --install  fetch the npm package `ws` into tests/.work/bench first
#     --write    put the table into README.md as well
#
# Prints one table, from this run: wsock, a raw echo and the peers.
# What the figures mean stands in README.md.  Needs Linux and a C compiler;
# whatever else is missing leaves `-`, with the reason below the table.
set -u
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
work=$here/../.work/bench
kinds='raw wsock libwebsockets wslay beast websocketpp ws'
tls= quick= install= write=
for argument; do
    case $argument in
    --tls) tls=yes ;;
    --quick) quick=yes ;;
    --install) install=yes ;;
    --write) write=yes ;;
    *) sed -n '2,13s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
done
if [ -n "$write" ]; then # again, with the output kept
    mkdir -p "$work" || exit 2
    { sh "$0" ${tls:+--tls} ${quick:+--quick} ${install:+--install} ||
        echo failed; } | tee "$work/table"
    [ "$(tail -n 1 "$work/table")" != failed ] || exit 1
    awk -v table="$work/table" -v name="the ${tls:+TLS }table" '
        index($0, "<!-- end of " name) { hidden = 0 }
        !hidden { print }
        index($0, "<!-- " name) { while ((getline line < table) > 0) print line
                                  hidden = 1 }' \
        "$here/README.md" >"$work/new" &&
        cat "$work/new" >"$here/README.md"
    exit
fi
. "$here/common.sh"
turns=3 seconds=0.4
[ -z "$quick" ] || turns=2 seconds=0.1
: >"$work/notes"

# ------------------------------------------------------------------ peers --

note() { echo "- $1" >>"$work/notes"; }

# Is there a header?  Else the peer is left out.
header() { # peer, header, package
    printf '#if !__has_include(<%s>)\n#error\n#endif\n' "$2" |
        $cc -E - >/dev/null 2>&1 && return
    note "$1: not measured, $3 is not installed"
    return 1
}

peer() { # name, ending, header, package, libraries, compiler...
    name=$1 ending=$2 libraries=$5
    header "$1" "$3" "$4" || return
    shift 5
    if build $name "$@" "$here/peers/$name.$ending"; then
        live="$live $name"
        for more in micro_$name ${name}_pingpong; do
            [ ! -f "$here/peers/$more.$ending" ] ||
                build $more "$@" "$here/peers/$more.$ending" || exit 1
        done
    else
        note "$name: not measured, its server does not build"
    fi
    libraries=
}

peers() {
    cflags='-std=gnu99 -O2' cxxflags='-std=c++14 -O3 -DNDEBUG'
    peer libwebsockets c libwebsockets.h libwebsockets-dev -lwebsockets \
        $cc $cflags
    if header wslay openssl/sha.h libssl-dev; then
        peer wslay c wslay/wslay.h libwslay-dev '-lwslay -lcrypto' \
            $cc $cflags
    fi
    peer beast cpp boost/beast.hpp libboost-dev -pthread $cxx $cxxflags
    peer websocketpp cpp websocketpp/server.hpp libwebsocketpp-dev -pthread \
        $cxx $cxxflags
    peer_ws
}

peer_ws() {
    if [ -n "$install" ] && [ ! -d "$work/node_modules/ws" ]; then
        npm install --no-save --no-audit --no-fund --prefix "$work" ws@8 \
            bufferutil@4 >"$work/npm.log" 2>&1 || cat "$work/npm.log" >&2
    fi
    if ! command -v "$node" >/dev/null 2>&1; then
        note "ws: not measured, nodejs is not installed"
    elif ! "$node" -e 'require("ws")' 2>/dev/null; then
        note "ws: not measured, the npm package is not there (--install)"
    else
        live="$live ws${tls:+ ws13}"
    fi
}

version() { # kind
    case $1 in
    libwebsockets) debian libwebsockets-dev ;;
    wslay) debian libwslay-dev ;;
    beast) debian libboost-dev ;;
    websocketpp) debian libwebsocketpp-dev ;;
    ws) "$node" -p 'require("ws/package.json").version + " on node " +
        process.versions.node' ;;
    esac 2>/dev/null
}

debian() { dpkg-query -W -f '${Version}' "$1" | sed 's/^[0-9]*://; s/-.*//'; }

# ------------------------------------------------------------------ table --

head_of_table() {
    echo "$(date -u +%Y-%m-%d), $(uname -sr) $(uname -m), $(nproc) CPUs:" \
        "$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1);" \
        "$($cc --version | head -n 1)${quick:+; --quick}"
    echo
    line='|' rule='| ---'
    for kind in $kinds; do
        line="$line | $(title $kind)"
        rule="$rule | ---"
    done
    printf '%s |\n%s |\n' "$line" "$rule"
}

title() { # kind
    echo "$1 $(version $1)" | sed 's/ $//
        s/^beast/Boost.Beast/; s/^ws /npm ws /'
}

section() { echo "| **$1**$(echo " $kinds" | sed 's/ [a-z0-9]*/ |/g') |"; }

# A row from lines `kind value`: the least of each, or the largest, and with
# `ratio` how it compares to raw, that of TLS 1.3 for its kinds.
row() { # label, format, least|largest[ ratio]
    awk -v kinds="$kinds" -v label="$1" -v format="$2" -v how="$3" '
        !($1 in best) || (how ~ /least/ ? $2 < best[$1] : $2 > best[$1]) {
            best[$1] = $2
        }
        END {
            n = split(kinds, k, " ")
            printf "| %s", label
            for (i = 1; i <= n; i++) {
                if (!(k[i] in best)) { printf " | -"; continue }
                printf " | " format, best[k[i]]
                raw = k[i] ~ /13$/ ? "raw13" : "raw"
                if (how ~ /ratio/ && k[i] != raw && best[raw] > 0)
                    printf " (%.2f)", best[k[i]] / best[raw]
            }
            print " |"
        }'
}

# --------------------------------------------------------------- measures --

# Takes a peer out of this row; ours and raw must work.
give_up() { # kind, label
    case $1 in
    raw* | wsock | bearssl | openssl*) echo "$1 failed at $2" >&2; exit 1 ;;
    esac
    note "$1, $2: failed ($(tail -n 1 "$work/load.log"))"
    running=$(echo " $running " | sed "s/ $1 / /")
}

# Lines `kind count seconds cpu` in $work/got: all servers in turn, several
# times, each server new for the row.
measure() { # label, mode, load's arguments
    label=$1 mode=$2
    shift 2
    : >"$work/got"
    running=$live
    for kind in $running; do start "$kind" "$mode"; done
    for _ in $(seq $turns); do
        for kind in $running; do
            eval "pid=\$pid_$kind port=\$port_$kind"
            if result=$(load "$kind" --pid "$pid" "$@"); then
                echo "$kind $result" >>"$work/got"
            else
                give_up "$kind" "$label"
            fi
        done
    done
    stop_all
}

per_message() { awk '{ print $1, $4 / $2 * 1e6 }' "$work/got"; }
rate() { awk '{ print $1, $2 / $3 }' "$work/got"; }

size_name() {
    case $1 in
    1048576) echo 1 MiB ;;
    *) [ "$1" -ge 1024 ] && echo "$(($1 / 1024)) KiB" || echo "$1 B" ;;
    esac
}

echo_row() { # size, connections, in flight, ascii|cjk or nothing
    label="$(size_name "$1")${4:+ $4}, $2 conn."
    [ "$3" = 1 ] || label="$label, $3 in flight"
    measure "$label" echo --size "$1" --conns "$2" --window "$3" \
        ${4:+--text $4} --seconds $seconds
    per_message | row "$label" %.2f 'least ratio'
}

echo_rows() {
    section "server CPU, us a message (ratio to raw)"
    if [ -n "$quick" ]; then
        echo_row 16 1 1
        echo_row 125 50 1
        echo_row 125 500 1
        echo_row 125 50 16
        echo_row 16384 50 1
        echo_row 16384 50 1 ascii
        echo_row 16384 50 1 cjk
        echo_row 1048576 1 1
        return
    fi
    for size in 16 125 1024 16384 262144 1048576; do
        for conns in 1 50 500; do
            for window in 1 16; do
                # More than 512 MiB in flight is a test of memory.
                [ $((size * conns * window)) -gt 536870912 ] ||
                    echo_row $size $conns $window
            done
        done
    done
    for text in ascii cjk; do
        for size in 125 16384 1048576; do
            echo_row $size 50 1 $text
        done
        echo_row 125 50 16 $text
    done
}

handshake_rows() {
    n=5000
    [ -z "$quick" ] || n=1000
    section "handshakes, 50 at a time, load on the same CPU"
    measure handshakes echo --conns 50 --handshakes $n
    rate | row "a second" %.0f largest
    per_message | row "server CPU, us each" %.1f 'least ratio'
}

fanout_rows() {
    section "fan-out to 1,000, server CPU, us a delivery"
    for size in 125 16384; do
        measure "fan-out of $size B" fanout --size $size --conns 1000 \
            --fanout --seconds $seconds
        per_message | row "$(size_name $size)" %.3f 'least ratio'
    done
}

pingpong_rows() {
    section "blocking ping-pong, both sides: CPU, us a round trip"
    for size in 125 16384; do
        : >"$work/got"
        for _ in $(seq $turns); do
            for kind in raw wsock beast; do
                program=$work/pingpong arguments=$kind
                [ $kind != beast ] ||
                    program=$work/beast_pingpong arguments=
                case $live in *$kind*) ;; *) continue ;; esac
                result=$($pin "$program" $arguments $size $seconds) || exit 1
                echo "$kind $result" >>"$work/got"
            done
        done
        per_message | row "$(size_name $size)" %.2f 'least ratio'
    done
}

idle_row() {
    # Descriptors are left for the server's own.
    most=$(ulimit -Hn)
    [ "$most" != unlimited ] && [ "$most" -lt 20100 ] || most=21000
    from=$((most - 11000)) to=$((most - 1000))
    [ -z "$quick" ] || from=1000 to=3000
    section "memory"
    label="bytes per idle connection, $from to $to"
    if [ $from -lt 1000 ] || ! ulimit -Sn $((to + 200)) 2>/dev/null; then
        note "idle connections: not measured, a process has $most descriptors"
        row "$label" %.0f least </dev/null
        return
    fi
    for kind in $live; do
        start "$kind" idle
        eval "pid=\$pid_$kind"
        if result=$(load "$kind" --pid "$pid" --idle $from $to); then
            echo "$kind $result"
        else
            note "$kind, idle connections: $(tail -n 1 "$work/load.log")"
        fi
        stop_all
    done | awk -v n=$((to - from)) '{ print $1, ($3 - $2) / n }' |
        row "$label" %.0f least
}

# ------------------------------------------------- instructions and calls --

# The difference of runs of N and 2N messages, for all of a list of servers.
count_row() { # measure, format, label, servers, option with N, N, arguments
    counter=$1 format=$2 label=$3 servers=$4 option=$5 n=$6
    shift 6
    for kind in $servers; do
        if a=$($counter "$kind" $option "$n" "$@") && [ -n "$a" ] &&
            b=$($counter "$kind" $option $((n * 2)) "$@") && [ -n "$b" ]; then
            echo "$kind $(calc %.4f "($b - $a) / $n")"
        else
            note "$kind, $label: not counted, its server or the load failed"
        fi
    done | row "$label" "$format" least
}

instruction_rows() {
    section "user-space instructions a message"
    if ! command -v valgrind >/dev/null; then
        note "instructions: not counted, valgrind is not installed"
        return
    fi
    servers=$(echo "$live " | sed 's/ ws $//')
    [ -z "$quick" ] || servers='raw wsock'
    case $live in
    *' ws') note "ws, instructions: callgrind does not follow code that is \
made at run time" ;;
    esac
    ins() { count_row instructions %.0f "$1" "$servers" "$2" "$3" ${4:-}; }
    ins "125 B" --messages 2000
    ins "125 B, 16 in flight" --messages 8000 '--window 16'
    ins "16 KiB" --messages 400 '--size 16384'
    if [ -z "$quick" ]; then
        ins "1 KiB" --messages 2000 '--size 1024'
        ins "256 KiB" --messages 60 '--size 262144'
        ins "16 KiB ascii" --messages 400 '--size 16384 --text ascii'
        ins "16 KiB cjk" --messages 400 '--size 16384 --text cjk'
    fi
    ins "handshake" --handshakes 200 ''
}

call_rows() {
    section "system calls a message"
    if ! command -v strace >/dev/null ||
        ! strace -o /dev/null true 2>/dev/null; then
        note "system calls: not counted, strace is missing or not allowed"
        return
    fi
    ins() { count_row calls %.2f "$1" "$live" "$2" "$3" ${4:-}; }
    ins "125 B" --messages 1000
    ins "125 B, 16 in flight" --messages 4000 '--window 16'
    [ -n "$quick" ] || ins "16 KiB" --messages 400 '--size 16384'
    [ -n "$quick" ] || ins "handshake" --handshakes 200 ''
}

# ------------------------------------------------------------------ micro --

micro_row() { # label, format, least|largest, what
    awk -v what="$4" '$2 == what { print $1, $3 }' "$work/micro.got" |
        row "$1" "$2" "$3"
}

micro_rows() {
    section "micro: masking, UTF-8, parsing (raw: a copy)"
    for kind in $live; do
        case $kind in
        wsock) $pin "$work/micro" || exit 1 ;; # raw's, too
        ws) $pin "$node" "$here/peers/micro_ws.js" ;;
        *) [ ! -x "$work/micro_$kind" ] || $pin "$work/micro_$kind" ;;
        esac
    done >"$work/micro.got" 2>>"$work/micro.err"
    note "micro: libwebsockets has no such functions to call; Beast cannot \
parse without a stream, nor wslay mask or check alone"
    for size in 16 1024 16384; do
        micro_row "masking, $(size_name $size), GB/s" %.2f largest mask-$size
    done
    micro_row "UTF-8, 16 KiB ASCII, GB/s" %.2f largest ascii-16384
    micro_row "UTF-8, 16 KiB CJK, GB/s" %.2f largest cjk-16384
    micro_row "UTF-8, 16 KiB Cyrillic, GB/s" %.2f largest cyrillic-16384
    micro_row "UTF-8, 125 B Cyrillic, GB/s" %.2f largest cyrillic-125
    for size in 16 125 1024; do
        micro_row "a frame of $(size_name $size), ns" %.1f least parse-$size
    done
}

# -------------------------------------------------------------------- all --

if [ -n "$tls" ]; then
    . "$here/tls.sh"
    tls_table
    exit
fi
build_ours || exit 1
live='raw wsock'
peers
head_of_table
echo_rows
handshake_rows
fanout_rows
pingpong_rows
idle_row
call_rows
instruction_rows
micro_rows
echo
cat "$work/notes"
