/* tls_parts.c - which of its implementations BearSSL takes on this CPU, as
 * wsock.h lets it choose: one line. */
#include <bearssl.h>
#include <stdio.h>

static const char *aes_name(void)
{
    if (br_aes_x86ni_ctr_get_vtable()) return "x86ni";
    return br_aes_pwr8_ctr_get_vtable() ? "pwr8" : "constant time";
}

static const char *ghash_name(void)
{
    if (br_ghash_pclmul_get()) return "pclmul";
    return br_ghash_pwr8_get() ? "pwr8" : "constant time";
}

static const char *poly_name(void)
{
    return br_poly1305_ctmulq_get() ? "ctmulq" : "ctmul";
}

static const char *ec_name(void)
{
    const br_ec_impl *ec = br_ec_get_default();
    if (ec == &br_ec_all_m31) return "all_m31";
    return ec == &br_ec_all_m15 ? "all_m15" : "other";
}

static const char *rsa_name(void)
{
    br_rsa_private rsa = br_rsa_private_get_default();
    if (br_rsa_i62_private_get() && rsa == br_rsa_i62_private_get())
        return "i62";
    return rsa == br_rsa_i31_private ? "i31" : "i15";
}

int main(void)
{
    printf("AES %s, GHASH %s, ChaCha20 %s, Poly1305 %s, curves %s, "
           "ECDSA %s, RSA %s\n", aes_name(), ghash_name(),
           br_chacha20_sse2_get() ? "sse2" : "ct", poly_name(), ec_name(),
           br_ecdsa_sign_asn1_get_default() == br_ecdsa_i31_sign_asn1
               ? "i31" : "i15", rsa_name());
    return 0;
}
