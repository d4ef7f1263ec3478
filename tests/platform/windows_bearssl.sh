#!/bin/sh
# Builds BearSSL for 64-bit Windows with MinGW.
#
#     sh windows_bearssl.sh DIR
#
# Leaves DIR/libbearssl.a and DIR/include, as bearssl_build.sh does.
[ $# = 1 ] || { sed -n '4s/^# *//p' "$0" >&2; exit 2; }
exec sh "$(dirname "$0")/../peers/tls/bearssl_build.sh" "$1" \
    x86_64-w64-mingw32-ar "${CC64:-x86_64-w64-mingw32-gcc-win32}" -O1
