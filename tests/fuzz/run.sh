#!/bin/sh
# Usage: sh tests/fuzz/run.sh SECONDS [--install]
#
# Runs every fuzz target for SECONDS over a copy of its corpus; with 0 it
# only replays the corpus.  --install lets the missing compiler be installed
# with apt-get.  Without libFuzzer the corpus is replayed through a plain
# main() that is built with ${CC:-cc}.
#
# Targets: core_client core_server pair url request, and with BearSSL
# certificate tls; $TARGETS chooses among them.
# Everything is built and kept in tests/.work/fuzz, found inputs too, so
# that a later run goes on from there; the committed corpus is not changed.
# Every run takes the same way; SEED=0 lets the fuzzer choose another.
# JOBS targets run side by side, two if it is not set.
set -u
here=$(cd "$(dirname "$0")" && pwd)
work=$here/../.work/fuzz
seconds=
install=0
for arg in "$@"; do
    case $arg in
    --install) install=1 ;;
    *[!0-9]* | '') echo "usage: run.sh SECONDS [--install]" >&2; exit 2 ;;
    *) seconds=$arg ;;
    esac
done
[ -n "$seconds" ] || { echo "usage: run.sh SECONDS [--install]" >&2; exit 2; }
targets=${TARGETS:-core_client core_server pair url request certificate tls}
mkdir -p "$work" || exit 2
passed=0 failed=0 skipped=0

# The C file and the macros of a target.
source_of() {
    case $1 in
    core_client) echo "-DROLE=WSOCK_CLIENT $here/fuzz_core.c" ;;
    core_server) echo "-DROLE=WSOCK_SERVER $here/fuzz_core.c" ;;
    certificate | tls) echo "$here/fuzz_$1.c -lbearssl" ;;
    *) echo "$here/fuzz_$1.c" ;;
    esac
}

can_fuzz() {
    echo 'int LLVMFuzzerTestOneInput(const unsigned char *p, unsigned long n)
          { (void)p; (void)n; return 0; }' >"$work/probe.$$.c"
    clang -fsanitize=fuzzer,address,undefined -o "$work/probe.$$" \
        "$work/probe.$$.c" >"$work/probe.log" 2>&1
    can=$?
    rm -f "$work/probe.$$" "$work/probe.$$.c"
    return $can
}

if ! can_fuzz && [ $install = 1 ]; then
    apt-get install -y clang >"$work/install.log" 2>&1
    version=$(clang -dumpversion 2>/dev/null | sed 's/\..*//')
    apt-get install -y "libclang-rt-$version-dev" >>"$work/install.log" 2>&1
fi
if can_fuzz; then fuzzer=1; else fuzzer=0; fi
if [ $fuzzer = 0 ]; then
    echo "no libFuzzer here: the corpus is replayed by a plain program"
fi

fail() { # target, what, log
    echo "FAIL $1: $2"
    [ -f "$3" ] && grep -v '^#[0-9]' "$3" | tail -n 40
    failed=$((failed + 1))
}

build_fuzzer() {
    # shellcheck disable=SC2046
    clang -std=c99 -g -O1 -fno-omit-frame-pointer \
        -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
        -o "$work/$1" $(source_of "$1") >"$work/$1.build.log" 2>&1
}

# Sanitizers, if this compiler has them; else none.
build_replay() {
    for flags in "-fsanitize=address,undefined" ""; do
        # shellcheck disable=SC2046,SC2086
        ${CC:-cc} -std=c99 -g -O1 $flags -DFUZZ_MAIN -o "$work/$1.replay" \
            $(source_of "$1") >"$work/$1.build.log" 2>&1 && return 0
    done
    return 1
}

fuzz() {
    build_fuzzer "$1" || { fail "$1" "does not build" "$work/$1.build.log"
                           return; }
    mkdir -p "$work/corpus/$1" "$work/crashes/$1"
    cp "$here/corpus/$1"/* "$work/corpus/$1/"
    log=$work/$1.log
    if [ "$seconds" = 0 ]; then
        "$work/$1" -artifact_prefix="$work/crashes/$1/" -timeout=20 \
            "$here/corpus/$1"/* >"$log" 2>&1
    else
        "$work/$1" -artifact_prefix="$work/crashes/$1/" -timeout=20 \
            -seed="${SEED:-1}" -max_total_time="$seconds" \
            -max_len=6000 -len_control=20 \
            -use_value_profile=0 -print_final_stats=1 \
            -dict="$here/wsock.dict" "$work/corpus/$1" >"$log" 2>&1
    fi
    if [ $? -ne 0 ]; then
        fail "$1" "a crash, a leak or a time-out" "$log"
        echo "reproducer: $(sed -n 's/.*written to //p' "$log" | tail -n 1)"
        echo "run it with: $work/$1 FILE"
        return
    fi
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    cover=$(sed -n 's/.* cov: \([0-9]*\).*/\1/p' "$log" | tail -n 1)
    echo "ok   $1: ${runs:-the corpus} runs, ${cover:-?} edges covered"
    passed=$((passed + 1))
}

replay() {
    build_replay "$1" || { fail "$1" "does not build" "$work/$1.build.log"
                           return; }
    if "$work/$1.replay" "$here/corpus/$1"/* >"$work/$1.log" 2>&1; then
        echo "ok   $1: the corpus is replayed"
        passed=$((passed + 1))
    else
        fail "$1" "on the last file named here" "$work/$1.log"
        echo "reproducer: $(grep '/corpus/' "$work/$1.log" | tail -n 1)"
    fi
}

one() { # target
    target=$1
    if [ ! -f "$here/corpus/$target/$(ls "$here/corpus/$target" 2>/dev/null |
        head -n 1)" ]; then
        echo "skip $target: no corpus; run seeds.py"
        skipped=$((skipped + 1))
    elif source_of "$target" | grep -q bearssl &&
        [ ! -e /usr/include/bearssl.h ]; then
        echo "skip $target: no BearSSL (libbearssl-dev)"
        skipped=$((skipped + 1))
    elif [ $fuzzer = 1 ]; then
        fuzz "$target"
    else
        replay "$target"
    fi
}

# Each target in a run of its own, whose last line counts.
side_by_side() {
    printf '%s\n' $targets | xargs -P "${JOBS:-2}" -n 1 sh -c \
        'TARGETS=$3 sh "$0" "$1" >"$2/$3.out" 2>&1' \
        "$here/run.sh" "$seconds" "$work"
    for target in $targets; do
        sed '$d' "$work/$target.out"
        set -- $(tail -n 1 "$work/$target.out" | tr -c '0-9\n' ' ')
        passed=$((passed + ${1:-0})) failed=$((failed + ${2:-1}))
        skipped=$((skipped + ${3:-0}))
    done
}

if [ "${targets#* }" = "$targets" ]; then
    one "$targets"
else
    side_by_side
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
