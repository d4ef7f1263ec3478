# compare.awk - two clients' lines, step by step, as run.sh describes it.
#
# Reads differences.txt, WinHTTP's log, ours; winhttp and wsock are the exit
# statuses of the clients, brief not 0 when only what fails is to be printed.

BEGIN { FS = "|" }
FNR == 1 { file++ }
file == 1 && /^(#|$)/ { next }
file == 1 {
    known++
    known_row[known] = $1
    for (i = 2; i <= 4; i++)
        pattern[known, i] = glob($i)
    reason[known] = $5
    next
}
!($1 in seen) {
    seen[$1] = 1
    key[++keys] = $1
}
{
    label[file, $1] = $2
    what[file, $1] = $3 ($4 == "" ? "" : ": " $4)
    name[file, $1] = $5 ~ /OK$|NO_ERROR/ ? "" : $5
}

# `*` is anything.
function glob(s,    out, i, c) {
    for (i = 1; i <= length(s); i++) {
        c = substr(s, i, 1)
        out = out (c == "*" ? ".*" : c ~ /[a-zA-Z0-9 _]/ ? c : "[" c "]")
    }
    return "^" out "$"
}

function shown(f, k) {
    if (!((f, k) in label))
        return "-"
    return what[f, k] (name[f, k] == "" ? "" : " (" name[f, k] ")")
}

function value(f, k) {
    return (f, k) in label ? what[f, k] : "-"
}

# The number of the difference that this is, 0: none that is known.
function known_as(row, k,    i, l) {
    l = step_name(k)
    for (i = 1; i <= known; i++)
        if (known_row[i] == row && l ~ pattern[i, 2] &&
            value(2, k) ~ pattern[i, 3] && value(3, k) ~ pattern[i, 4])
            return i
    return 0
}

function sort_keys(    i, j, t) { # steps of one log stand in order already
    for (i = 2; i <= keys; i++) {
        t = key[i]
        for (j = i - 1; j >= 1 && after(key[j], t); j--)
            key[j + 1] = key[j]
        key[j + 1] = t
    }
}

function number(k) { return substr(k, 2) + 0 }

function after(a, b,    x, y) {
    if (number(a) != number(b))
        return number(a) > number(b)
    x = substr(a, index(a, " ") + 1)
    y = substr(b, index(b, " ") + 1)
    return x + 0 != y + 0 ? x + 0 > y + 0 : x > y
}

function end_row() {
    if (row == "")
        return
    if (bad) {
        failed++
        print "FAIL " row " " title
    } else {
        passed++
    }
    ran[row] = 1
}

function step_name(k) {
    return (2, k) in label ? label[2, k] : label[3, k]
}

# Both made this step, and by the same name.
function paired(k) {
    return (2, k) in label && (3, k) in label && label[2, k] == label[3, k]
}

function step(k,    l, n, mark) {
    l = step_name(k)
    steps++
    n = 0
    mark = "="
    if (!paired(k) || value(2, k) != value(3, k)) {
        n = known_as(row, k)
        mark = n ? "~" : "!"
        used[n] = 1
        bad += n == 0
        differ += n > 0
    }
    if (brief && mark != "!")
        return
    printf "%s %-40s %-50s %s\n", mark, l, shown(2, k), shown(3, k)
    if (n)
        print "      " reason[n]
}

END {
    sort_keys()
    for (i = 1; i <= keys; i++) {
        split(key[i], parts, " ")
        if (parts[1] != row) {
            end_row()
            row = parts[1]
            bad = 0
            title = step_name(key[i])
            if (!brief)
                printf "\n%s %s\n  %-40s %-50s %s\n", row, title, "step",
                    "WinHTTP", "wsock.h"
        }
        if (parts[2] != "00")
            step(key[i])
        else
            bad += !paired(key[i])
    }
    end_row()
    if (!brief)
        print ""
    for (i = 1; i <= known; i++)
        if (!(i in used) && known_row[i] in ran) {
            print "FAIL a known difference has gone: " known_row[i] ", " \
                reason[i]
            failed++
        }
    if (winhttp != 0 || wsock != 0) {
        print "FAIL the clients ended with " winhttp " and " wsock
        failed++
    }
    print steps " steps, " differ + 0 " known differences"
    print passed + 0 " passed, " failed + 0 " failed, 0 skipped"
    exit failed > 0
}
