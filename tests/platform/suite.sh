# suite.sh - other systems, CPUs and compilers.  Read by tests/run.sh, whose
# job(), missing(), settle() and script() it uses.

platform=tests/platform

# What this suite needs: a program, or a file, and Debian's packages with it.
platform_needs='x86_64-w64-mingw32-gcc-win32 gcc-mingw-w64-x86-64-win32
    x86_64-w64-mingw32-g++-win32 g++-mingw-w64-x86-64-win32
    i686-w64-mingw32-gcc-win32 gcc-mingw-w64-i686-win32
    i686-w64-mingw32-g++-win32 g++-mingw-w64-i686-win32
    /usr/lib/wine/wine64 wine64
    /usr/lib/x86_64-linux-gnu/libgnutls.so.30 libgnutls30
    qemu-s390x-static qemu-user-static
    s390x-linux-gnu-gcc gcc-s390x-linux-gnu,libc6-dev-s390x-cross
    aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu,libc6-dev-arm64-cross
    arm-linux-gnueabihf-gcc gcc-arm-linux-gnueabihf,libc6-dev-armhf-cross
    riscv64-linux-gnu-gcc gcc-riscv64-linux-gnu,libc6-dev-riscv64-cross
    /usr/lib/gcc/x86_64-linux-gnu/12/32/libgcc.a gcc-12-multilib
    musl-gcc musl-tools
    tcc tcc'

platform_wanted() {
    set -- $platform_needs
    while [ $# -gt 0 ]; do
        have "$1" || [ -e "$1" ] || echo "$2" | tr , ' '
        shift 2
    done
}

# use.c with the implementation in it, under one compiler; run if it can be.
platform_use() { # name, compile command, run command (%: the program)
    out=$work/platform/$(echo "$1" | tr -c 'a-z0-9A-Z\n' _)
    run=$(echo "$3" | sed "s|%|$out|")
    job "$1" "set -e; $2 -DONE_UNIT -o $out $platform/use.c ${4:-}; $run"
}

platform_windows_builds() {
    for cc in x86_64-w64-mingw32-gcc-win32 i686-w64-mingw32-gcc-win32; do
        have $cc || { missing "build with $cc" "no $cc"; continue; }
        for set in '-std=c99' '-std=c99 -DWSOCK_STATIC' \
            '-std=gnu17 -DWSOCK_NO_THREADS'; do
            platform_use "$cc $set" "$cc $c_warnings -O2 $set" : \
                '-lws2_32 -lbcrypt'
        done
        windows_h "$cc"
    done
    for cc in x86_64-w64-mingw32-g++-win32 i686-w64-mingw32-g++-win32; do
        have $cc || { missing "build with $cc" "no $cc"; continue; }
        for std in c++11 c++20; do
            platform_use "$cc $std" "$cc -x c++ -std=$std $warnings -O2" : \
                '-lws2_32 -lbcrypt'
        done
    done
    clang_cl=$(command -v clang-cl || command -v clang-cl-14)
    headers=/usr/share/mingw-w64/include
    if [ -z "$clang_cl" ] || [ ! -d $headers ]; then
        missing "build with clang-cl" "no clang-cl or no mingw-w64 headers"
        return
    fi
    # The last: what is for MSVC and not for clang.  `small` is a macro of
    # Microsoft's windows.h, which MinGW's does not have.
    for set in '' /DWSOCK_STATIC /DWSOCK_NO_THREADS '/TP /std:c++17' \
        '/arch:AVX2 /clang:-U__clang__'; do
        job "clang-cl /W4 $set" "$clang_cl --target=x86_64-pc-windows-msvc \
            /W4 /WX /c /O2 $set /DONE_UNIT /Dsmall=char \
            /imsvc $headers /clang:-fgnuc-version=12.2 \
            /Fo$work/platform/cl.obj -- $platform/use.c"
    done
}

# Before windows.h, after the lean one; after the full one the API half is
# good and the implementation says what to do.
windows_h() { # compiler
    lean='#define WIN32_LEAN_AND_MEAN'
    for order in "#define WSOCK_IMPLEMENTATION|#include \"wsock.h\"|\
#include <windows.h>" "$lean|#include <windows.h>|\
#define WSOCK_IMPLEMENTATION|#include \"wsock.h\"" \
        "#include <windows.h>|#include \"wsock.h\""; do
        job "$1, $order" "printf '%s\n' '$order' | tr '|' '\n' | \
            $1 -x c -std=c99 $c_warnings -I. -c -o /dev/null -"
    done
    wrong='#include <windows.h>|#define WSOCK_IMPLEMENTATION|'
    job "$1, $wrong" "printf '%s\n' '$wrong#include \"wsock.h\"' | \
        tr '|' '\n' | $1 -x c -I. -c -o /dev/null - 2>&1 | \
        grep -q 'error: #error.*WIN32_LEAN_AND_MEAN'"
}

platform_compilers() {
    if have musl-gcc; then
        platform_use "musl-gcc" "musl-gcc -std=c99 $c_warnings -O2 -static" %
    else
        missing "build with musl" "no musl-gcc (musl-tools)"
    fi
    if have tcc; then
        for set in '' -DWSOCK_STATIC -DWSOCK_NO_THREADS; do
            platform_use "tcc $set" "tcc -Wall -Werror $set" % -lpthread
        done
    else
        missing "build with tcc" "no tcc"
    fi
    for std in c17 c2x; do
        have gcc && platform_use "gcc $std" \
            "gcc -std=$std $c_warnings -O3" %
        have clang && platform_use "clang $std" \
            "clang -std=$std $c_warnings -O3" %
    done
    for std in c++14 c++17; do
        have g++ && platform_use "g++ $std" \
            "g++ -x c++ -std=$std $warnings -O2" %
        have clang++ && platform_use "clang++ $std" \
            "clang++ -x c++ -std=$std $warnings -Wno-deprecated -O2" %
    done
}

# Everything that clang can say, less: padding (structs are laid out by use);
# and in C++, which the header also is, C's casts and NULL, and the names with
# two underscores that all private ones have.
platform_everything() {
    have clang || { missing "-Weverything" "no clang"; return; }
    off='-Wno-padded -Wno-unknown-warning-option -Wno-unsafe-buffer-usage
        -Wno-declaration-after-statement -Wno-pre-c11-compat'
    job "clang -Weverything" "clang -std=c99 -Weverything -Werror \
        $(echo $off) -c -o /dev/null $platform/implementation.c"
    job "clang++ -Weverything" "clang++ -x c++ -std=c++17 -Weverything \
        -Werror $(echo $off) -Wno-deprecated -Wno-c++98-compat-pedantic \
        -Wno-old-style-cast -Wno-zero-as-null-pointer-constant \
        -Wno-reserved-identifier -Wno-reserved-macro-identifier \
        -c -o /dev/null $platform/implementation.c"
}

# The code for macOS, for its own target but with other headers: parsed and
# compiled, neither linked nor run.
platform_darwin() {
    musl=/usr/include/$(uname -m)-linux-musl
    if ! have clang || [ ! -d "$musl" ]; then
        missing "Darwin's target" "no clang, or no musl headers (musl-tools)"
        return
    fi
    for set in '' -DWSOCK_NO_THREADS -DWSOCK_USE_POLL; do
        job "Darwin's target $set" "clang --target=arm64-apple-macos11 \
            -nostdlibinc -isystem $musl -isystem $platform/kqueue -std=c99 \
            -O1 -Wall -Wextra -Werror $set -c -o /dev/null \
            $platform/implementation.c"
    done
}

# The unit tests that say most about a CPU, its threads and its sockets.
platform_units='frame utf8 message send close handshake_server memory io loop
    threads'

platform_cpu() { # name for gcc, name for qemu, flags
    cc=$1-gcc
    if ! have "$cc" || ! have "qemu-$2-static"; then
        missing "$2" "no $cc or qemu-$2-static"
        return
    fi
    # TEST_QUICK and TEST_SMALL: emulation is slow, as valgrind is.
    unit_jobs "$2" "$cc -std=gnu99 -O1 -Wall -Wextra -Werror $3" \
        "TEST_QUICK=1 TEST_SMALL=1 qemu-$2-static -L /usr/$1 %" \
        "$platform_units"
}

# What is chosen at run time: SSSE3 on a CPU without AVX2, nothing on one
# without either.  The unit suite has this machine's.
platform_vectors() {
    [ "$(uname -m)" = x86_64 ] && have gcc || return
    have qemu-x86_64-static ||
        { missing "older CPUs" "no qemu-x86_64-static"; return; }
    for cpu in core2duo:16 qemu64:0; do
        unit_jobs ${cpu%:*} "gcc -std=gnu99 -O1 -Wall -Wextra -Werror" \
            "TEST_QUICK=1 TEST_VECTORS=${cpu#*:} \
            qemu-x86_64-static -cpu ${cpu%:*} %" utf8
    done
}

platform_run() {
    mkdir -p "$work/unit"
    platform_cpu s390x-linux-gnu s390x ''
    platform_cpu aarch64-linux-gnu aarch64 ''
    platform_cpu arm-linux-gnueabihf arm -mfpu=neon
    platform_cpu riscv64-linux-gnu riscv64 ''
    if echo 'int main(void) { return 0; }' | gcc -m32 -x c \
        -o "$work/platform/m32" - 2>/dev/null && "$work/platform/m32"; then
        unit_jobs m32 "gcc -m32 -idirafter /usr/include/$(uname -m)-linux-gnu \
            -std=gnu99 -O1 -Wall -Wextra -Werror" "TEST_SMALL=1 %" "$units"
    else
        missing "32-bit x86" "gcc -m32 does not work (gcc-12-multilib)"
    fi
    platform_vectors
    have gcc && unit_jobs kqueue "gcc -std=gnu99 -O1 -Wall -Wextra -Werror \
        -DWSOCK_USE_KQUEUE -I$platform/kqueue" % "$sockets"
    have musl-gcc && unit_jobs musl "musl-gcc -std=gnu99 -O1 -Wall -Wextra \
        -Werror -static" "TEST_SMALL=1 %" "$platform_units"
}

suite_platform() {
    mkdir -p "$work/platform"
    begin
    platform_windows_builds
    platform_compilers
    platform_everything
    platform_darwin
    settle
    begin
    platform_run
    settle counted
    script windows sh $platform/windows.sh $install
    script winhttp sh $platform/winhttp/run.sh --brief $install
}
