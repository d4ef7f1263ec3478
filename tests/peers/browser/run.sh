#!/bin/sh
# Runs Chromium against examples/chat.c: its page, its protocol, its refusals;
# and against the examples over TLS, with an authority of our own.
#
#     run.sh [--install] [--picture FILE]
#
#     --install       fetch the npm package playwright-core into
#                     tests/.work/browser; what is missing then is a failure,
#                     else a skip
#     --picture FILE  where the picture of a conversation goes
#                     (tests/.work/browser/chat.png)
#
# CC, CLANG, NODE and CHROMIUM choose the tools.  The last line counts the
# cases; the exit status is 1 when one failed.
set -u

here=$(cd "$(dirname "$0")" && pwd) || exit 1
root=$(cd "$here/../../.." && pwd) || exit 1
work=$root/tests/.work/browser
picture=$work/chat.png
install=
while [ $# -gt 0 ]; do
    case $1 in
    --install) install=yes ;;
    --picture) [ $# -gt 1 ] && shift; picture=$1 ;;
    *) sed -n '2,14s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
    shift
done
mkdir -p "$work" || exit 1
cc=${CC:-cc}
clang=${CLANG:-clang}
node=${NODE:-node}
browser=${CHROMIUM:-}
for name in chromium chromium-browser google-chrome; do
    [ -n "$browser" ] || browser=$(command -v $name)
done
CHROMIUM=$browser
export CHROMIUM
. "$here/../counts.sh"

# try NAME TITLE PICTURE COMPILER...: build the chat, then use it.
try() {
    name=$1
    title=$2
    shot=$3
    shift 3
    # As the example's first comment says, from the top of the repository.
    if ! (cd "$root" && "$@" -o "$work/$name" examples/chat.c) \
        >"$work/build.log" 2>&1; then
        cat "$work/build.log"
        fail "build of examples/chat.c: $*"
        return
    fi
    count "$work/$name.log" "$node" "$here/chat.js" "$work/$name" "$shot" \
        "$title"
}

# tls: over wss:// and https://, by the certificates of the suite tls.
try_tls() {
    pki=$root/tests/.work/tls/pki
    python=${PYTHON:-/usr/bin/python3}
    if ! echo '#include <bearssl.h>' | "$cc" -E - >/dev/null 2>&1; then
        missing "browser over TLS: BearSSL" "install libbearssl-dev"
        return
    elif ! command -v certutil >/dev/null 2>&1; then
        missing "browser over TLS: certutil" "install libnss3-tools"
        return
    elif ! "$python" -W ignore "$here/../tls/certificates.py" "$pki" \
        >"$work/pki.log" 2>&1; then
        cat "$work/pki.log"
        missing "browser over TLS: certificates" "install python3-cryptography"
        return
    fi
    built=
    for name in echo_server chat; do
        "$cc" -O1 -DWSOCK_BEARSSL -o "$work/${name}_tls" \
            "$root/examples/$name.c" -lbearssl >"$work/${name}_tls.log" 2>&1 &
        built="$built $!"
    done
    for process in $built; do
        wait "$process" && continue
        cat "$work"/*_tls.log
        fail "build of the examples with BearSSL"
        return
    done
    # Chromium has its authorities from the NSS database of its HOME.
    rm -rf "$work/home"
    mkdir -p "$work/home/.pki/nssdb"
    certutil -N -d "sql:$work/home/.pki/nssdb" --empty-password &&
        for name in ca ca_ec; do
            certutil -A -d "sql:$work/home/.pki/nssdb" -n "$name" -t C,, -a \
                -i "$pki/$name.pem" || fail "certutil: $name.pem"
        done
    count "$work/tls.log" "$node" "$here/tls.js" "$work/echo_server_tls" \
        "$work/chat_tls" "$pki" "$work/home"
}

# A folder of its own: npm removes from a folder without package.json what it
# did not put there itself.
if [ -n "$install" ] && [ ! -d "$work/node_modules/playwright-core" ]; then
    npm install --no-save --no-audit --no-fund --prefix "$work" \
        playwright-core@1 >"$work/npm.log" 2>&1 || cat "$work/npm.log"
fi
if ! command -v "$node" >/dev/null 2>&1; then
    missing "browser: node" "install nodejs"
    finish
elif [ -z "$browser" ] || [ ! -x "$browser" ]; then
    missing "browser: Chromium" "install chromium"
    finish
elif [ ! -d "$work/node_modules/playwright-core" ]; then
    missing "browser: npm package playwright-core" "run with --install"
    finish
fi

try chat "browser against examples/chat.c" "$picture" "$cc" -O2
if command -v "$clang" >/dev/null 2>&1; then
    try chat_sane "browser against examples/chat.c under sanitizers" \
        "" "$clang" -g \
        -fsanitize=address,undefined -fno-sanitize-recover=all
else
    missing "browser: sanitizer build" "install clang"
fi
try_tls
finish
