#!/bin/sh
# Usage: sh tests/coverage/run.sh [--again] [--branches | --missing] [--install]
#
# Builds the unit tests (with epoll, poll(), the kqueue shim and no vectors;
# that of TLS with BearSSL, the others without), the fuzz targets and the echo
# programs with clang's coverage, runs them - the fuzz targets over their
# corpus, the echo programs against the conformance scripts -, sums what they
# covered of wsock.h, and compares it with list.txt: each block of lines that
# none of them comes to, and each condition that is never true, or never false,
# stands there with its reason.  What is left out by the preprocessor here,
# Windows, macOS and NEON, is not seen.
#
#     --again      what the programs of the last run have left, without running
#                  them; one alone: sh tests/.work/coverage/NAME.sh
#     --branches   print every condition that is never true, or never false
#     --missing    print what list.txt lacks, to be put there with its reason
#
# The last line is `N passed, N failed`; the exit status is 1 if one failed.
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cd "$root" || exit 2
work=$root/tests/.work/coverage
python=${PYTHON:-/usr/bin/python3}
jobs=${JOBS:-$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)}
show= again=
for argument; do
    case $argument in
    --branches | --missing) show=$argument ;;
    --again) again=yes ;;
    --install) ;;
    *) sed -n '2,19s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
done
for tool in clang llvm-profdata llvm-cov "$python"; do
    command -v "$tool" >/dev/null 2>&1 ||
        { echo "SKIP coverage: no $tool (clang, llvm, python3)"
        echo "0 passed, 0 failed, 1 skipped"; exit 0; }
done
[ -e /usr/include/bearssl.h ] &&
    "$python" -c 'import cryptography' 2>/dev/null ||
    { echo "SKIP coverage: no BearSSL (libbearssl-dev, python3-cryptography)"
    echo "0 passed, 0 failed, 1 skipped"; exit 0; }
compare() {
    exec "$python" "$here/coverage.py" $show "$work/wsock.h" \
        "$here/list.txt" "$work"/*.json
}

[ -z "$again" ] || compare
rm -rf "$work"
mkdir -p "$work" || exit 2
cp wsock.h "$work" || exit 2 # what --again speaks of

# Counts that two threads add to would be lost now and then; what is never true
# is what is left of two of them.
program() { # name, flags and files, command (%: the program)
    out=$work/$1
    run=$(echo "$3" | sed "s|%|$out|g")
    cat >"$out.sh" <<END
clang -std=gnu99 -g -O1 -w -fprofile-instr-generate -fcoverage-mapping \
    -fprofile-update=atomic -pthread -o $out $2 || exit 1
export LLVM_PROFILE_FILE=$out.%4m.profraw
timeout 300 $run || exit 1
llvm-profdata merge -o $out.profdata $out.*.profraw || exit 1
llvm-cov export -skip-expansions -instr-profile=$out.profdata $out >$out.json
END
}

# Fewer of many like cases, bytes and rounds: no other ways.
quick='env TEST_QUICK=1 TEST_SMALL=1 %'
for f in tests/unit/test_*.c; do
    [ "$f" = tests/unit/test_tls.c ] && continue
    program "$(basename "$f" .c)" "$f" "$quick"
done
"$python" -W ignore tests/peers/tls/certificates.py "$work/pki" || exit 1
program tls "tests/unit/test_tls.c -lbearssl" \
    "env TEST_SMALL=1 WSOCK_PKI=$work/pki %"
for t in api io loop rules server parity foreign faults; do
    program poll_$t "-DWSOCK_USE_POLL tests/unit/test_$t.c" "$quick"
    program kqueue_$t "-DWSOCK_USE_KQUEUE -Itests/platform/kqueue \
        tests/unit/test_$t.c" "$quick"
done
program utf8_no_simd "-DWSOCK_NO_SIMD tests/unit/test_utf8.c" "$quick"
fuzz=tests/fuzz
for t in client server; do
    role=$(echo $t | tr a-z A-Z)
    program fuzz_$t "-DFUZZ_MAIN -DROLE=WSOCK_$role $fuzz/fuzz_core.c" \
        "% $fuzz/corpus/core_$t/*"
done
for t in pair request url; do
    program fuzz_$t "-DFUZZ_MAIN $fuzz/fuzz_$t.c" "% $fuzz/corpus/$t/*"
done
for t in client server; do
    program echo_$t "-I. examples/echo_$t.c" \
        "$python tests/peers/conformance_$t.py --fast %"
done

export PYTHONDONTWRITEBYTECODE=1
ls "$work"/*.sh | sed 's/\.sh$//' | xargs -P "$jobs" -n 1 sh -c \
    'sh "$0.sh" >"$0.log" 2>&1 || rm -f "$0.json"'
failed=0
for f in "$work"/*.sh; do
    [ -s "${f%.sh}.json" ] && continue
    failed=$((failed + 1))
    echo "FAIL coverage: $(basename "$f" .sh)"
    tail -n 20 "${f%.sh}.log" | sed 's/^/    /'
done
if [ $failed != 0 ]; then
    echo "0 passed, $failed failed"
    exit 1
fi
compare
