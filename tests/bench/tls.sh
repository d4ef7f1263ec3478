# tls.sh - the benchmark over wss://: `run.sh --tls`, and what check_tls.sh
# tries of it.  To be read with `.`, behind common.sh and what either defines.
#
# A kind of server is named as in $kinds; one that ends in 13 is the same
# program, spoken to in TLS 1.3.  BEARSSL names a folder of BearSSL's sources
# that is built, to be measured instead of the system's BearSSL.
kinds='raw bearssl openssl ws raw13 openssl13 ws13'
bear=${BEARSSL:-}

title() { # kind
    case $1 in
    raw) echo "raw OpenSSL $(debian libssl-dev)" ;;
    bearssl) echo "wsock, BearSSL $(bear_version)" ;;
    openssl) echo "wsock, OpenSSL" ;;
    ws) echo "npm ws $(version ws)" ;;
    raw13) echo "TLS 1.3: raw OpenSSL" ;;
    openssl13) echo "TLS 1.3: wsock, OpenSSL" ;;
    ws13) echo "TLS 1.3: npm ws" ;;
    esac
}

bear_version() {
    [ -z "$bear" ] && debian libbearssl-dev || echo "in $(basename "$bear")"
}

# ---------------------------------------------------------------- servers --

build_load_and_raw() {
    libraries='-lssl -lcrypto'
    build tls_load $cc $tls_flags -DLOAD_TLS "$here/load.c" &&
        build raw_tls $cc $tls_flags "$here/peers/raw_tls.c"
    done=$?
    libraries=
    return $done
}

build_bearssl() {
    libraries=-lbearssl
    [ -z "$bear" ] || libraries=$bear/build/libbearssl.a
    build tls_bearssl $cc $tls_flags ${bear:+-I"$bear/inc"} \
        -DWSOCK_BEARSSL "$top/examples/echo_server.c" &&
        build tls_parts $cc $tls_flags ${bear:+-I"$bear/inc"} \
            "$here/tls_parts.c"
    done=$?
    libraries=
    return $done
}

build_openssl() {
    libraries='-lssl -lcrypto'
    build tls_openssl $cc $tls_flags "$top/examples/tls_openssl.c"
    done=$?
    libraries=
    return $done
}
tls_flags='-std=gnu99 -O2'

# A key of each kind, and a certificate that it signs itself.
certificates() {
    for cert in ecdsa rsa; do
        [ ! -s "$work/$cert.pem" ] || continue
        key='-newkey rsa:2048'
        [ $cert = rsa ] ||
            key='-newkey ec -pkeyopt ec_paramgen_curve:P-256'
        openssl req -x509 $key -nodes -keyout "$work/$cert.key" \
            -out "$work/$cert.pem" -days 3650 -subj /CN=localhost \
            -addext subjectAltName=DNS:localhost,IP:127.0.0.1 \
            >"$work/openssl.log" 2>&1 && continue
        cat "$work/openssl.log" >&2
        return 1
    done
}

launch() { # kind, the certificate's name (echo: ecdsa), wrapper...
    kind=${1%13} cert=$work/$2
    [ "$2" != echo ] || cert=$work/ecdsa
    shift 2
    case $kind in
    raw) exec "$@" "$work/raw_tls" "$cert.pem" "$cert.key" ;;
    bearssl) exec "$@" "$work/tls_bearssl" --port 0 \
        --max-message 2000000000 --cert "$cert.pem" --key "$cert.key" ;;
    openssl) exec "$@" "$work/tls_openssl" serve "$cert.pem" "$cert.key" 0 ;;
    ws) exec "$@" "$node" "$here/peers/wss.js" "$cert.pem" "$cert.key" ;;
    esac
}

load() { # kind, arguments
    kind=$1
    shift
    tls_version=1.2
    [ "$kind" = "${kind%13}" ] || tls_version=1.3
    raw=
    [ "${kind%13}" != raw ] || raw=--raw
    $pin "$work/tls_load" $raw --tls $tls_version --port "$port" "$@" \
        2>"$work/load.log"
}

# ------------------------------------------------------------------- rows --
# A row is measured once and then shown by several figures.

keep() { # name, then as for measure()
    kept=$work/tls.$1
    shift
    measure "$@"
    cp "$work/got" "$kept"
    echo "$1" >"$kept.label"
}

show() { # figure, format, how, names
    figure=$1 format=$2 how=$3
    shift 3
    for each; do
        cp "$work/tls.$each" "$work/got"
        $figure "$each" | row "$(cat "$work/tls.$each.label")" "$format" \
            "$how"
    done
}

by_cpu() { awk '{ print $1, $2 / $4 }' "$work/got"; }
megabytes() {
    awk -v n="$(cat "$work/tls.$1.size")" '{ print $1, $2 * n / 1e6 }'
}
mb_rate() { rate | megabytes "$1"; }
mb_by_cpu() { by_cpu | megabytes "$1"; }

tls_echo() { # name, label, size, connections, in flight, other arguments
    echoes="$echoes $1"
    echo "$3" >"$work/tls.$1.size"
    keep "$1" "$(size_name $3), $4 conn.$2" ecdsa --size "$3" --conns "$4" \
        --window "$5" --seconds $seconds ${6:-}
}

tls_echo_rows() {
    echoes=
    if [ -n "$quick" ]; then
        tls_echo 1k '' 1024 50 1
        tls_echo 1m '' 1048576 1 1
    else
        tls_echo 1k_one '' 1024 1 1
        tls_echo 1k '' 1024 50 1
        tls_echo 1k_many ', 16 in flight' 1024 50 16
        tls_echo 16k '' 16384 50 1
        tls_echo 1m '' 1048576 1 1
        tls_echo 1m_chacha ', ChaCha20' 1048576 1 1 '--suite chacha'
    fi
    section "server CPU, us a message (ratio to raw)"
    show per_message %.2f 'least ratio' $echoes
    section "MB/s, by the server's CPU (ratio to raw)"
    show mb_by_cpu %.0f 'largest ratio' $echoes
    section "MB/s, by the clock, load on the same CPU"
    show mb_rate %.0f largest $echoes
}

tls_handshakes() { # name, label, certificate, how many, other arguments
    shaken="$shaken $1"
    keep "$1" "$2" "$3" --conns 50 --handshakes "$4" ${5:-}
}

tls_handshake_rows() {
    shaken=
    n=300
    [ -z "$quick" ] || n=100
    tls_handshakes full 'full, ECDSA P-256, X25519' ecdsa $n
    [ -n "$quick" ] || tls_handshakes p256 'full, ECDSA P-256, P-256' \
        ecdsa $n '--group p256'
    tls_handshakes rsa 'full, RSA 2048, X25519' rsa $n
    tls_handshakes resumed 'resumed' ecdsa $((n * 2)) '--resume yes'
    section "handshakes, 50 at a time: server CPU, us each (ratio to raw)"
    show per_message %.0f 'least ratio' $shaken
    section "handshakes a second, by the server's CPU (ratio to raw)"
    show by_cpu %.0f 'largest ratio' $shaken
    section "handshakes a second, by the clock, load on the same CPU"
    show rate %.0f largest $shaken
}

# ----------------------------------------------------------------- memory --

tls_idle_row() { # label, other arguments
    label="$1, $from to $to"
    shift
    for kind in $live; do
        start "$kind" ecdsa
        eval "pid=\$pid_$kind"
        if result=$(load "$kind" --pid "$pid" --idle $from $to "$@"); then
            echo "$kind $result"
        else
            note "$kind, $label: $(tail -n 1 "$work/load.log")"
        fi
        stop_all
    done | awk -v n=$((to - from)) '{ print $1, ($3 - $2) / n / 1024 }' |
        row "$label" %.1f least
}

tls_memory_rows() {
    from=200 to=1000
    [ -z "$quick" ] || from=50 to=250
    section "memory, KiB a connection"
    if ! ulimit -Sn $((to + 200)) 2>/dev/null; then
        note "memory: not measured, a process has $(ulimit -Hn) descriptors"
        return
    fi
    tls_idle_row "idle"
    tls_idle_row "idle after one message of 16 KiB" --size 16384 --touch
}

# ------------------------------------------------- instructions and calls --

tls_call_rows() {
    section "system calls"
    if ! command -v strace >/dev/null ||
        ! strace -o /dev/null true 2>/dev/null; then
        note "system calls: not counted, strace is missing or not allowed"
        return
    fi
    ins() { count_row calls "$1" "$2" "$live" "$3" "$4" ${5:-}; }
    ins %.1f "a message of 1 KiB" --messages 500 '--size 1024'
    ins %.0f "a message of 1 MiB" --messages 20 '--size 1048576'
    ins %.1f "a full handshake" --handshakes 50
    ins %.1f "a resumed handshake" --handshakes 100 '--resume yes'
}

tls_instruction_rows() {
    section "user-space instructions"
    if ! command -v valgrind >/dev/null; then
        note "instructions: not counted, valgrind is not installed"
        return
    fi
    servers=
    for kind in $live; do
        case $kind in
        ws) note "ws, instructions: callgrind does not follow code that is \
made at run time" ;;
        *13) ;;
        *) servers="$servers $kind" ;;
        esac
    done
    note "instructions: of the vector units that valgrind knows; TLS 1.3 is \
not counted"
    ins() { count_row instructions %.0f "$1" "$servers" "$2" "$3" ${4:-}; }
    ins "a message of 1 KiB" --messages 500 '--size 1024'
    ins "a resumed handshake" --handshakes 40 '--resume yes'
}

# -------------------------------------------------------------------- all --

tls_table() {
    seconds=0.3
    if ! command -v openssl >/dev/null; then
        echo "run.sh --tls needs the openssl program" >&2
        return 1
    fi
    certificates && build_load_and_raw && build_openssl || return
    live='raw openssl raw13 openssl13'
    if [ -n "$bear" ] || header bearssl bearssl.h libbearssl-dev; then
        build_bearssl || return
        live='raw bearssl openssl raw13 openssl13'
        note "BearSSL's parts on this CPU: $("$work/tls_parts")"
    fi
    peer_ws
    head_of_table
    tls_echo_rows
    tls_handshake_rows
    tls_memory_rows
    tls_call_rows
    [ -n "$quick" ] || tls_instruction_rows
    echo
    cat "$work/notes"
}
