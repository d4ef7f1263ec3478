#!/bin/sh
# Usage: sh tests/analysis/run.sh [--deep]
#
# wsock.h under cppcheck, clang-tidy (tests/analysis/clang-tidy says which
# checks) and gcc -fanalyzer, side by side.
#
#     --deep   clang's analyzer too, which takes minutes
#
# What they say wrongly is left out here, narrowly and with its reason, and
# not in wsock.h.  The last line is `N passed, N failed, N skipped`.
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cd "$root" || exit 2
work=$root/tests/.work/analysis
mkdir -p "$work" || exit 2
file=tests/platform/implementation.c

# One system, as the others need headers that are not here.
#   nullPointerArithmetic in wsock__all_watches: `list + n` is taken only if
#       n < cap, and cap is 0 where list is NULL
run_cppcheck() {
    at=$(grep -n 'wsock__fds_of(ws, n < cap ? list + n : NULL,' wsock.h |
        cut -d: -f1)
    [ -n "$at" ] || { echo "what is suppressed is gone"; return 1; }
    cppcheck --enable=warning,performance,portability --std=c99 -q \
        --error-exitcode=1 --suppress=missingIncludeSystem \
        --suppress="nullPointerArithmetic:wsock.h:$at" \
        -D__linux__=1 -D__unix__=1 -I. $file
}

run_clang_tidy() {
    clang-tidy --quiet --config-file="$here/clang-tidy" $file -- -std=c99
}

run_fanalyzer() {
    gcc -std=c99 -O1 -fanalyzer -Werror -c -o /dev/null $file
}

# By default clang does not analyse what stands in a header.  Functions in
# which it finds what cannot be:
#   wsock__append, wsock__start_frame: that the list of runs is too short;
#       wsock__reserve() has counted them
#   wsock__answer_request: a key that is NULL; wsock__judge_upgrade() has
#       refused that
#   wsock__keep_head: no memory; wsock__kept_take() has returned 1
run_deep() {
    clang -std=c99 --analyze -Xclang -analyzer-opt-analyze-headers \
        -Xclang -analyzer-output=text $file >"$work/deep.out" 2>&1
    bad=0
    found='s/^.*wsock\.h:\([0-9]*\):[0-9]*: warning.*/\1/p'
    for at in $(sed -n "$found" "$work/deep.out"); do
        name=$(sed -n "1,${at}p" wsock.h | grep '^[A-Za-z].*(' | tail -n 1 |
            sed 's/(.*//; s/.*[ *]//')
        case $name in
        wsock__append | wsock__start_frame | wsock__answer_request) ;;
        wsock__keep_head) ;;
        *) bad=1; grep "wsock\.h:$at:" "$work/deep.out" ;;
        esac
    done
    [ $bad = 0 ]
}

if [ "${1:-}" = --one ]; then
    "run_$2"
    exit
fi
names="cppcheck clang_tidy fanalyzer"
[ "${1:-}" = --deep ] && names="$names deep"
passed=0 failed=0 skipped=0
for name in $names; do
    tool=$(echo "$name" | tr _ -)
    [ $name = fanalyzer ] && tool=gcc
    [ $name = deep ] && tool=clang
    rm -f "$work/$name.status"
    if ! command -v "$tool" >/dev/null 2>&1; then
        echo "SKIP $name: no $tool"
        skipped=$((skipped + 1))
        continue
    fi
    { timeout 600 sh "$here/run.sh" --one $name >"$work/$name.log" 2>&1
        echo $? >"$work/$name.status"; } &
done
wait
for name in $names; do
    [ -f "$work/$name.status" ] || continue
    if [ "$(cat "$work/$name.status")" = 0 ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAIL $name"
        tail -n 60 "$work/$name.log" | sed 's/^/    /'
    fi
done
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
