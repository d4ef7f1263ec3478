#!/bin/sh
# Runs all tests of wsock.
#
#     sh tests/run.sh [--install] [--fuzz SECONDS] [--full] [--only NAME]
#     sh tests/run.sh --list
#     sh tests/run.sh [--install] --proof | --coverage
#
#     --install        first install what is missing (root, Debian or Ubuntu);
#                      then nothing may be missing.  Without it a tool or peer
#                      that is not there is a skip, with its reason
#     --fuzz SECONDS   for each fuzz target (10)
#     --full           of amalgamate every compiler, level and test: minutes
#     --only NAME      one suite, or one unit test program: see --list
#     --proof          nothing but Frama-C's proofs: tests/proof/run.sh
#     --coverage       nothing but what of wsock.h the tests come to:
#                      tests/coverage/run.sh
#     --list           the names, and nothing is run
#     --help           this
#
# The last line counts: N passed, N failed, N skipped.  The exit status is 1
# if anything failed.  Everything is built and logged in tests/.work.  When all
# suites run, those that mostly wait do so beside the others, and are printed
# behind them.  JOBS sets how many builds run at a time; PYTHON which python
# has the peers.
set -u

suites='build hygiene analysis examples readme unit platform threads peers tls
    amalgamate browser abuse network bench fuzz'
suites=$(echo $suites)
beside='analysis examples threads peers abuse network bench fuzz'
install=
full=
fuzz=10
only=
usage() { sed -n '2,25s/^# \{0,1\}//p' "$0"; }

here=$(cd "$(dirname "$0")" && pwd) || exit 1
root=$(cd "$here/.." && pwd) || exit 1
cd "$root" || exit 1
units=$(cd tests/unit && ls test_*.c | sed 's/^test_//; s/\.c$//; /^tls$/d')

while [ $# -gt 0 ]; do
    case $1 in
    --install) install=--install ;;
    --full) full=yes ;;
    --fuzz) fuzz=${2:-}; [ $# -gt 1 ] && shift ;;
    --only) only=${2:-}; [ $# -gt 1 ] && shift ;;
    --proof) suites=proof beside= ;;
    --coverage) suites=coverage beside= ;;
    --list) echo "suites: $suites"; echo "unit tests:" $units; exit 0 ;;
    --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
    esac
    shift
done
case $fuzz in
'' | *[!0-9]*) usage >&2; exit 2 ;;
esac
if [ -n "$only" ]; then
    beside=
    case " $suites " in
    *" $only "*) suites=$only ;;
    *)
        case " "$(echo $units)" " in
        *" $only "*) suites=unit; units=$only ;;
        *) echo "run.sh: no suite or unit test is called $only" >&2; exit 2 ;;
        esac ;;
    esac
fi

sockets= # of these units, the ones that poll sockets
for t in $units; do
    case $t in
    api | corners | faults | foreign | io | loop | parity | rules | server)
        sockets="$sockets $t" ;;
    esac
done

work=$here/.work
own=$work/run.${only:-all} # of this run of the script
mkdir -p "$own" || exit 1
jobs=${JOBS:-$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)}
passed=0 failed=0 skipped=0

# ---------------------------------------------------------------- results --

pass() { passed=$((passed + 1)); }

fail() { # what, log
    failed=$((failed + 1))
    echo "FAIL $1"
    if [ -n "${2:-}" ] && [ -f "$2" ]; then
        tail -n 60 "$2" | sed 's/^/    /'
    fi
}

# Something is not there: with --install that is a failure.
missing() { # what, why
    if [ -n "$install" ]; then
        fail "$1: $2 (and --install was given)"
    else
        skipped=$((skipped + 1))
        echo "SKIP $1: $2"
    fi
}

have() { command -v "$1" >/dev/null 2>&1; }

# Adds a line `N passed, N failed[, N skipped]` to the counts; 1 if there is
# none, as when the program crashed.
count_line() { # line
    set -- $(printf '%s\n' "$1" | sed -n \
        's/.*\([0-9][0-9]*\) passed, \([0-9][0-9]*\) failed.*/&/p' |
        sed 's/^.*[^0-9]\([0-9][0-9]* passed,\)/\1/' | tr -c '0-9\n' ' ')
    [ $# -ge 2 ] || return 1
    passed=$((passed + $1)) failed=$((failed + $2))
    skipped=$((skipped + ${3:-0}))
}

# ------------------------------------------------------------------- jobs --
# A job is a name and a command for sh.  Jobs run $jobs at a time; settle
# waits for all and reports them in the order in which they were given.

begin() {
    rm -rf "$own/jobs"
    mkdir -p "$own/jobs"
    job_count=0
}

job() { # name, command
    job_count=$((job_count + 1))
    path=$own/jobs/$(printf '%04d' $job_count)
    printf '%s\n' "$1" >"$path.name"
    printf '%s\n' "$2" >"$path.sh"
}

limit=
have timeout && limit='timeout 120'

run_jobs() {
    # A job's own failure must not end xargs, so its status goes to a file.
    ls "$own"/jobs/*.sh 2>/dev/null | sed 's/\.sh$//' | xargs -P "$jobs" \
        -n 1 sh -c "$limit"' sh "$0.sh" >"$0.log" 2>&1; echo $? >"$0.status"'
}

# One pass or failure a job; with `counted` the job's last line counts.
settle() { # [counted]
    run_jobs
    for path in "$own"/jobs/*.sh; do
        [ -f "$path" ] || continue
        path=${path%.sh}
        name=$(cat "$path.name")
        status=$(cat "$path.status" 2>/dev/null || echo 1)
        if [ "${1:-}" = counted ]; then
            before=$failed
            line=$(tail -n 1 "$path.log")
            if count_line "$line"; then
                grep '^SKIP ' "$path.log"
                [ "$status" = 0 ] && [ "$failed" = "$before" ] && continue
                # A failure that the program did not count: a leak, a
                # sanitizer's or valgrind's complaint.
                [ "$failed" = "$before" ] && failed=$((failed + 1))
                failed=$((failed - 1))
                fail "$name (status $status)" "$path.log"
            else
                fail "$name: no summary, status $status" "$path.log"
            fi
        elif [ "$status" = 0 ]; then
            pass
        else
            fail "$name (status $status)" "$path.log"
        fi
    done
}

# ---------------------------------------------------------------- install --

package_known() { apt-cache show "$1" >/dev/null 2>&1; }

install_all() {
    echo "== install"
    if ! have apt-get || [ "$(id -u)" != 0 ]; then
        echo "--install needs root on Debian or Ubuntu" >&2
        exit 1
    fi
    DEBIAN_FRONTEND=noninteractive
    export DEBIAN_FRONTEND
    wanted=
    have gcc || wanted="$wanted gcc libc6-dev"
    have g++ || wanted="$wanted g++"
    have clang || wanted="$wanted clang"
    have valgrind || wanted="$wanted valgrind"
    have cppcheck || wanted="$wanted cppcheck"
    have clang-tidy || wanted="$wanted clang-tidy"
    [ "$suites" != coverage ] || have llvm-cov || wanted="$wanted llvm"
    have node || wanted="$wanted nodejs"
    have npm || wanted="$wanted npm"
    [ -x /usr/bin/python3 ] || wanted="$wanted python3"
    /usr/bin/python3 -c 'import websockets' 2>/dev/null ||
        wanted="$wanted python3-websockets"
    have nm || wanted="$wanted binutils"
    [ -e /usr/include/stdio.h ] || wanted="$wanted libc6-dev"
    [ -e /usr/include/uv.h ] || wanted="$wanted libuv1-dev"
    [ -e /usr/include/bearssl.h ] || wanted="$wanted libbearssl-dev"
    /usr/bin/python3 -c 'import cryptography' 2>/dev/null ||
        wanted="$wanted python3-cryptography"
    have xz || wanted="$wanted xz-utils" # for BearSSL's source
    have openssl || wanted="$wanted openssl"
    [ -e /usr/include/openssl/ssl.h ] || wanted="$wanted libssl-dev"
    [ -e /etc/ssl/certs/ca-certificates.crt ] ||
        wanted="$wanted ca-certificates"
    have chromium || wanted="$wanted chromium"
    have certutil || wanted="$wanted libnss3-tools"
    have ip || wanted="$wanted iproute2"
    [ -e /usr/include/libwebsockets.h ] ||
        wanted="$wanted libwebsockets-dev"
    have websocketd || wanted="$wanted websocketd"
    PATH=$PATH:/usr/sbin # where nginx and haproxy are
    have nginx || wanted="$wanted nginx"
    have haproxy || wanted="$wanted haproxy"
    java --list-modules 2>/dev/null | grep -q '^jdk.compiler@' ||
        wanted="$wanted default-jdk-headless"
    have unshare || wanted="$wanted util-linux"
    wanted="$wanted$(platform_wanted | sed 's/^/ /' | tr -d '\n')"
    [ -z "$wanted" ] && sanitizers_work && return
    apt-get update >"$work/install.log" 2>&1 ||
        { fail "apt-get update" "$work/install.log"; return; }
    if [ -n "$wanted" ]; then
        apt-get install -y --no-install-recommends $wanted \
            >>"$work/install.log" 2>&1 ||
            fail "apt-get install$wanted" "$work/install.log"
    fi
    sanitizers_work && return
    # The sanitizers' runtime goes by several names.
    version=$(clang -dumpversion 2>/dev/null | sed 's/\..*//')
    for package in "libclang-rt-$version-dev" \
        "libclang-common-$version-dev" libclang-rt-dev; do
        package_known "$package" || continue
        apt-get install -y --no-install-recommends "$package" \
            >>"$work/install.log" 2>&1
        sanitizers_work && return
    done
    fail "no runtime for clang's sanitizers" "$work/install.log"
}

sanitizers_work() {
    have clang || return 1
    echo 'int main(void) { return 0; }' >"$own/probe.c"
    clang -fsanitize=address,undefined -o "$own/probe" "$own/probe.c" \
        >"$own/probe.log" 2>&1 && "$own/probe"
}

# ------------------------------------------------------------------ build --
# Every compiler and language mode, with all warnings as errors; what is
# built is also run.

warnings='-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion
    -Wcast-qual -Wundef -Wpointer-arith -Wwrite-strings -Wvla -Wformat=2
    -Wdouble-promotion -Wredundant-decls -Werror'
warnings=$(echo $warnings)
c_warnings="$warnings -Wstrict-prototypes -Wold-style-definition
    -Wbad-function-cast"
c_warnings=$(echo $c_warnings)

build_job() { # compiler, its flags, a word for the name
    out=$work/build/$(echo "$1.$3" | tr -d +)
    p=tests/platform
    job "$1 $3, two units" "set -e; $1 $2 -O2 -c -o $out.i.o \
        $p/implementation.c; $1 $2 -c -o $out.e.o $p/every_function.c; \
        $1 $2 -c -o $out.u.o $p/use.c; \
        $1 -o $out.two $out.i.o $out.e.o $out.u.o; $out.two"
    job "$1 $3, WSOCK_STATIC" "set -e; $1 $2 -O1 -DONE_UNIT -DWSOCK_STATIC \
        -o $out.static $p/use.c; $out.static"
    job "$1 $3, WSOCK_USE_POLL" "set -e; $1 $2 -O1 -DONE_UNIT \
        -DWSOCK_USE_POLL -o $out.poll $p/use.c; $out.poll"
    job "$1 $3, WSOCK_NO_THREADS, WSOCK_NO_SIMD" "set -e; $1 $2 -O1 \
        -DONE_UNIT -DWSOCK_NO_THREADS -DWSOCK_NO_SIMD -o $out.alone \
        $p/use.c; $out.alone"
}

suite_build() {
    mkdir -p "$work/build"
    begin
    for cc in gcc clang; do
        have $cc || { missing "build with $cc" "no $cc"; continue; }
        for std in c99 c11 gnu17; do
            build_job $cc "-std=$std $c_warnings" $std
        done
    done
    for cc in g++ clang++; do
        have $cc || { missing "build with $cc" "no $cc"; continue; }
        quiet=
        [ $cc = clang++ ] && quiet=-Wno-deprecated # a .c file as C++
        for std in c++11 c++20; do
            build_job $cc "-x c++ -std=$std $warnings $quiet" $std
        done
    done
    settle
}

# ---------------------------------------------------------------- hygiene --

check() { # name, command that prints what is wrong: nothing is good
    "$2" >"$own/check.log" 2>&1
    if [ -s "$own/check.log" ]; then
        fail "$1" "$own/check.log"
    else
        pass
    fi
}

long_lines() {
    for f in wsock.h examples/*.c tests/unit/*.[ch] tests/platform/*.c \
        tests/platform/*/*.[ch] tests/fuzz/*.[ch] tests/bench/*.c \
        tests/bench/peers/*.c*; do
        [ -f "$f" ] || continue
        awk -v f="$f" 'length($0) > 80 {
            print f ":" NR ": " length($0) " columns" }' "$f"
    done
}

odd_bytes() { # tabs, carriage returns, blanks at the end, non-ASCII
    LC_ALL=C grep -n "$(printf '[\t\r]\\|[ ]$\\|[^ -~]')" wsock.h | head -n 20
}

long_functions() {
    awk '/^[A-Za-z].*\(/ { name = $0; at = NR }
         /^\{/ { start = NR }
         /^\}/ && start { if (NR - start + 1 > 60)
             print "wsock.h:" start ": " NR - start + 1 " lines: " name
             start = 0 }' wsock.h
}

leftovers() {
    grep -n 'TODO\|FIXME\|XXX\|HACK\|#if 0' wsock.h
}

# -fno-pic: a constant table with pointers in it stays a constant.
hygiene_object() { # flags
    gcc -std=c99 -O2 -fno-pic -fno-pie $1 -c -o "$own/hygiene.o" \
        tests/platform/implementation.c
}

exported_symbols() {
    hygiene_object "" || return
    nm -g --defined-only "$own/hygiene.o" | awk '{ print $3 }' |
        grep -v '^wsock_[a-z]' || true
}

static_exports() {
    hygiene_object -DWSOCK_STATIC || return
    nm -g --defined-only "$own/hygiene.o" | awk '{ print $3 }'
}

# Nothing hidden: no variables of the library's own.
variables() {
    hygiene_object "" || return
    nm "$own/hygiene.o" | awk '$2 ~ /^[BbDdCcGgSs]$/'
}

# Macros that the header itself defines and that are still defined behind it.
macros_left() {
    printf '#define WSOCK_IMPLEMENTATION\n#include "%s/wsock.h"\n' "$root" \
        >"$work/macros.c"
    gcc -std=c99 -dM -E "$work/macros.c" | awk '{ print $2 }' |
        sed 's/(.*//' | sort -u >"$work/macros.all"
    sed -n 's/^ *# *define  *\([A-Za-z_0-9]*\).*/\1/p' wsock.h | sort -u \
        >"$work/macros.own"
    comm -12 "$work/macros.all" "$work/macros.own" >"$work/macros.left"
}

macro_count() {
    macros_left
    n=$(grep -c '' "$work/macros.left")
    [ "$n" -le 20 ] || { echo "$n macros are left:"; cat "$work/macros.left"; }
}

macro_names() {
    macros_left
    # Feature-test macros have the names that the C library gives them.
    grep -v '^WSOCK_[A-Z]' "$work/macros.left" |
        grep -v '^_GNU_SOURCE$\|^_POSIX_C_SOURCE$\|^_DARWIN_C_SOURCE$' |
        grep -v '^_DEFAULT_SOURCE$\|^_XOPEN_SOURCE$\|^_BSD_SOURCE$'
}

# What is declared is what every_function.c names, so that none is forgotten.
declared_functions() {
    sed -n '/^#ifndef WSOCK_H/,/^#endif .* WSOCK_H/p' wsock.h |
        grep -o '\bwsock_[a-z_]*(' | tr -d '(' | sort -u |
        grep -v '_t$' >"$work/declared"
    grep -o 'F(wsock_[a-z_]*)' tests/platform/every_function.c |
        sed 's/F(\(.*\))/\1/' | sort -u >"$work/named"
    sed -n 's/^WSOCK_API.*[ *]\(wsock_[a-z_]*\)(.*/\1/p' wsock.h | sort -u |
        comm -23 - "$work/named"
}

suite_hygiene() {
    check "lines of more than 80 columns" long_lines
    check "tabs, blanks at the end, bytes that are not ASCII" odd_bytes
    check "functions of more than 60 lines" long_functions
    check "notes that were left behind" leftovers
    if ! have gcc || ! have nm; then
        missing "symbols and macros" "no gcc or nm"
        return
    fi
    check "exported symbols that do not begin with wsock_" exported_symbols
    check "symbols that WSOCK_STATIC exports" static_exports
    check "variables" variables
    check "more than 20 macros left behind" macro_count
    check "macros left behind that do not begin with WSOCK_" macro_names
    check "functions that every_function.c does not name" declared_functions
}

# --------------------------------------------------------------- examples --
# Each is built by the line that stands in its first comment, then run.

# Starts a server that prints its URL, and waits for that line.  Sets url
# and server; url is empty if it did not come.
start_server() { # log, command...
    log=$1
    shift
    : >"$log"
    "$@" >"$log" 2>&1 &
    server=$!
    url=
    turns=0
    while [ -z "$url" ] && [ $turns -lt 100 ]; do
        url=$(sed -n 's/.*\(wss\{0,1\}:\/\/[^ ]*\).*/\1/p' "$log" | head -n 1)
        [ -n "$url" ] || sleep 0.1
        kill -0 $server 2>/dev/null || turns=100
        turns=$((turns + 1))
    done
}

suite_examples() {
    have cc || { missing "examples" "no cc"; return; }
    dir=$work/examples
    rm -rf "$dir"
    mkdir -p "$dir"
    ln -s "$root/examples" "$dir/examples"
    ln -s "$root/wsock.h" "$dir/wsock.h"
    begin
    for f in examples/*.c; do
        line=$(sed -n '1,/\*\//s/^ \*  *\(cc .*\)$/\1/p' "$f" | head -n 1)
        if [ -z "$line" ]; then
            fail "$f: no compiler line in its first comment"
            continue
        fi
        case $line in
        *client_wss*) continue ;; # needs wsock_tls.h: see amalgamate
        *-lssl*)
            if ! echo '#include <openssl/ssl.h>' | cc -E - >/dev/null 2>&1
            then
                missing "$f" "no OpenSSL (libssl-dev)"
                continue
            fi ;;
        *-luv*)
            if ! echo '#include <uv.h>' | cc -E - >/dev/null 2>&1; then
                missing "$f" "no libuv (libuv1-dev)"
                continue
            fi ;;
        esac
        job "$f: $line" "cd '$dir' && $line -Wall -Wextra -Werror"
    done
    settle
    if [ -x /usr/bin/python3 ]; then
        script examples.py /usr/bin/python3 tests/peers/examples.py "$dir"
    else
        missing "tests/peers/examples.py" "no /usr/bin/python3"
    fi
    for name in core_without_sockets custom_io; do
        [ -x "$dir/$name" ] || continue
        if (cd "$dir" && $limit "./$name") >"$dir/$name.log" 2>&1; then
            pass
        else
            fail "examples/$name, run" "$dir/$name.log"
        fi
    done
    [ -x "$dir/echo_server" ] && [ -x "$dir/client_hello" ] || return
    start_server "$dir/echo_server.log" "$dir/echo_server" --port 0
    if [ -z "$url" ]; then
        fail "examples/echo_server does not start" "$dir/echo_server.log"
    elif [ "$("$dir/client_hello" "$url" 2>"$dir/hello.log")" = hello ]; then
        pass
    else
        fail "examples/client_hello against echo_server" "$dir/hello.log"
    fi
    kill -TERM $server 2>/dev/null
    if wait $server; then pass; else
        fail "examples/echo_server does not end well" "$dir/echo_server.log"
    fi
}

# ----------------------------------------------------------------- readme --
# The programs of README.md and of the manual are extracted, built with all
# warnings as errors, and run against each other on a free port.

extract() { # file that gets numbers and .c; stdin: lines of code
    awk -v out="$1" '
        /^#define WSOCK_IMPLEMENTATION/ { n++; on = 1 }
        on { print > (out n ".c") }
        /^}/ && on && main { on = 0 }
        /^int main/ { main = 1 }
        !on { main = 0 }'
}

suite_readme() {
    have cc || { missing "readme" "no cc"; return; }
    dir=$work/readme
    rm -rf "$dir"
    mkdir -p "$dir"
    awk '/^```c$/ { on = 1; next } /^```/ { on = 0 } on' README.md |
        extract "$dir/readme"
    # In the manual a program is what stands five columns in.
    sed -n '1,/^#ifndef WSOCK_H/s/^ \*     //p' wsock.h |
        extract "$dir/manual"
    # A port that nothing else is likely to have: the programs say 9001.
    port=$((20000 + $$ % 30000))
    begin
    for f in "$dir"/*.c; do
        [ -f "$f" ] || { fail "README.md has no programs"; return; }
        sed "s/:9001/:$port/" "$f" >"$f.new" && mv "$f.new" "$f"
        grep -q 'int main' "$f" || continue
        job "the program $(basename "$f")" \
            "cc -std=c99 $c_warnings -O1 -I'$root' -o '${f%.c}' '$f'"
    done
    [ $job_count -ge 4 ] || fail "fewer programs than README and manual have"
    settle
    for s in "$dir"/*.c; do
        grep -q wsock_listen "$s" && [ -x "${s%.c}" ] || continue
        "${s%.c}" >"$dir/server.log" 2>&1 &
        server=$!
        for c in "$dir"/*.c; do
            grep -q wsock_connect "$c" && [ -x "${c%.c}" ] || continue
            readme_client "$c" "$s"
        done
        kill $server 2>/dev/null
        wait $server 2>/dev/null
    done
}

# The server may not listen yet: a refused connection is tried again.
readme_client() { # client.c, server.c
    turns=0
    while [ $turns -lt 50 ]; do
        got=$($limit "${1%.c}" 2>"$dir/client.log")
        [ -n "$got" ] && break
        turns=$((turns + 1))
        sleep 0.1
    done
    case $got in
    hello | joined) pass ;;
    *) fail "$(basename "$1") against $(basename "$2"): got \"$got\"" \
        "$dir/client.log" ;;
    esac
}

# --------------------------------------------------------------- platform --

. "$here/platform/suite.sh"

# ------------------------------------------------------------------- unit --

unit_jobs() { # word, compile command, run command (%: the program), units
    for t in $4; do
        out=$work/unit/$t.$1
        run=$(echo "$3" | sed "s|%|$out|")
        job "unit test_$t, $1" "$2 -pthread -o '$out' \
            tests/unit/test_$t.c || exit 1; $run"
    done
}

suite_unit() {
    mkdir -p "$work/unit"
    flags='-std=gnu99 -g -Wall -Wextra -Werror'
    sanitize='-fsanitize=address,undefined -fno-sanitize-recover=undefined'
    begin
    if have gcc; then
        unit_jobs O2 "gcc $flags -O2" "%" "$units"
    else
        missing "unit tests" "no gcc"
    fi
    if sanitizers_work; then
        # Not optimized they are built in a fifth of the time; utf8 has
        # many millions of cases.
        for t in $units; do
            level=-O0
            [ $t = utf8 ] && level=-O1
            unit_jobs sanitized "clang $flags $level $sanitize" % $t
        done
    else
        missing "unit tests under ASan and UBSan" "clang cannot build them"
    fi
    if have gcc; then
        unit_jobs use_poll "gcc $flags -O1 -DWSOCK_USE_POLL" "%" "$sockets"
    fi
    without=
    for t in $units; do
        case $t in api | io | loop) without="$without $t" ;; esac
    done
    if have gcc; then
        unit_jobs no_threads "gcc $flags -O1 -DWSOCK_NO_THREADS" "%" \
            "$without"
    fi
    case " "$(echo $units)" " in
    *' utf8 '*)
        have gcc && unit_jobs no_simd "gcc $flags -O1 -DWSOCK_NO_SIMD" % utf8
        ;;
    esac
    settle counted
    if ! have gcc || ! have valgrind; then
        missing "unit tests under valgrind" "no valgrind"
        return
    fi
    # TEST_QUICK: samples where there are millions of cases.
    # TEST_SMALL: fewer bytes and rounds between threads.
    begin
    for t in $units; do
        job "unit test_$t, valgrind" "TEST_QUICK=1 TEST_SMALL=1 valgrind -q \
            --error-exitcode=9 --leak-check=full --show-leak-kinds=all \
            --errors-for-leak-kinds=all --track-fds=no $work/unit/$t.O2"
    done
    settle counted
}

# -------------------------------------------------------------------- tls --
# wss:// by BearSSL, which the other suites build without.

tls_ready() {
    [ -e /usr/include/bearssl.h ] ||
        { missing tls "no BearSSL (libbearssl-dev)"; return 1; }
    have gcc || { missing tls "no gcc"; return 1; }
    [ -x /usr/bin/python3 ] &&
        /usr/bin/python3 -c 'import cryptography' 2>/dev/null ||
        { missing tls "no python3-cryptography"; return 1; }
    mkdir -p "$work/tls" || return 1
    /usr/bin/python3 -W ignore tests/peers/tls/certificates.py \
        "$work/tls/pki" >"$work/tls/pki.log" 2>&1 ||
        { fail "certificates.py" "$work/tls/pki.log"; return 1; }
}

tls_builds() {
    p=tests/platform/implementation.c
    for set in '' -DWSOCK_STATIC -DWSOCK_NO_THREADS -DWSOCK_USE_POLL; do
        job "BearSSL, gcc $set" "gcc -std=c99 $c_warnings -O2 $set \
            -DWSOCK_BEARSSL -c -o /dev/null $p"
        have clang && job "BearSSL, clang $set" "clang -std=c11 $c_warnings \
            $set -DWSOCK_BEARSSL -fsyntax-only $p"
        have g++ && job "BearSSL, g++ $set" "g++ -x c++ -std=c++11 $warnings \
            $set -DWSOCK_BEARSSL -fsyntax-only $p"
    done
    job "BearSSL under -fanalyzer" "gcc -std=c99 -O1 -fanalyzer -Werror \
        -DWSOCK_BEARSSL -c -o /dev/null $p"
    # For other systems there is only the header, by itself.
    mkdir -p "$work/tls/include"
    cp /usr/include/bearssl/*.h "$work/tls/include/"
    for cc in x86_64-w64-mingw32-gcc-win32 i686-w64-mingw32-gcc-win32; do
        have $cc || { missing "BearSSL, $cc" "no $cc"; continue; }
        job "BearSSL, $cc" "$cc -std=c99 $c_warnings -DWSOCK_BEARSSL \
            -isystem '$work/tls/include' -fsyntax-only $p"
    done
    musl=/usr/include/$(uname -m)-linux-musl # see platform_darwin()
    [ ! -d "$musl" ] || ! have clang || job "BearSSL, Darwin's target" \
        "clang --target=arm64-apple-macos11 -nostdlibinc -isystem $musl \
        -isystem tests/platform/kqueue -isystem '$work/tls/include' -std=c99 \
        -O1 -Wall -Wextra -Werror -DWSOCK_BEARSSL -c -o /dev/null $p"
    # _UCRT: what MinGW's time.h says for other C libraries is not for MSVC.
    clang_cl=$(command -v clang-cl || command -v clang-cl-14)
    [ -z "$clang_cl" ] || [ ! -d /usr/share/mingw-w64/include ] ||
        job "BearSSL, clang-cl /W4" "$clang_cl \
            --target=x86_64-pc-windows-msvc /W4 /WX /Zs /DWSOCK_BEARSSL \
            /D_UCRT /Dsmall=char /imsvc '$work/tls/include' \
            /imsvc /usr/share/mingw-w64/include /clang:-fgnuc-version=12.2 \
            -- $p"
}

tls_symbols() { # what the library exports, and its one variable
    gcc -std=c99 -O2 -fno-pic -fno-pie -DWSOCK_BEARSSL -c \
        -o "$own/hygiene.o" tests/platform/implementation.c
    nm -g --defined-only "$own/hygiene.o" | awk '{ print $3 }' |
        grep -v '^wsock_[a-z]'
    nm "$own/hygiene.o" | awk '$2 ~ /^[BbDdCcGgSs]$/ { print $3 }' |
        grep -v '^wsock__process_trust$\|^once\.'
}

# With BearSSL's own code under the sanitizers, if its source can be had.  Not
# asked of that: alignment, as it reads words where they stand if the CPU can;
# nonnull-attribute and pointer-overflow, as it copies no bytes from NULL, and
# adds 0 to that.
tls_sanitized() {
    sanitize='-g -O1 -fsanitize=address,undefined
        -fno-sanitize-recover=undefined'
    sanitize=$(echo $sanitize)
    library=$work/tls/sanitized-bearssl
    if sh tests/peers/tls/bearssl.sh "$work/bearssl" 2>"$work/tls/source.log"
    then
        job "test_tls and BearSSL, sanitized" "JOBS=$jobs \
            sh tests/peers/tls/bearssl_build.sh $library ar clang $sanitize \
            -fno-sanitize=alignment,nonnull-attribute,pointer-overflow &&
            clang $flags $sanitize -o $work/tls/sanitized $source \
            -L$library -lbearssl || exit 1
            $pki $work/tls/sanitized"
    else
        missing "BearSSL, sanitized" "$(head -n 1 "$work/tls/source.log")"
        job "test_tls, sanitized" "clang $flags $sanitize \
            -o $work/tls/sanitized $source -lbearssl || exit 1
            $pki $work/tls/sanitized"
    fi
}

suite_tls() {
    tls_ready || return
    flags='-std=gnu99 -g -Wall -Wextra -Werror -pthread'
    source=tests/unit/test_tls.c
    pki="WSOCK_PKI='$work/tls/pki'"
    check "BearSSL: symbols and variables" tls_symbols
    begin
    tls_builds
    settle
    begin
    for set in '-O2' '-O1 -DWSOCK_USE_POLL' '-O1 -DWSOCK_NO_THREADS'; do
        out=$work/tls/test$(echo "$set" | tr -cd 'A-Za-z0-9_')
        job "test_tls $set" "gcc $flags $set -o $out $source -lbearssl ||
            exit 1; $pki $out"
    done
    if sanitizers_work; then
        tls_sanitized
        job "test_tls under TSan" "clang $flags -O1 -fsanitize=thread \
            -o $work/tls/tsan $source -lbearssl || exit 1
            $pki TEST_SMALL=1 TEST_QUICK=1 TSAN_OPTIONS=halt_on_error=1 \
            $work/tls/tsan"
    else
        missing "test_tls under sanitizers" "clang cannot build them"
    fi
    if have valgrind; then
        # The roots of the process are never given back.
        job "test_tls under valgrind" "gcc $flags -O1 -o $work/tls/valgrind \
            $source -lbearssl || exit 1
            $pki TEST_QUICK=1 TEST_SMALL=1 valgrind -q --error-exitcode=9 \
            --leak-check=full --show-leak-kinds=definite,possible \
            --errors-for-leak-kinds=definite,possible $work/tls/valgrind"
    else
        missing "test_tls under valgrind" "no valgrind"
    fi
    settle counted
    have openssl || { missing tls "no openssl"; return; }
    script tls sh tests/peers/tls/run.sh "$work/tls/pki" $install
}

# ------------------------------------------------------------- amalgamate --

. "$here/amalgamate/suite.sh"

# ---------------------------------------------------------------- threads --
# Two threads on a blocking connection, and the look-up's, under the tools
# that find races.

suite_threads() {
    mkdir -p "$work/threads"
    flags='-std=gnu99 -g -O1 -Wall -Wextra -Werror -pthread'
    begin
    for t in threads foreign parity; do
        out=$work/threads/$t
        if have clang; then
            job "test_$t under TSan" "clang $flags -fsanitize=thread \
                -o $out.tsan tests/unit/test_$t.c || exit 1
                TEST_SMALL=1 TEST_QUICK=1 TSAN_OPTIONS=halt_on_error=1 \
                $out.tsan"
        else
            missing "test_$t under TSan" "no clang"
        fi
        have gcc && have valgrind ||
            { missing "test_$t under helgrind" "no gcc or valgrind"
            continue; }
        job "test_$t under helgrind" "gcc $flags -o $out.helgrind \
            tests/unit/test_$t.c || exit 1
            TEST_SMALL=1 TEST_QUICK=1 valgrind -q --tool=helgrind \
            --suppressions=tests/unit/helgrind.supp \
            --error-exitcode=9 $out.helgrind"
    done
    settle counted
}

# -------------------------------------------------- peers, bench and fuzz --

# A script that prints its own lines and closes with the counts.
script() { # name, command...
    name=$1
    shift
    log=$work/$name.log
    { "$@" 2>&1; echo $? >"$work/$name.status"; } | tee "$log" | sed '$d'
    before=$failed
    status=$(cat "$work/$name.status")
    count_line "$(tail -n 1 "$log")" || { fail "$name: no summary" "$log"
        return; }
    [ "$status" = 0 ] || [ "$failed" != "$before" ] ||
        fail "$name: status $status" "$log"
}

suite_peers() {
    [ -x /usr/bin/python3 ] && PYTHON=${PYTHON:-/usr/bin/python3} &&
        export PYTHON
    for s in tests/peers/run.sh; do
        [ -f "$s" ] || { missing peers "no $s"; continue; }
        script peers sh "$s" $install
    done
}

suite_browser() {
    script browser sh tests/peers/browser/run.sh $install
}

suite_abuse() {
    [ -x /usr/bin/python3 ] && PYTHON=${PYTHON:-/usr/bin/python3} &&
        export PYTHON
    script abuse sh tests/peers/abuse.sh
}

suite_bench() {
    script bench sh tests/bench/check.sh
    script bench_tls sh tests/bench/check_tls.sh
}

# Two namespaces and a relay between them; see tests/peers/network/link.py.
suite_network() {
    [ -x /usr/bin/python3 ] && PYTHON=${PYTHON:-/usr/bin/python3} &&
        export PYTHON
    script network sh tests/peers/network/run.sh
}

suite_fuzz() {
    [ -f tests/fuzz/run.sh ] || { missing fuzz "no tests/fuzz/run.sh"
        return; }
    script fuzz sh tests/fuzz/run.sh "$fuzz" $install
}

# ----------------------------------------- analysis, proofs and coverage --

suite_analysis() {
    script analysis sh tests/analysis/run.sh
}

suite_proof() {
    script proof sh tests/proof/run.sh $install
}

suite_coverage() {
    script coverage sh tests/coverage/run.sh $install
}

# -------------------------------------------------------------------- all --

# Each in a run of its own.
run_beside() {
    for suite in $beside; do
        sh "$here/run.sh" --only "$suite" --fuzz "$fuzz" $install \
            >"$work/$suite.beside" 2>&1
    done
}

print_beside() {
    for suite in $beside; do
        log=$work/$suite.beside
        sed '/^seconds (/d; $d' "$log"
        took="$took $(sed -n 's/^seconds (.*: //p' "$log")"
        count_line "$(tail -n 1 "$log")" || fail "$suite: no summary" "$log"
    done
}

[ -n "$install" ] && install_all
took=
begun=$(date +%s)
if [ -n "$beside" ]; then
    rm -f "$work"/*.beside
    run_beside &
    lane=$!
    trap 'kill $lane 2>/dev/null' EXIT
    trap 'exit 1' HUP INT TERM
fi
for suite in $suites; do
    case " $beside " in
    *" $suite "*) continue ;;
    esac
    echo "== $suite"
    "suite_$suite"
    now=$(date +%s)
    # Of the processors, too: how long it takes depends on who else is there.
    times >"$own/times" # the second line: of all processes so far
    used=$(awk -F '[ms ]+' 'NR == 2 { print int(60 * ($1 + $3) + $2 + $4) }' \
        "$own/times")
    took="$took $suite $((now - begun)) ($((used - ${before_it:-0})))"
    begun=$now
    before_it=$used
done
if [ -n "$beside" ]; then
    wait $lane
    print_beside
fi
echo "seconds (of processors):$took"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
