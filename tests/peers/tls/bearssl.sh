#!/bin/sh
# Fetches BearSSL's source, which no package of Debian's installs.
#
#     sh bearssl.sh DIR
#
# Leaves it in DIR as upstream released it: DIR/inc, DIR/src.  What is there
# already stays.  Where it cannot be had, one line on stderr says why, and the
# exit status is 1.
#
# It is Debian's source package, checked by apt's signatures.  The system's
# configuration stays as it is: its entries are read, as sources, with lists
# and a cache of our own, so that neither root nor `apt-get update` is needed.
set -u

[ $# = 1 ] || { sed -n '4s/^# *//p' "$0" >&2; exit 2; }
case $1 in
/*) dir=$1 ;;
*) dir=$PWD/$1 ;;
esac
own=$dir.fetch
etc=${APT_ETC:-/etc/apt}

cannot() { # why
    echo "BearSSL's source cannot be fetched: $1" >&2
    [ -f "$own/log" ] && tail -n 5 "$own/log" >&2
    exit 1
}

# Both forms: blocks of fields, and a line each.
entries() {
    for f in "$etc"/sources.list.d/*.sources; do
        [ -f "$f" ] || continue
        sed 's/^[Tt]ypes:.*/Types: deb-src/' "$f"
        echo
    done >"$own/etc/all.sources"
    for f in "$etc/sources.list" "$etc"/sources.list.d/*.list; do
        [ -f "$f" ] && sed -n 's/^[ \t]*deb\(-src\)\{0,1\}[ \t]/deb-src /p' "$f"
    done | sort -u >"$own/etc/all.list"
}

ours() { # arguments of apt-get
    apt-get -q -o Dir::Etc::SourceList=/dev/null \
        -o Dir::Etc::SourceParts="$own/etc" -o Dir::State::Lists="$own/lists" \
        -o Dir::Cache="$own/cache" -o APT::Sandbox::User=root "$@" \
        >>"$own/log" 2>&1
}

[ -f "$dir/src/inner.h" ] && exit 0
[ ! -e "$dir" ] || cannot "$dir is there, and is something else"
command -v apt-get >/dev/null 2>&1 || cannot "no apt-get"
rm -rf "$own"
mkdir -p "$own/etc" "$own/lists/partial" "$own/cache/archives/partial" \
    "$own/source" || exit 1
entries
# One entry that does not answer need not be the one that counts.
ours update || true
(cd "$own/source" && ours source --download-only bearssl) ||
    cannot "apt-get source does not give it"
(cd "$own/source" && tar xf ./*.orig.tar.*) 2>>"$own/log" ||
    cannot "tar does not unpack it (xz-utils?)"
mv "$own"/source/*/ "$dir" && [ -f "$dir/src/inner.h" ] ||
    cannot "the archive is not as it was"
rm -rf "$own"
