#!/bin/sh
# What amalgamate.py refuses, and what it says then.
#
#     errors.sh BEARSSL WORK
#
# BEARSSL is BearSSL's source; WORK is made anew.  A case damages a copy, has
# it refused, and mends it.  The last line counts.
set -u

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
python=${PYTHON:-/usr/bin/python3}
pristine=$1
work=$2
rm -rf "$work"
mkdir -p "$work/fork/src" || exit 1
. "$here/../peers/counts.sh"

# Of the .c files some are enough to be refused.
cp -r "$pristine/inc" "$pristine/LICENSE.txt" "$work/fork/"
for name in inner.h config.h hash/sha2small.c ssl/ssl_hs_client.c; do
    mkdir -p "$(dirname "$work/fork/src/$name")"
    cp "$pristine/src/$name" "$work/fork/src/$name"
done
cp -r "$work/fork" "$work/good"
echo kept >"$work/out.h"

# Status 1, one line that has these words, the output as it was, nothing else
# left beside it.
refused() { # words, argument...
    words=$1
    shift
    "$python" "$root/amalgamate.py" "$@" >"$work/said" 2>&1
    status=$?
    if [ $status = 1 ] && [ "$(wc -l <"$work/said")" -eq 1 ] &&
        grep -q "^amalgamate.py: .*$words" "$work/said" &&
        [ "$(cat "$work/out.h")" = kept ] && [ ! -e "$work/"*.part ]; then
        passed=$((passed + 1))
    else
        fail "\"$words\": status $status, and it says"
        sed 's/^/    /' "$work/said"
    fi
}

# One file of the copy, changed by a sed script.
changed() { # words, file, script
    sed "$3" "$work/good/$2" >"$work/fork/$2"
    cmp -s "$work/good/$2" "$work/fork/$2" && fail "\"$3\" changes nothing"
    refused "$1" --bearssl "$work/fork" -o "$work/out.h"
    cp "$work/good/$2" "$work/fork/$2"
}

refused 'is not the source of BearSSL: it has no inc' \
    --bearssl "$work/none" -o "$work/out.h"
refused 'is not the source of BearSSL' --bearssl "$root" -o "$work/out.h"
refused 'cannot be written: .* -o' --bearssl "$pristine" -o "$work"
refused 'cannot be written: .* -o' --bearssl "$pristine" -o "$work/no/out.h"
refused 'cannot be written: .*not a file.* -o' --bearssl "$pristine" -o /
mkfifo "$work/fifo"
refused 'cannot be written: .*not a file.* -o' --bearssl "$pristine" \
    -o "$work/fifo"
[ -p "$work/fifo" ] || fail "a file has taken the place of a FIFO"
cp "$root/wsock.h" "$work/wsock.h"
ln -s fork/src "$work/link"
ln -s wsock.h "$work/also.h"
for name in wsock.h also.h fork/inc/new.h link/inner.h fork/LICENSE.txt; do
    refused 'made of it.* -o' --bearssl "$work/fork" --wsock "$work/wsock.h" \
        -o "$work/$name"
done
cmp "$root/wsock.h" "$work/wsock.h" && diff -r "$work/good" "$work/fork" ||
    fail "the output is written over what it is made of"
refused 'it has no #include <bearssl.h>' --bearssl "$pristine" \
    --wsock "$here/errors.sh" -o "$work/out.h"
head -n 10000 "$root/wsock.h" >"$work/cut.h"
refused 'cut.h: .*do not match' --bearssl "$pristine" --wsock "$work/cut.h" \
    -o "$work/out.h"
refused 'no such file\|No such file' --bearssl "$pristine" \
    --wsock "$work/none.h" -o "$work/out.h"

# A fork: macros, headers, attributes and names of its own.
changed 'bearssl_hash.h.*the macro PROGMEM.*fork' inc/bearssl_hash.h \
    '30s/^/#define PROGMEM\n/'
changed 'includes <pgmspace.h>.*fork' inc/bearssl_hash.h \
    '30s/^/#include <pgmspace.h>\n/'
changed 'inner.h: it includes <pgmspace.h> on every machine.*fork' \
    src/inner.h 's/^#include <limits.h>/#include <pgmspace.h>/'
changed 'sha2small.c: it includes <pgmspace.h> on every machine.*fork' \
    src/hash/sha2small.c '1s/^/#include <pgmspace.h>\n/'
changed 'sha2small.c.*PROGMEM.*fork' src/hash/sha2small.c \
    's/br_sha224_IV\[8\]/& PROGMEM/'
changed 'ICACHE_ATTR.*fork' src/hash/sha2small.c \
    's/^br_sha224_init/ICACHE_ATTR &/'
changed 'shrink_sha224.*without br_' src/hash/sha2small.c \
    '/^br_sha224_init/,$s/^br_sha224_init/shrink_sha224/'
changed '"port.h"' src/hash/sha2small.c 's/"inner.h"/"port.h"/'
changed 'no switch BR_LE_UNALIGNED' src/inner.h 's/BR_LE_UNALIGNED/BR_X/g'
cp "$work/fork/src/hash/sha2small.c" "$work/fork/src/hash/again.c"
refused 'as does' --bearssl "$work/fork" -o "$work/out.h"
rm "$work/fork/src/hash/again.c"

# Not complete, or damaged.
changed 'no file defines' inc/bearssl_hash.h 's/br_sha1_init/br_sha0_init/'
rm "$work/fork/inc/bearssl_aead.h"
refused 'bearssl_aead.h.*not there' --bearssl "$work/fork" -o "$work/out.h"
cp "$work/good/inc/bearssl_aead.h" "$work/fork/inc/"
changed 'braces, .*do not match' src/hash/sha2small.c '$s/}//'
changed 'line [0-9]*: .* is not C' src/hash/sha2small.c '$s/$/ " /'
changed '#if and #endif, do not match' src/inner.h '$d'
changed 'bearssl_hash.h: line [0-9]*: .* is not C' inc/bearssl_hash.h \
    "\$s/\$/ ' /"
changed 'line [0-9]*: a comment does not end' src/hash/sha2small.c \
    '$s/$/\/* as far as here/'
changed 'line [0-9]*: a comment does not end' src/inner.h '0,/\*\//s/\*\///'
changed 'sha2small.c: .*do not match' src/hash/sha2small.c '$s/$/ } {/'
for line in '#define' '#define F(' '#include'; do
    changed 'sha2small.c: .*\(not complete\|names no file\)' \
        src/hash/sha2small.c "\$s/\$/\\n$line/"
done
changed 'not text' src/config.h '1s/^/\xff/'

# An output that is not what the source gives.
"$python" "$root/amalgamate.py" --bearssl "$pristine" -o "$work/old.h" \
    >/dev/null && cp "$work/old.h" "$work/plain.h" &&
    sed -i 's/br_md5_init/br_md6_init/' "$work/old.h"
refused 'is not what' --bearssl "$pristine" -o "$work/old.h" --check

# An interrupt, when it is known to read: it has opened the FIFO.  A shell's
# background programs ignore it unless they ask for it.
"$python" -c 'import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")' "$root/amalgamate.py" \
    --bearssl "$work/fork" --wsock "$work/fifo" -o "$work/out.h" \
    2>"$work/said" &
exec 3>"$work/fifo"
kill -INT $!
wait $!
status=$?
exec 3>&-
[ $status = 130 ] && [ "$(cat "$work/said" "$work/out.h")" = \
    "$(printf 'amalgamate.py: interrupted\nkept')" ] &&
    passed=$((passed + 1)) || fail "interrupted: $(cat "$work/said")"

# Written in another way, the source gives the same: line ends, a mark at the
# start, a stray semicolon, a blank behind #, no line end at the end; in a
# folder whose name is not UTF-8, by a Python without its texts, through a link
# that stays one.  That there is no room to say so when it is done is told.
ln -s new.h "$work/link.h"
other=$work/$(printf 'a "b" \342\202\254 \351')
mkdir -p "$other/.git"
: >"$other/.git/HEAD"
cp -r "$pristine/inc" "$pristine/src" "$pristine/LICENSE.txt" "$other/"
other() { # file, script
    sed -i "$2" "$other/$1"
    cmp -s "$pristine/$1" "$other/$1" && fail "\"$2\" changes nothing"
}
other src/inner.h 's/$/\r/; s/^#define BR_TARGET(/# define BR_TARGET(/'
other src/hash/sha2small.c '1s/^/\xef\xbb\xbf/; $s/$/\n;/'
printf '%s' "$(cat "$pristine/src/config.h")" >"$other/src/config.h"
body() { # all but the head's two lines on the source
    sed '/^ \* SHA-256/d; /^ \* BearSSL   /d' "$1"
}
body "$work/plain.h" >"$work/expected"
"$python" -OO -W error "$root/amalgamate.py" --bearssl "$other" \
    -o "$work/link.h" 2>"$work/said" >/dev/full
[ $? = 1 ] && [ "$(wc -l <"$work/said")" -eq 1 ] && [ -h "$work/link.h" ] &&
    body "$work/new.h" | sed 's/^# define/#define/; /^;$/d' |
    cmp - "$work/expected" && passed=$((passed + 1)) ||
    fail "what is written in another way gives something else"

ln -s nowhere "$other/src/new.h"
refused 'new.h: No such file' --bearssl "$other" -o "$work/out.h"
rm "$other/src/new.h"
echo '*/' >>"$other/LICENSE.txt"
refused 'cannot stand in a comment.*fork' --bearssl "$other" -o "$work/out.h"
finish
