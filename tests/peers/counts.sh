# counts.sh - what the scripts that run other scripts share: counts, and how
# what fails or is missing is told.  To be read with `.`; $install is empty or
# not.
passed=0
failed=0
skipped=0
# A report of a sanitizer must not look like an orderly end.
ASAN_OPTIONS=exitcode=86:abort_on_error=0
UBSAN_OPTIONS=print_stacktrace=1
export ASAN_OPTIONS UBSAN_OPTIONS

fail() {
    echo "FAIL $1"
    failed=$((failed + 1))
}

# Something is not there: $1 is its name, $2 how to get it.
missing() {
    if [ -n "${install:-}" ]; then
        fail "$1: missing ($2)"
    else
        echo "SKIP $1: missing ($2)"
        skipped=$((skipped + 1))
    fi
}

# count LOG COMMAND...: run it, show what it says and add what its last line
# counts.
count() {
    log=$1
    shift
    "$@" >"$log" 2>&1
    status=$?
    cat "$log"
    numbers=$(tail -n 1 "$log" | sed -n \
's/^.*: \([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p')
    if [ -z "$numbers" ]; then
        fail "$*: exit status $status, no count in its last line"
        return
    fi
    # shellcheck disable=SC2086
    set -- $numbers
    passed=$((passed + $1))
    failed=$((failed + $2))
    skipped=$((skipped + $3))
    if [ "$status" -ne 0 ] && [ "$2" -eq 0 ]; then
        fail "$log: exit status $status"
    fi
}

# build SOURCE NAME COMPILER FLAG...: the program $work/NAME, in $program.
build() {
    source=$1
    program=$work/$2
    shift 2
    if ! "$@" -std=c99 -pthread -o "$program" "$source" \
        >"$work/build.log" 2>&1; then
        cat "$work/build.log"
        fail "build of ${source##*/}: $*"
        return 1
    fi
}

# The last line, and the end.
finish() {
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ]
    exit
}
