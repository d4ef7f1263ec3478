/* trust.c - makes an authority one that this user of Windows trusts.
 *
 *     trust.exe FILE     PEM */
#include <windows.h>
#include <wincrypt.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    static char text[65536];
    static BYTE der[65536];
    DWORD size = sizeof der;
    const char *pem;
    HCERTSTORE store;
    FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
    if (!file || fread(text, 1, sizeof text - 1, file) == 0)
        return 1;
    pem = strstr(text, "-----BEGIN");
    store = CertOpenSystemStoreA(0, "ROOT");
    return !pem || !store
           || !CryptStringToBinaryA(pem, 0, CRYPT_STRING_BASE64HEADER, der,
                                    &size, NULL, NULL)
           || !CertAddEncodedCertificateToStore(store, X509_ASN_ENCODING, der,
                                                size, CERT_STORE_ADD_ALWAYS,
                                                NULL)
           || !CertCloseStore(store, 0);
}
