/* trust.c - makes an authority one that this user of Windows trusts, in place
 * of those that had its name before.
 *
 *     trust.exe FILE NAME     the file is PEM */
#include <windows.h>
#include <wincrypt.h>
#include <stdio.h>
#include <string.h>

static void forget(HCERTSTORE store, const char *name)
{
    PCCERT_CONTEXT c;
    int i;
    for (i = 0; i < 100; i++) {
        c = CertFindCertificateInStore(store, X509_ASN_ENCODING, 0,
                                       CERT_FIND_SUBJECT_STR_A, name, NULL);
        if (!c || !CertDeleteCertificateFromStore(c))
            return;
    }
}

int main(int argc, char **argv)
{
    static char text[65536];
    static BYTE der[65536];
    DWORD size = sizeof der;
    const char *pem;
    HCERTSTORE store;
    FILE *file = argc == 3 ? fopen(argv[1], "rb") : NULL;
    if (!file || fread(text, 1, sizeof text - 1, file) == 0)
        return 1;
    pem = strstr(text, "-----BEGIN");
    store = CertOpenSystemStoreA(0, "ROOT");
    forget(store, argv[2]);
    return !pem || !store
           || !CryptStringToBinaryA(pem, 0, CRYPT_STRING_BASE64HEADER, der,
                                    &size, NULL, NULL)
           || !CertAddEncodedCertificateToStore(store, X509_ASN_ENCODING, der,
                                                size, CERT_STORE_ADD_ALWAYS,
                                                NULL)
           || !CertControlStore(store, 0, CERT_STORE_CTRL_COMMIT, NULL);
}
