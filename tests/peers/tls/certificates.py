"""Certificates for the tests of TLS, good and bad, into a folder:

    python3 certificates.py DIR

NAME.pem is what a server sends (its own certificate first), NAME.key its
key, NAME.pin the base64 SHA-256 of its public key.  ca.pem is the authority
that signs all that nothing else is said of.  What was made here within the
last hours stays."""
import base64
import datetime
import hashlib
import ipaddress
import os
import sys
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID as Use
from cryptography.x509.oid import NameOID

NOW = datetime.datetime.utcnow()
DAY = datetime.timedelta(days=1)
PEM = serialization.Encoding.PEM
FORMATS = serialization.PrivateFormat
PLAIN = serialization.NoEncryption()
LOCAL = ["localhost", "127.0.0.1", "::1"]


def rsa_key(bits=2048):
    return rsa.generate_private_key(65537, bits)


def p256():
    return ec.generate_private_key(ec.SECP256R1())


def p384():
    return ec.generate_private_key(ec.SECP384R1())


def p521():
    return ec.generate_private_key(ec.SECP521R1())


def dn(*parts):
    """A name from "O=text", or a text that is the CN."""
    kinds = {"O=": NameOID.ORGANIZATION_NAME, "C=": NameOID.COUNTRY_NAME,
             "E=": NameOID.EMAIL_ADDRESS}
    return x509.Name([x509.NameAttribute(
        kinds.get(p[:2], NameOID.COMMON_NAME),
        p[2:] if p[:2] in kinds else p) for p in parts])


def extension(number, value):
    """One of id-ce with this DER for its value."""
    return x509.UnrecognizedExtension(
        x509.ObjectIdentifier("2.5.29.%d" % number), value)


def general(name):
    """A GeneralName; with a slash a subtree of addresses."""
    if not isinstance(name, str):
        return x509.DirectoryName(dn(*name))
    if name.startswith("mail:"):
        return x509.RFC822Name(name[5:])
    if "/" in name:
        return x509.IPAddress(ipaddress.ip_network(name))
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class Certificate:
    """One with its key.  by: who signs it, None: itself."""

    def __init__(self, name, key=None, by=None, names=None, ca=False,
                 use=None, begin=NOW - DAY, end=NOW + 30 * DAY,
                 how=hashes.SHA256(), unknown=False, limits=None, more=(),
                 basic=True):
        self.key = key or p256()
        signer = by or self
        self.name = dn(*([name] if isinstance(name, str) else name))
        builder = (x509.CertificateBuilder().subject_name(self.name)
                   .issuer_name(signer.name)
                   .public_key(self.key.public_key())
                   .serial_number(x509.random_serial_number())
                   .not_valid_before(begin).not_valid_after(end))
        if basic:
            builder = builder.add_extension(
                x509.BasicConstraints(ca, None), True)
        for it in more:
            builder = builder.add_extension(it, True)
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([general(n) for n in names]),
                False)
        if use:
            builder = builder.add_extension(x509.ExtendedKeyUsage(use), False)
        if limits:  # what is permitted, what is excluded, is it critical?
            permitted, excluded, critical = limits
            builder = builder.add_extension(x509.NameConstraints(
                [general(n) for n in permitted] or None,
                [general(n) for n in excluded] or None), critical)
        if unknown:
            builder = builder.add_extension(x509.UnrecognizedExtension(
                x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00"),
                True)
        if isinstance(signer.key, ed25519.Ed25519PrivateKey):
            how = None
        self.it = builder.sign(signer.key, how)
        self.pem = self.it.public_bytes(PEM)


class Folder:
    def __init__(self, path):
        self.path = path
        os.makedirs(path, exist_ok=True)

    def put(self, name, data):
        with open(os.path.join(self.path, name), "wb") as f:
            f.write(data)

    def chain(self, name, *list_of):
        """What a server sends, with the key of the first."""
        first = list_of[0]
        self.put(name + ".pem", b"".join(c.pem for c in list_of))
        self.put(name + ".key", first.key.private_bytes(
            PEM, FORMATS.PKCS8, PLAIN))
        key = first.key.public_key().public_bytes(
            serialization.Encoding.DER,
            serialization.PublicFormat.SubjectPublicKeyInfo)
        self.put(name + ".pin",
                 base64.b64encode(hashlib.sha256(key).digest()))


def authorities(out):
    ca = Certificate("Test CA", rsa_key(), ca=True)
    ec_ca = Certificate("Test CA EC", p384(), ca=True)
    other = Certificate("Other CA", p256(), ca=True)
    out.put("ca.pem", b"Some words before it.\n" + ca.pem)
    out.put("ca_ec.pem", ec_ca.pem)
    new = Certificate("New Root", ca=True)
    mail = Certificate("Mail CA", ca=True, use=[Use.EMAIL_PROTECTION])
    limited = Certificate("Limited CA", ca=True,
                          limits=(["example.com"], [], True))
    out.put("cas.pem", other.pem + ec_ca.pem + ca.pem + new.pem + mail.pem +
            limited.pem)
    # OpenSSL's form, in which what follows may be that it is not trusted.
    text = base64.encodebytes(ca.it.public_bytes(
        serialization.Encoding.DER) + b"\x30\x00")
    out.put("trusted.pem", b"-----BEGIN TRUSTED CERTIFICATE-----\n" + text +
            b"-----END TRUSTED CERTIFICATE-----\n")
    for name, root in (("mail_root", mail), ("limited_root", limited)):
        out.chain(name, Certificate("leaf", by=root, names=LOCAL))
    # What an older authority said of the new one has expired since.
    old = Certificate("Old Root", ca=True)
    crossed = Certificate("New Root", new.key, by=old, ca=True,
                          begin=datetime.datetime(2023, 5, 1),
                          end=datetime.datetime(2024, 5, 1))
    out.chain("crossed", Certificate("leaf", by=new, names=LOCAL), crossed)
    out.put("empty.pem", b"-----BEGIN NOTHING-----\n-----END NOTHING-----\n")
    return ca, ec_ca, other


def odd_authorities(out):
    """A file of roots each, which cannot be used for what they sign."""
    false = Certificate("False CA", basic=False,  # in DER it is left out
                        more=[extension(19, b"\x30\x03\x01\x01\x00")])
    ed = Certificate("Ed25519 CA", ed25519.Ed25519PrivateKey.generate(),
                     ca=True)
    org = Certificate(("C=DE", "O=Some Org"), ca=True)
    named = Certificate(("O=Some Org", "Named CA"), ca=True)
    country = Certificate(("C=DE",), ca=True)
    for name, root in (("false", false), ("ed25519", ed), ("org", org),
                       ("named", named), ("country", country)):
        out.put(name + "_root.pem", root.pem)
        out.chain("by_" + name, Certificate("leaf", by=root, names=LOCAL))
    # More of one name than are tried.
    same = [Certificate("Namesake CA", ca=True) for _ in range(17)]
    out.put("namesakes.pem", b"".join(c.pem for c in same))
    for name, root in (("namesake", same[15]), ("namesake_last", same[16])):
        out.chain(name, Certificate("leaf", by=root, names=LOCAL))
    # A key of a kind that cannot be used, with another's.
    leaf = Certificate("leaf", ed25519.Ed25519PrivateKey.generate(), by=same[0],
                       names=LOCAL)
    out.put("ed25519.pem", leaf.pem)


def leaves(out, ca, ec_ca, other):
    def leaf(name, **how):
        how.setdefault("names", LOCAL)
        how.setdefault("by", ca)
        out.chain(name, Certificate("leaf " + name, **how))

    leaf("rsa", key=rsa_key())
    leaf("p256")
    leaf("p384", key=p384(), by=ec_ca, how=hashes.SHA384())
    leaf("p521", key=p521(), by=ec_ca, how=hashes.SHA512())
    leaf("long_name", names=[".".join(["a" * 60] * 4)])
    leaf("no_host", names=["mail:a@b.example"])
    leaf("ipv6_name", names=["2001:db8::1"])
    leaf("odd_address", names=None, more=[
        extension(17, b"\x30\x0e\x87\x05\x7f\0\0\1\1\x87\x05\x7f\0\0\1\2")])
    leaf("no_use", more=[x509.KeyUsage(*[False] * 6, True, False, False)])
    leaf("expired", begin=datetime.datetime(2023, 5, 1),
         end=datetime.datetime(2024, 5, 1))
    leaf("future", begin=datetime.datetime(2040, 2, 29),
         end=datetime.datetime(2041, 1, 1))
    leaf("wrong_name", names=["b.example"])
    leaf("many_names", names=["b.example", "c.example", "127.0.0.9"])
    leaf("wildcard", names=["*.example.com", "x*.b.example", "*"])
    leaf("ip", names=["127.0.0.1", "2001:db8::1"])
    leaf("dns", names=["localhost", "xn--bcher-kva.example", "A.Example"])
    leaf("cn_only", names=None)
    leaf("unknown_root", by=other)
    leaf("server_use", use=[Use.SERVER_AUTH, Use.CLIENT_AUTH])
    leaf("any_use", use=[Use.ANY_EXTENDED_KEY_USAGE])
    leaf("client_use", use=[Use.CLIENT_AUTH])
    leaf("weak", key=rsa_key(1024))
    leaf("sha1", how=hashes.SHA1())
    leaf("critical", unknown=True)
    leaf("by_none", by=Certificate("not an authority", by=ca))
    out.chain("self_signed", Certificate("alone", names=LOCAL))
    out.chain("self_signed_ca", Certificate("alone CA", names=LOCAL, ca=True))
    impostor = Certificate("Test CA", rsa_key(), ca=True)
    leaf("impostor", by=impostor)


def chains(out, ca):
    middle = Certificate("Middle", by=ca, ca=True)
    out.put("middle.pem", middle.pem)
    lower = Certificate("Lower", by=middle, ca=True)
    end = Certificate("leaf below", by=lower, names=LOCAL)
    out.chain("chain", end, lower, middle)
    out.chain("chain_with_root", end, lower, middle, ca)
    out.chain("misordered", end, ca, middle, lower)
    out.chain("doubled", end, end, lower, lower, middle)
    out.chain("with_others", end, Certificate("stranger", ca=True), lower,
              middle)
    out.chain("missing", end, lower)
    out.chain("too_many", end, *[lower] * 11)
    old = Certificate("Old Middle", by=ca, ca=True,
                      begin=datetime.datetime(2023, 5, 1),
                      end=datetime.datetime(2024, 5, 1))
    out.chain("old_middle", Certificate("leaf", by=old, names=LOCAL), old)
    mail = Certificate("Mail Middle", by=ca, ca=True,
                       use=[Use.EMAIL_PROTECTION])
    out.chain("mail_middle", Certificate("leaf", by=mail, names=LOCAL), mail)
    web = Certificate("Web Middle", by=ca, ca=True,
                      use=[Use.SERVER_AUTH, Use.CLIENT_AUTH])
    out.chain("web_middle", Certificate("leaf", by=web, names=LOCAL), web)
    fake = Certificate("Middle", by=ca, ca=True)
    out.chain("bad_signature", Certificate("leaf", by=fake, names=LOCAL),
              middle)
    weak = Certificate("Weak Middle", rsa_key(1024), by=ca, ca=True)
    out.chain("weak_middle", Certificate("leaf", by=weak, names=LOCAL), weak)
    not_ca = Certificate("No Authority", by=ca)
    out.chain("not_ca", Certificate("leaf", by=not_ca, names=LOCAL), not_ca)


def limits(out, ca):
    """limit_NAME: a leaf below an authority that may sign for some names."""
    inside = ["localhost", "127.0.0.0/8", "::1/128"]
    web = ["www.example.com"]

    def limit(name, permitted, excluded, names=LOCAL, critical=True,
              subject="leaf", more=(), by=ca):
        one = Certificate(
            "Limited", by=by, ca=True, more=more,
            limits=None if more else (permitted, excluded, critical))
        out.chain("limit_" + name,
                  Certificate(subject, by=one, names=names), one)
        return one

    limit("all", inside, [])
    limit("loose", inside, [], critical=False)
    limit("hosts", ["localhost"], [])
    limit("other_hosts", ["example.com"], [])
    limit("not_hosts", [], ["example.com", "localhost"])
    limit("other_addresses", ["10.0.0.0/8", "::1/128"], [])
    limit("not_addresses", ["localhost"], ["127.0.0.0/8"])
    limit("no_addresses", [], ["0.0.0.0/0", "::/0"], names=["localhost"])
    limit("web", ["example.org", "EXAMPLE.com"], [], names=web)
    limit("below", [".example.com"], [], names=web)
    limit("same", ["example.com"], [], names=["example.com"])
    limit("only_below", [".example.com"], [], names=["example.com"])
    limit("longer", ["example.com"], [], names=["notexample.com"])
    limit("shorter", ["www.example.com"], [], names=["example.com"])
    limit("any_host", [""], [], names=web)
    limit("star", ["example.com"], ["a.example.com"],
          names=["*.example.com"])
    limit("subject", inside + [["O=Good"]], [], subject=("O=Good", "leaf"))
    limit("other_subject", inside + [["O=Good"]], [], subject=("O=Bad", "leaf"))
    limit("short_subject", [["O=Good", "leaf", "below"]], [],
          subject=("O=Good", "leaf"))
    limit("no_subject", [["O=Good"]], [], subject=())
    limit("not_subject", [], [["O=Bad"]], subject=("O=Good", "leaf"))
    limit("mail", ["mail:example.com"], [])
    limit("mail_name", ["mail:example.com"], [],
          names=LOCAL + ["mail:a@example.com"])
    limit("mail_subject", ["mail:example.com"], [],
          subject=("leaf", "E=a@example.com"))
    limit("mail_allowed", ["localhost"], [], names=LOCAL + ["mail:a@b.example"],
          subject=("leaf", "E=a@b.example"))
    # DER that is no NameConstraints, or says more than hosts.
    base = b"\x82\x09localhost"
    for name, der in (
            ("empty", b"\x30\x00"),
            ("minimum", b"\x30\x12\xa0\x10\x30\x0e" + base + b"\x80\x01\x01"),
            ("no_base", b"\x30\x04\xa0\x02\x30\x00"),
            ("no_tree", b"\x30\x0d\xa0\x0b" + base),
            ("behind", b"\x30\x11\xa0\x0d\x30\x0b" + base + b"\x05\x00"),
            ("odd_subject", b"\x30\x08\xa0\x06\x30\x04\xa4\x02\x05\x00")):
        limit(name, [], [], more=[extension(30, der)])
    impostor = Certificate("Test CA", rsa_key(), ca=True)
    limit("impostor", inside, [], by=impostor)
    middle = Certificate("Limited", by=ca, ca=True,
                         limits=(["localhost"], [], True))
    lower = Certificate("Lower", by=middle, ca=True)
    for name, names in (("lower", LOCAL), ("lower_outside", web)):
        out.chain("limit_" + name, Certificate("leaf", by=lower, names=names),
                  lower, middle)
    out.chain("limit_leaf", Certificate("leaf", by=ca, names=LOCAL,
                                        limits=(inside, [], True)))
    # A root that sends itself, under a name that it may not sign for.
    root = Certificate("Limited Root", ca=True,
                       limits=(inside + [["O=Good"]], [], True))
    out.put("limit_root_ca.pem", root.pem)
    good = Certificate(("O=Good", "leaf"), by=root, names=LOCAL)
    out.chain("limit_root", good, root)
    out.chain("limit_root_alone", good)
    out.chain("limit_root_outside",
              Certificate("leaf", by=root, names=LOCAL), root)


def keys(out, ca):
    """The same kinds of key in the forms in which they are met."""
    for kind, make in (("rsa", rsa_key), ("p256", p256), ("p384", p384)):
        c = Certificate("key " + kind, make(), by=ca, names=LOCAL)
        old = c.key.private_bytes(PEM, FORMATS.TraditionalOpenSSL, PLAIN)
        out.put("key_%s.pem" % kind, c.pem)
        out.put("key_%s.pkcs8" % kind,
                c.key.private_bytes(PEM, FORMATS.PKCS8, PLAIN))
        out.put("key_%s.old" % kind, old)  # PKCS#1, SEC1
        out.put("key_%s.crlf" % kind, old.replace(b"\n", b"\r\n"))
        out.put("key_%s.both" % kind, old + c.pem)
        out.put("key_%s.locked" % kind, c.key.private_bytes(
            PEM, FORMATS.PKCS8, serialization.BestAvailableEncryption(b"x")))
        out.put("key_%s.oldlocked" % kind, c.key.private_bytes(
            PEM, FORMATS.TraditionalOpenSSL,
            serialization.BestAvailableEncryption(b"x")))
        if kind == "p256":  # as `openssl ecparam -genkey` writes it
            out.put("key_p256.parameters",
                    b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n"
                    b"-----END EC PARAMETERS-----\n" + old)
    out.put("key_ed25519.key", ed25519.Ed25519PrivateKey.generate()
            .private_bytes(PEM, FORMATS.PKCS8, PLAIN))
    for bits in (4096, 4992):
        key = rsa_key(bits)
        c = Certificate("large", key, by=ca, names=LOCAL)
        out.chain("rsa%d" % bits, c)


def made(path):
    """Is the folder complete, and neither old nor another version's?"""
    try:
        when = os.path.getmtime(os.path.join(path, "made"))
    except OSError:
        return False
    return os.path.getmtime(__file__) < when > time.time() - 6 * 3600


def main():
    if made(sys.argv[1]):
        return
    out = Folder(sys.argv[1])
    ca, ec_ca, other = authorities(out)
    odd_authorities(out)
    leaves(out, ca, ec_ca, other)
    chains(out, ca)
    limits(out, ca)
    keys(out, ca)
    out.chain("client", Certificate("a client", rsa_key(), by=ca,
                                    use=[Use.CLIENT_AUTH]))
    out.chain("client_ec", Certificate("a client", by=ca))
    out.put("made", b"")


main()
