#!/bin/sh
# Builds BearSSL from its source, as much of it as wsock.h comes to.
#
#     sh bearssl_build.sh DIR AR COMPILER [FLAG...]
#
# Leaves DIR/libbearssl.a and DIR/include; what is there already stays.  Where
# that cannot be done, stderr says why, and the exit status is 1.  The source
# is bearssl.sh's, in tests/.work/bearssl.  JOBS sets how many run at a time.
set -u

[ $# -ge 3 ] || { sed -n '4s/^# *//p' "$0" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd) || exit 1
source=$here/../../.work/bearssl
dir=$1 ar=$2
shift 2
[ -f "$dir/libbearssl.a" ] && exit 0
sh "$here/bearssl.sh" "$source" || exit 1
rm -rf "$dir"
mkdir -p "$dir/objects" && cd "$dir/objects" || exit 1
source=$(cd "$source" && pwd)

# Two files of three are ciphers, hashes and forms of arithmetic that wsock.h
# does not come to, nor what it comes to.  One too many left out is noticed by
# the linker.
without='/aead/|/kdf/|/hash/(dig_|md5|mgf1|sha1|ghash_ctmul(32)?\.)|/mac/hmac_ct
    |/codec/(pem|(dec|enc)16|dec64le|enc64le)|/rand/aesctr|/int/i(15|32)
    |keygen|oaep|pubexp|privexp|/rsa_i3[12]_|/rsa_i15_(pkcs1|pub|priv)
    |/des_|/aes_(big|small|common|ct_|ct\.)|cbc|/poly1305_(i15|ctmul32)
    |/ec_c25519_i|/ec_curve|_[im]15\.|/ecdsa_i15|/ecdsa_default.*raw
    |ccm|_full|/ssl_(io|server_min|keyexport)|/prf_md5|/settings
    |/x509/(encode|asn1enc|x509_knownkey)'
without=$(echo "$without" | tr -d ' \n')
{
    find "$source/src" -name '*.c' | grep -Ev "$without"
    for name in i15_bitlen i15_decode i15_encode i15_mulacc i32_div32; do
        echo "$source/src/int/$name.c"
    done
} | xargs -P "${JOBS:-2}" -n 16 "$@" -w -I "$source/inc" -I "$source/src" \
    -c >../log 2>&1 || { tail -n 20 ../log >&2; exit 1; }
cp -r "$source/inc" ../include
$ar rcs ../new.a ./*.o && mv ../new.a ../libbearssl.a
