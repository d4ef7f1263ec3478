# suite.sh - wsock_tls.h, which amalgamate.py makes of wsock.h and BearSSL's
# source package.  Read by tests/run.sh, whose job(), missing(), settle() and
# tls_ready() it uses.  What CI leaves out is in `--full`.

amalgamate() { # output, further arguments: prints a command
    echo "/usr/bin/python3 '$root/amalgamate.py' --bearssl '$bearssl' -o $*"
}

# The output is a function of the input, holds wsock.h as it is, and has the
# hash that the manual's lines print.
amalgamate_bytes() {
    job "the same bytes again, from another folder" "cd / && \
        $(amalgamate "$dir/again.h") && cmp '$dir/again.h' '$fused'"
    job "wsock.h, byte for byte" "awk '/^\\/\\* wsock\\.h - / { on = 1 }
        /= BearSSL begins ==\$/ { print \"#include <bearssl.h>\"; on = 0 }
        on { print } /= BearSSL ends == \\*\\/\$/ { on = 1 }' '$fused' | \
        cmp - wsock.h"
    job "the hash of the source" "hash=\$(cd '$bearssl' && \
        find inc src -name '*.[ch]' | LC_ALL=C sort | xargs sha256sum | \
        sha256sum | cut -d ' ' -f 1); grep -q \"SHA-256   \$hash\" '$fused'"
    job "no source of BearSSL is in the repository" \
        "! git ls-files 2>/dev/null | grep -i 'bearssl.*\\.[ch]\$'"
}

# Two versions of BearSSL in one program: ours, and all of the system's.
amalgamate_beside() {
    cat >"$dir/beside.c" <<END
#define main other_main
#include "examples/client_wss.c"
#undef main
const void *theirs(void);
int main(void) { return theirs() == &br_sha256_vtable; }
END
    cat >"$dir/theirs.c" <<END
#include <bearssl.h>
const void *theirs(void);
const void *theirs(void) { return &br_sha256_vtable; }
END
    job "wsock_tls.h beside another BearSSL" "gcc -o '$dir/beside' \
        '$dir/beside.c' '$dir/theirs.c' -Wl,--whole-archive -lbearssl \
        -Wl,--no-whole-archive && '$dir/beside'"
}

# Without a warning; compilers differ in what they see at which level.
amalgamate_builds() {
    printf '#define WSOCK_IMPLEMENTATION\n#include "wsock_tls.h"\n' \
        >"$dir/one.c"
    printf '#include "wsock_tls.h"\nint main() { return 0; }\n' >"$dir/use.cpp"
    some='gcc:-O0 clang:-O0 x86_64-w64-mingw32-gcc-win32:-O0'
    [ -z "$full" ] || some=$(for cc in gcc clang \
        x86_64-w64-mingw32-gcc-win32 i686-w64-mingw32-gcc-win32; do
        echo $cc:-O0 $cc:-O1 $cc:-O2 $cc:-O3 $cc:-Os; done)
    for one in $some; do
        cc=${one%:*}
        have $cc || { missing "wsock_tls.h with $cc" "no $cc"; continue; }
        job "wsock_tls.h, $cc ${one#*:}" "$cc -std=c99 $c_warnings ${one#*:} \
            -c -o '$dir/$cc${one#*:}.o' '$dir/one.c'"
    done
    for set in -DWSOCK_STATIC -DWSOCK_NO_THREADS; do
        job "wsock_tls.h, gcc $set" "gcc -std=gnu17 $c_warnings $set \
            -fsyntax-only '$dir/one.c'"
    done
    for set in --extern --comments; do
        job "wsock_tls.h $set" "mkdir -p '$dir/with$set' && \
            $(amalgamate "$dir/with$set/wsock_tls.h" $set) && \
            cp '$dir/one.c' '$dir/with$set/' && gcc -std=c99 $c_warnings \
            -c -o '$dir/with$set/one.o' '$dir/with$set/one.c'"
    done
    if have tcc; then
        job "wsock_tls.h, tcc" "cd '$dir' && tcc -Wall -Werror -o client.tcc \
            examples/client_wss.c -lpthread"
    else
        missing "wsock_tls.h with tcc" "no tcc"
    fi
    printf '#include <bearssl.h>\n#include "one.c"\n' >"$dir/behind.c"
    job "behind another BearSSL it says what to do" "gcc -I '$bearssl/inc' \
        -fsyntax-only '$dir/behind.c' 2>&1 | \
        grep -q 'error: #error.*another BearSSL'"
    have g++ || { missing "wsock_tls.h with g++" "no g++"; return; }
    job "C++ includes wsock_tls.h" "g++ -std=c++11 $warnings \
        -o '$dir/use' '$dir/use.cpp' && '$dir/use'"
    job "as C++ the implementation says what to do" "g++ -x c++ \
        -fsyntax-only '$dir/one.c' 2>&1 | grep -q 'error: #error.*BearSSL is C'"
}

# What came behind 0.6, for what amalgamate.py makes of it: a source of
# randomness that -std=c99 does not declare, and callbacks for the time.
amalgamate_newer() {
    new=$dir/newer
    mkdir -p "$new" "$dir/of_newer"
    cp -r "$bearssl/inc" "$bearssl/src" "$bearssl/LICENSE.txt" "$new/"
    sed -i '/^#ifndef BR_USE_WIN32_RAND/i\
#ifndef BR_USE_GETENTROPY\
#if defined __linux__\
#define BR_USE_GETENTROPY   1\
#endif\
#endif' "$new/src/inner.h"
    sed -i '0,/^br_prng_seeder$/{/^br_prng_seeder$/i\
#if BR_USE_GETENTROPY\
#include <unistd.h>\
static int\
seeder_getentropy(const br_prng_class **ctx)\
{\
	unsigned char tmp[32];\
\
	if (getentropy(tmp, sizeof tmp)) {\
		return 0;\
	}\
	(*ctx)->update(ctx, tmp, sizeof tmp);\
	return 1;\
}\
#endif
}' "$new/src/rand/sysrng.c"
    sed -i '/^br_prng_seeder_system/,$s/^#if BR_RDRAND/#if BR_USE_GETENTROPY\
	return \&seeder_getentropy;\
#endif\
&/' "$new/src/rand/sysrng.c"
    sed -i 's/^} br_x509_minimal_context;/&\
\
typedef int (*br_x509_time_check)(void *tctx,\
	uint32_t not_before_days, uint32_t not_after_days);\
\
void br_x509_minimal_set_time_callback(br_x509_minimal_context *ctx,\
	void *tctx, br_x509_time_check check);/' "$new/inc/bearssl_x509.h"
    cp "$dir/one.c" "$dir/of_newer/"
    job "wsock_tls.h of a newer BearSSL" "set -e
        grep -q '&seeder_getentropy' '$new/src/rand/sysrng.c'
        grep -q br_x509_time_check '$new/inc/bearssl_x509.h'
        gcc -std=gnu99 -Wall -Werror -I '$new/inc' -I '$new/src' \
            -fsyntax-only '$new/src/rand/sysrng.c'
        $(bearssl=$new amalgamate "$dir/of_newer/wsock_tls.h")
        gcc -std=c99 $c_warnings -c -o '$dir/of_newer/one.o' \
            '$dir/of_newer/one.c'
        ! nm '$dir/of_newer/one.o' | grep getentropy"
}

# test_tls.c, with wsock_tls.h by the name of wsock.h.  Its stand-ins for what
# BearSSL says of the CPU come behind BearSSL instead of before wsock.h.
amalgamate_tests() {
    tree=$dir/tree/tests/unit
    mkdir -p "$tree"
    cp tests/unit/*.[ch] "$tree/"
    awk -v cpu="$dir/tree/cpu.h" '/^#define CPU\(/ { on = 1 }
        /^$/ { on = 0 } on { print > cpu; next }
        !/^#include <bearssl.h>/' tests/unit/test_tls.c >"$tree/test_tls.c"
    sed '/= BearSSL ends ==/a #include "cpu.h"' "$fused" >"$dir/tree/wsock.h"
    source=$tree/test_tls.c
    flags='-std=gnu99 -g -Wall -Wextra -Werror -pthread'
    pki="WSOCK_PKI='$work/tls/pki'"
    quick="$pki TEST_QUICK=1 TEST_SMALL=1"
    amalgamate_wine # waits more than it computes
    if have valgrind; then
        job "test_tls, fused, under valgrind" "gcc $flags -O1 \
            -o '$dir/valgrind' $source || exit 1
            $quick valgrind -q --error-exitcode=9 \
            --leak-check=full --show-leak-kinds=definite,possible \
            --errors-for-leak-kinds=definite,possible '$dir/valgrind'"
    else
        missing "test_tls, fused, under valgrind" "no valgrind"
    fi
    # As in suite tls: BearSSL copies no bytes from NULL, and adds 0 to it.
    # Alignment, which is not asked there, is asked here.
    if sanitizers_work; then
        job "test_tls, fused, sanitized" "clang $flags -O0 \
            -fsanitize=address,undefined -fno-sanitize-recover=undefined \
            -fno-sanitize=nonnull-attribute,pointer-overflow \
            -o '$dir/sanitized' $source || exit 1
            $quick '$dir/sanitized'"
    else
        missing "test_tls, fused, sanitized" "clang cannot build it"
    fi
    if echo 'int main(void) { return 0; }' | gcc -m32 -x c \
        -o "$dir/probe32" - 2>/dev/null && "$dir/probe32"; then
        job "test_tls, fused, -m32" "gcc -m32 \
            -idirafter /usr/include/$(uname -m)-linux-gnu $flags -O1 \
            -o '$dir/m32' $source || exit 1
            $pki '$dir/m32'"
    else
        missing "test_tls, fused, -m32" "gcc -m32 does not work"
    fi
    if have aarch64-linux-gnu-gcc && have qemu-aarch64-static; then
        job "test_tls, fused, aarch64" "aarch64-linux-gnu-gcc $flags -O1 \
            -o '$dir/aarch64' $source || exit 1
            $quick qemu-aarch64-static -L /usr/aarch64-linux-gnu \
            '$dir/aarch64'"
    else
        missing "test_tls, fused, aarch64" "no compiler or no qemu"
    fi
}

amalgamate_wine() {
    cc=x86_64-w64-mingw32-gcc-win32
    wine=$(command -v wine64 || ls /usr/lib/wine/wine64 2>/dev/null)
    server=$(command -v wineserver || ls /usr/lib/wine/wineserver64 \
        2>/dev/null)
    if [ -z "$wine" ] || ! have $cc; then
        missing "test_tls, fused, under wine" "no $cc or no wine64"
        return
    fi
    job "test_tls, fused, under wine" "export WINEPREFIX='$dir/prefix' \
        WINEDEBUG=-all WINEDLLOVERRIDES='mscoree,mshtml='
        $wine wineboot -i >/dev/null 2>&1 & boot=\$!
        $cc -std=gnu99 -Wall -Wextra -Werror -Itests/platform/windows -O1 \
            -o '$dir/test_tls.exe' $source -lws2_32 -lbcrypt -lcrypt32 \
            -lpthread -static || exit 1
        wait \$boot
        $pki $wine '$dir/test_tls.exe' >'$dir/wine.log' 2>&1
        status=\$?
        ${server:-:} -k
        tr -d '\\r' <'$dir/wine.log'; exit \$status"
}

# The example by its own line, timed, and for its size.
amalgamate_example_builds() {
    line=$(sed -n '1,/\*\//s/^ \*  *\(cc .*\)$/\1/p' examples/client_wss.c)
    job "examples/client_wss.c: $line" "cd '$dir' && start=\$(date +%s%N) && \
        $line -Wall -Wextra -Werror && \
        echo \$(((\$(date +%s%N) - start) / 1000000)) >took"
    job "client_wss, its size" "gcc -Os -s -o '$dir/small' \
        '$dir/examples/client_wss.c'"
    job "client_hello, its size" "gcc -Os -s -DWSOCK_STATIC \
        -o '$dir/plain' examples/client_hello.c"
    line=$(sed -n '/^cc .*-include wsock_tls.h/{N;s/\\\n *//;p;}' README.md)
    job "README.md: $line" "cd '$dir' && $line -Wall -Wextra -Werror"
}

# The limit is on what TLS adds to the example that has none.
amalgamate_example() {
    for name in small plain client_wss echo_server; do
        [ -x "$dir/$name" ] || return
    done
    size=$(wc -c <"$dir/small") plain=$(wc -c <"$dir/plain")
    echo "client_wss: $size bytes stripped at -Os ($plain without TLS)," \
        "$(cat "$dir/took") ms to compile by its line;" \
        "wsock_tls.h: $(wc -c <"$fused") bytes"
    if [ $((size - plain)) -le 120000 ]; then pass; else
        fail "TLS makes client_wss more than 120,000 bytes larger"
    fi
    start_server "$dir/server.log" "$dir/echo_server" --port 0 --host \
        localhost --cert "$work/tls/pki/dns.pem" --key "$work/tls/pki/dns.key"
    for client in client_wss client.tcc; do
        [ -x "$dir/$client" ] || continue
        if [ "$("$dir/$client" "$url" "$work/tls/pki/ca.pem" \
            2>"$dir/client.log")" = hello ]; then pass; else
            fail "$client against echo_server" "$dir/client.log"
        fi
        if "$dir/$client" "$url" >/dev/null 2>"$dir/client.log" ||
            ! grep -q 'unknown authority' "$dir/client.log"; then
            fail "$client trusts an unknown authority" "$dir/client.log"
        else pass; fi
    done
    kill -TERM $server 2>/dev/null
    wait $server || fail "echo_server with wsock_tls.h ends badly"
}

suite_amalgamate() {
    tls_ready || return
    dir=$work/amalgamate
    bearssl=$work/bearssl
    fused=$dir/wsock_tls.h
    sh tests/peers/tls/bearssl.sh "$bearssl" 2>"$work/bearssl.log" ||
        { missing amalgamate "$(cat "$work/bearssl.log")"; return; }
    rm -rf "$dir"
    mkdir -p "$dir/examples"
    cp examples/client_wss.c examples/echo_server.c "$dir/examples/"
    cp wsock.h "$dir/"
    sh -c "$(amalgamate "$fused")" >"$dir/log" 2>&1 ||
        { fail "amalgamate.py" "$dir/log"; return; }
    begin
    amalgamate_example_builds
    amalgamate_builds
    amalgamate_newer
    amalgamate_bytes
    amalgamate_beside
    settle
    begin
    amalgamate_tests
    job "what amalgamate.py refuses" \
        "sh tests/amalgamate/errors.sh '$bearssl' '$dir/errors'"
    settle counted
    amalgamate_example
    quick=--quick
    [ -z "$full" ] || quick=
    script check sh -c "$(amalgamate "$fused") --check $quick"
}
