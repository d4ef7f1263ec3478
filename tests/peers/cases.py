"""The cases that hold for an open connection, whichever end is tested.

session_cases(role) gives them for a test that plays `role`: "client" when a
server is under test, "server" when a client is.  The end under test is
expected to echo every message.  Each case gets a wire.Peer and has to see the
connection through to the end of its stream.
"""
import itertools
import random
import struct

from wire import (BINARY, CLOSE, CONT, NAMES, PING, PONG, TEXT, TIMEOUT,
                  Background, Case, Failure, show)

KIB = 1024
MIB = 1024 * KIB

HELLO = "Hello-µ@ßöäüàá-UTF-8!!".encode()


def text_of(size):
    """UTF-8 of exactly `size` bytes with characters of every length."""
    unit = "aé€\U0001f600z~ü漢".encode()
    data = (unit * (size // len(unit) + 1))[:size]
    while True:  # do not end inside a character
        try:
            data.decode("utf-8")
            return data + b"." * (size - len(data))
        except UnicodeDecodeError:
            data = data[:-1]


def bytes_of(size):
    return random.Random(size).randbytes(size)


def payload(op, size):
    return text_of(size) if op == TEXT else bytes_of(size)


def pieces(data, size):
    return [data[i:i + size] for i in range(0, len(data), size)] or [b""]


# ------------------------------------------------------------------ UTF-8

def utf8_prefix(data):
    """How many bytes it takes to see that data is not UTF-8, or None if all
    of it can still become UTF-8 (RFC 3629 4, the table as code)."""
    need, low, high = 0, 0x80, 0xBF
    for i, b in enumerate(data):
        if need:
            if not low <= b <= high:
                return i + 1
            need, low, high = need - 1, 0x80, 0xBF
        elif b < 0x80:
            pass
        elif 0xC2 <= b <= 0xDF:
            need = 1
        elif 0xE0 <= b <= 0xEF:
            need = 2
            low = 0xA0 if b == 0xE0 else 0x80
            high = 0x9F if b == 0xED else 0xBF
        elif 0xF0 <= b <= 0xF4:
            need = 3
            low = 0x90 if b == 0xF0 else 0x80
            high = 0x8F if b == 0xF4 else 0xBF
        else:
            return i + 1
    return None


def encode_any(code, size=0):
    """The UTF-8 scheme without its rules: up to six bytes, surrogates, and
    with `size` more bytes than needed."""
    limits = [0x80, 0x800, 0x10000, 0x200000, 0x4000000, 0x80000000]
    n = size or next(i for i, l in enumerate(limits) if code < l) + 1
    if n == 1:
        return bytes([code])
    tail = [0x80 | code >> 6 * i & 0x3F for i in range(n - 1)]
    first = (0xFF00 >> n) & 0xFF | code >> 6 * (n - 1)
    return bytes([first] + tail[::-1])


def valid_sequences():
    yield "greek", "κόσμε".encode()
    yield "mixed", HELLO
    yield "NUL", b"\0"
    for code in (0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFD, 0xFEFF,
                 0x10000, 0x3FFFF, 0x40000, 0xFFFFF, 0x100000, 0x10FFFF):
        yield "U+%04X" % code, chr(code).encode()
    for plane in range(17):
        for low in (0xFFFE, 0xFFFF):
            code = plane << 16 | low
            yield "noncharacter U+%04X" % code, chr(code).encode()
    yield "noncharacters U+FDD0 to U+FDEF", "".join(
        map(chr, range(0xFDD0, 0xFDF0))).encode()


def invalid_sequences():
    """What Markus Kuhn's decoder test covers, made by code."""
    for code in (0x110000, 0x13FFFF, 0x1FFFFF, 0x200000, 0x3FFFFFF,
                 0x4000000, 0x7FFFFFFF):
        yield "value %X" % code, encode_any(code)
    for n in range(1, 8):
        yield "%d continuation bytes" % n, (b"\x80\xbf" * 4)[:n]
    yield "all continuation bytes", bytes(range(0x80, 0xC0))
    for first, last in ((0xC0, 0xDF), (0xE0, 0xEF), (0xF0, 0xF7),
                        (0xF8, 0xFB), (0xFC, 0xFD)):
        yield ("start bytes %02X to %02X each before a space" % (first, last),
               b"".join(bytes([b]) + b" " for b in range(first, last + 1)))
    for n in range(2, 7):
        # The last byte is missing, once with the smallest, once with the
        # largest value of that length.
        low = [0, 0x80, 0x800, 0x10000, 0x200000, 0x4000000][n - 1]
        high = [0, 0x7FF, 0xFFFF, 0x1FFFFF, 0x3FFFFFF, 0x7FFFFFFF][n - 1]
        yield "%d bytes without the last, low" % n, encode_any(low)[:-1]
        yield "%d bytes without the last, high" % n, encode_any(high)[:-1]
    yield "incomplete sequences joined", b"".join(
        encode_any(0, n)[:-1] for n in range(2, 7))
    yield "FE", b"\xfe"
    yield "FF", b"\xff"
    yield "FE FE FF FF", b"\xfe\xfe\xff\xff"
    for n in range(2, 7):
        yield "overlong slash in %d bytes" % n, encode_any(0x2F, n)
        yield "overlong NUL in %d bytes" % n, encode_any(0, n)
        largest = [0, 0x7F, 0x7FF, 0xFFFF, 0x1FFFFF, 0x3FFFFFF][n - 1]
        yield "overlong maximum in %d bytes" % n, encode_any(largest, n)
    for code in (0xD800, 0xDB7F, 0xDB80, 0xDBFF, 0xDC00, 0xDF80, 0xDFFF):
        yield "surrogate %04X" % code, encode_any(code)
    for a, b in itertools.product((0xD800, 0xDB7F, 0xDB80, 0xDBFF),
                                  (0xDC00, 0xDFFF)):
        yield ("surrogates %04X %04X" % (a, b),
               encode_any(a) + encode_any(b))


def utf8_valid(data):
    def run(p):
        p.echo(TEXT, data)
        p.echo(TEXT, HELLO + data + b"edited")
        p.send(p.fragments(TEXT, pieces(data, 1)))
        p.expect_message(TEXT, data)
        p.send(p.fragments(TEXT, pieces(HELLO + data, 1), p.frame(PONG)))
        p.expect_message(TEXT, HELLO + data)
        p.send(p.frame(TEXT, data), chop=1)
        p.expect_message(TEXT, data)
        p.finish()
    return run


def utf8_invalid(data):
    def run(p):
        p.put(TEXT, data)
        p.expect_failure(1007)
    return run


def utf8_early(data):
    """The rest of the frame is never sent: the first byte that cannot be
    right must be enough."""
    def run(p):
        whole = p.frame(TEXT, data + b"never sent" * 10, fin=False)
        at = utf8_prefix(data)
        head = len(whole) - len(data) - 100
        p.send(whole[:head + at])
        p.expect_failure(1007)
    return run


def utf8_split(data):
    """The same, one byte in each frame; the first wrong byte is the last
    that is sent."""
    def run(p):
        op = TEXT
        for b in data[:utf8_prefix(data)]:
            p.put(op, bytes([b]), fin=False)
            op = CONT
        p.expect_failure(1007)
    return run


def utf8_cases():
    all_characters = "".join(
        chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000).encode()
    for name, data in valid_sequences():
        yield Case("utf-8 valid: " + name, "RFC 6455 8.1", utf8_valid(data))

    def every(p):
        p.echo(TEXT, all_characters)
        p.finish()
    yield Case("utf-8 valid: every character", "RFC 6455 8.1", every, 2)

    for name, data in invalid_sequences():
        yield Case("utf-8 invalid, one message: " + name,
                   "RFC 6455 8.1", utf8_invalid(HELLO + data + (
                       b"edited" if utf8_prefix(data) else b"")))
        if utf8_prefix(data):
            yield Case("utf-8 invalid, seen at once: " + name,
                       "RFC 6455 8.1", utf8_early(HELLO + data))
            yield Case("utf-8 invalid, in fragments: " + name,
                       "RFC 6455 8.1", utf8_split(HELLO + data))
    for b in range(0x80, 0x100):
        yield Case("utf-8 invalid: byte %02X alone" % b, "RFC 6455 8.1",
                   utf8_invalid(bytes([b])))

    def second_byte(first, second):
        return utf8_early(bytes([first, second]))
    for first, second in ((0xE0, 0x9F), (0xED, 0xA0), (0xF0, 0x8F),
                          (0xF4, 0x90), (0xC2, 0x7F), (0xC2, 0xC0),
                          (0xE1, 0x7F), (0xE1, 0xC0), (0xF1, 0x7F),
                          (0xF1, 0xC0)):
        yield Case("utf-8 invalid, seen at once: %02X before %02X" % (
            second, first), "RFC 6455 8.1", second_byte(first, second))
    # Where vector code changes its step, and where frames are large.
    for at in (1, 7, 8, 15, 16, 31, 32, 33, 63, 64, 65, 127, 128, 1000, 4096,
               65535, 65536, 200000):
        data = b"a" * at
        yield Case("utf-8 invalid after %d bytes" % at, "RFC 6455 8.1",
                   utf8_early(data + b"\xf4\x90"))
        cut = "a" * at + "\U0001f600"
        yield Case("utf-8 cut short after %d bytes" % at, "RFC 6455 8.1",
                   utf8_invalid(cut.encode()[:-1]))

    def fragment(first, second, third, code):
        def run(p):
            p.put(TEXT, first, fin=False)
            p.put(CONT, second, fin=False)
            if code:
                p.expect_failure(code)
                return
            p.put(CONT, third)
            p.expect_message(TEXT, first + second + third)
            p.finish()
        return run
    greek = "κόσμε".encode()
    yield Case("utf-8 three fragments, the second invalid", "RFC 6455 8.1",
               fragment(greek, b"\xf4\x90\x80\x80", b"edited", 1007))
    yield Case("utf-8 three fragments, cut inside characters",
               "RFC 6455 8.1", fragment(greek[:3], greek[3:6], greek[6:], 0))
    yield Case("utf-8 a character over an empty fragment", "RFC 6455 8.1",
               fragment(greek[:1], b"", greek[1:], 0))

    def unfinished(p):
        p.put(TEXT, greek + b"\xf0\x9f", fin=False)
        p.put(CONT, b"\x98")
        p.expect_failure(1007)
    yield Case("utf-8 last fragment ends inside a character", "RFC 6455 8.1",
               unfinished)

    def reset_between(p):
        # A message that ends in a character must not be finished by the next.
        p.echo(TEXT, "é".encode())
        p.put(TEXT, b"\xa9")
        p.expect_failure(1007)
    yield Case("utf-8 each message by itself", "RFC 6455 8.1", reset_between)

    def binary(p):
        p.echo(BINARY, bytes(range(256)))
        p.send(p.fragments(BINARY, [b"\xff", b"\xc0\x80", b"\xed"]))
        p.expect_message(BINARY, b"\xff\xc0\x80\xed")
        p.finish()
    yield Case("utf-8 binary messages are free of it", "RFC 6455 5.6", binary)

    def ping(p):
        p.put(PING, b"\xff\xfe")
        p.expect_pong(b"\xff\xfe")
        p.put(TEXT, "é".encode()[:1], fin=False)
        p.put(PING, b"\xff\xfe")
        p.expect_pong(b"\xff\xfe")
        p.put(CONT, "é".encode()[1:])
        p.expect_message(TEXT, "é".encode())
        p.finish()
    yield Case("utf-8 pings are free of it", "RFC 6455 5.5.2", ping)


# ---------------------------------------------------------------- framing

def framing_cases(role):
    def echo(op, data, chop=0):
        def run(p):
            p.send(p.frame(op, data), chop)
            p.expect_message(op, data)
            p.finish()
        return run
    for op in (TEXT, BINARY):
        for size in (0, 1, 2, 125, 126, 127, 128, 65535, 65536, 65537):
            for chop in (0, 997):
                yield Case("framing: %s of %d bytes%s" % (
                    NAMES[op], size, " in writes of %d" % chop if chop
                    else ""), "RFC 6455 5.2", echo(op, payload(op, size),
                                                   chop))
        for size in (0, 1, 125, 126, 300):
            yield Case("framing: %s of %d bytes, octet-wise" % (
                NAMES[op], size), "RFC 6455 5.2", echo(
                    op, payload(op, size), 1))

    def sweep(op, first, last):
        def run(p):
            sizes = range(first, last + 1)
            sender = Background(p.sock, [
                p.frame(op, payload(op, n)) for n in sizes])
            for n in sizes:
                p.expect_message(op, payload(op, n))
            sender.finish()
            p.finish()
        return run
    for op in (TEXT, BINARY):
        for first, last in ((0, 300), (4080, 4112), (16370, 16400),
                            (32760, 32776), (65520, 65550)):
            yield Case("framing: %s of every size from %d to %d" % (
                NAMES[op], first, last), "RFC 6455 5.2",
                sweep(op, first, last))

    def cut(op, size):
        # The pong shows that the first part has been read by itself.
        def run(p):
            data = payload(op, size)
            whole = p.frame(op, data)
            cuts = set(range(1, min(len(whole), 18))) | {len(whole) - 1}
            for at in sorted(cuts):
                p.send(p.frame(PING, b"%d" % at) + whole[:at])
                p.expect_pong(b"%d" % at)
                p.send(whole[at:])
                p.expect_message(op, data)
            p.finish()
        return run
    for op in (TEXT, BINARY):
        for size in (0, 3, 125, 126, 1000, 65536):
            yield Case("framing: %s of %d bytes cut at every place" % (
                NAMES[op], size), "RFC 6455 5.2", cut(op, size))

    def joined(p):
        expected = []
        out = []
        for i in range(500):
            op = TEXT if i % 3 else BINARY
            data = payload(op, i % 40)
            out.append(p.frame(op, data))
            expected.append((op, data))
        p.send(b"".join(out))
        for op, data in expected:
            p.expect_message(op, data)
        p.finish()
    yield Case("framing: 500 frames in one write", "RFC 6455 5.2", joined)

    def short_length(op, form, size, start):
        def run(p):
            if start:
                p.put(BINARY, b"x", fin=False)
            p.put(op, b"a" * size, form=form)
            p.expect_failure(1002)
        return run
    for op, name in ((TEXT, "text"), (BINARY, "binary"),
                     (CONT, "continuation"), (PING, "ping"), (CLOSE, "Close")):
        for form, size in ((16, 0), (16, 125), (64, 0), (64, 125),
                           (64, 126), (64, 65535)):
            if op >= 8 and size > 125:
                continue
            yield Case("framing: %s, %d bytes with a %d-bit length" % (
                name, size, form), "RFC 6455 5.2",
                short_length(op, form, size, op == CONT))

    def top_bit(op, length):
        def run(p):
            p.put(op, b"", form=64, length=length)
            p.expect_failure(1002)
        return run
    for op in (TEXT, BINARY):
        for length in (1 << 63, (1 << 63) + 5, (1 << 64) - 1):
            yield Case("framing: %s with length %x" % (NAMES[op], length),
                       "RFC 6455 5.2", top_bit(op, length))

    def wrong_mask(op, data, before):
        def run(p):
            wrong = None if p.role == "client" else b"\1\2\3\4"
            if before:
                p.echo(TEXT, b"good")
            if op == CONT:
                p.put(TEXT, b"x", fin=False)
            p.put(op, data, key=wrong)
            p.expect_failure(1002)
        return run
    word = "unmasked" if role == "client" else "masked"
    for op in NAMES:
        for data in (b"", struct.pack("!H", 1000) + b"abc"):
            yield Case("masking: %s %s of %d bytes" % (
                word, NAMES[op], len(data)), "RFC 6455 5.1",
                wrong_mask(op, data, False))
    yield Case("masking: %s text after a good message" % word,
               "RFC 6455 5.1", wrong_mask(TEXT, b"abc", True))

    if role == "client":
        def keys(p):
            for key in (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\1",
                        b"\x80\0\0\0"):
                for size in range(0, 70):
                    data = bytes_of(size)
                    p.put(BINARY, data, key=key)
                    p.expect_message(BINARY, data)
            p.finish()
        yield Case("masking: any key will do", "RFC 6455 5.3", keys)
    else:
        def keys(p):
            for i in range(200):
                p.echo(TEXT, b"%d" % i)
            if len(set(p.keys)) < 199:
                raise Failure("a fresh key for each frame",
                              "%d keys in 200 frames" % len(set(p.keys)))
            for at in range(4):
                if len({k[at] for k in p.keys}) < 50:
                    raise Failure("keys that are random in every byte",
                                  "byte %d is not" % at)
            p.finish()
        yield Case("masking: fresh random keys", "RFC 6455 5.3", keys)


# -------------------------------------------------------------- ping, pong

def ping_cases():
    def ping(data, chop=0):
        def run(p):
            p.send(p.frame(PING, data), chop)
            p.expect_pong(data)
            p.echo(TEXT, b"after")
            p.finish()
        return run
    for data in (b"", b"Hello", b"\0\xff\xfe\xfd\xfc\xfb\0\xff", b"\xfe" * 124,
                 b"\xfe" * 125):
        yield Case("ping: %d bytes" % len(data), "RFC 6455 5.5.2, 5.5.3",
                   ping(data))
        yield Case("ping: %d bytes octet-wise" % len(data),
                   "RFC 6455 5.5.2, 5.5.3", ping(data, 1))

    def sizes(p):
        for size in range(126):
            p.put(PING, bytes_of(size))
            p.expect_pong(bytes_of(size))
        p.finish()
    yield Case("ping: every size from 0 to 125", "RFC 6455 5.5", sizes)

    def too_long(op, size, form):
        def run(p):
            p.put(op, b"\xfe" * size, form=form)
            p.expect_failure(1002)
        return run
    for op in (PING, PONG, CLOSE):
        for size, form in ((126, 0), (127, 0), (1000, 0), (65536, 0),
                           (126, 64)):
            yield Case("ping: %s of %d bytes%s" % (
                NAMES[op], size, " in 64 bits" if form else ""),
                "RFC 6455 5.5", too_long(op, size, form))

    def pongs(*list_):
        def run(p):
            for data in list_:
                p.put(PONG, data)
            p.echo(TEXT, b"after")
            p.put(PING, b"really")
            p.expect_pong(b"really")
            p.finish()
        return run
    yield Case("ping: an unasked pong", "RFC 6455 5.5.3", pongs(b"unasked"))
    yield Case("ping: an unasked empty pong", "RFC 6455 5.5.3", pongs(b""))
    yield Case("ping: many unasked pongs", "RFC 6455 5.5.3",
               pongs(*[b"%d" % i for i in range(1000)]))

    def ten(chop):
        def run(p):
            names = [b"payload-%d" % i for i in range(10)]
            p.send(b"".join(p.frame(PING, n) for n in names), chop)
            for n in names:
                p.expect_pong(n)
            p.echo(TEXT, b"after")
            p.finish()
        return run
    yield Case("ping: ten at once", "RFC 6455 5.5.2, 5.5.3", ten(0))
    yield Case("ping: ten at once, octet-wise", "RFC 6455 5.5.2, 5.5.3",
               ten(1))

    def flood(p):
        # Older pongs may be left out (RFC 6455 5.5.3), but neither order nor
        # the newest may be lost.
        count = 20000
        sender = Background(p.sock, [b"".join(
            p.frame(PING, b"%d" % i) for i in range(count))])
        last = -1
        while last != count - 1:
            f = p.read_frame("pong %d" % (count - 1))
            if f.op != PONG or not f.data.isdigit() or int(f.data) <= last:
                raise Failure("a pong after %d" % last, str(f))
            last = int(f.data)
        sender.finish()
        p.echo(TEXT, b"after")
        p.finish()
    yield Case("ping: 20,000 without waiting", "RFC 6455 5.5.3", flood)


# ---------------------------------------------------------- reserved parts

def start_of(op, p):
    """A continuation is only right inside a message."""
    return p.frame(BINARY, b"x", fin=False) if op == CONT else b""


def reserved_cases():
    def alone(op, rsv, chop):
        def run(p):
            data = struct.pack("!H", 1000) if op == CLOSE else b"abc"
            p.send(start_of(op, p) + p.frame(op, data, rsv=rsv), chop)
            p.expect_failure(1002)
        return run
    for op in NAMES:
        for rsv in range(1, 8):
            for chop in (0, 1):
                yield Case("reserved bits %d on %s%s" % (
                    rsv, NAMES[op], ", octet-wise" if chop else ""),
                    "RFC 6455 5.2", alone(op, rsv, chop))

    def after(rsv, op, chop):
        def run(p):
            p.send(p.frame(TEXT, b"good") + p.frame(op, b"bad", rsv=rsv)
                   + p.frame(PING, b"late"), chop)
            p.expect_message(TEXT, b"good")
            p.expect_failure(1002)
        return run

    def inside(rsv, op):
        def run(p):
            p.put(TEXT, b"first", fin=False)
            p.put(op, b"", rsv=rsv)
            p.expect_failure(1002)
        return run

    def head_only(op, rsv):
        def run(p):
            p.send(start_of(op, p)
                   + p.frame(op, b"", rsv=rsv, length=100, fin=op >= 8))
            p.expect_failure(1002)
        return run
    for rsv in range(1, 8):
        for chop in (0, 1):
            word = ", octet-wise" if chop else ""
            yield Case("reserved bits %d after a good message%s" % (
                rsv, word), "RFC 6455 5.2", after(rsv, TEXT, chop))
        yield Case("reserved bits %d on an empty ping in a message" % rsv,
                   "RFC 6455 5.2", inside(rsv, PING))
        yield Case("reserved bits %d on the last part" % rsv,
                   "RFC 6455 5.2", inside(rsv, CONT))
        yield Case("reserved bits %d, head without payload" % rsv,
                   "RFC 6455 5.2", head_only(BINARY, rsv))

    def opcode(op, data, fin, chop, before):
        def run(p):
            good = p.frame(TEXT, b"good") if before else b""
            more = p.frame(PING, b"late") if before else b""
            p.send(good + p.frame(op, data, fin) + more, chop)
            if before:
                p.expect_message(TEXT, b"good")
            p.expect_failure(1002)
        return run

    def opcode_inside(op):
        def run(p):
            p.put(TEXT, b"first", fin=False)
            p.put(op, b"bad")
            p.expect_failure(1002)
        return run
    for op in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        clause = "RFC 6455 5.2"
        yield Case("reserved opcode %d, empty" % op, clause,
                   opcode(op, b"", True, 0, False))
        yield Case("reserved opcode %d with payload" % op, clause,
                   opcode(op, b"reserved", True, 0, False))
        yield Case("reserved opcode %d, not the last part" % op, clause,
                   opcode(op, b"reserved", False, 0, False))
        yield Case("reserved opcode %d after a good message" % op, clause,
                   opcode(op, b"bad", True, 0, True))
        yield Case("reserved opcode %d octet-wise" % op, clause,
                   opcode(op, b"bad", True, 1, True))
        yield Case("reserved opcode %d inside a message" % op, clause,
                   opcode_inside(op))
        yield Case("reserved opcode %d, head without payload" % op, clause,
                   head_only(op, 0))


# ----------------------------------------------------------- fragmentation

def fragment_cases():
    clause = "RFC 6455 5.4"

    def control(op, fin_data, chop):
        def run(p):
            p.send(p.frame(op, fin_data, fin=False)
                   + p.frame(CONT, b"fragment2"), chop)
            p.expect_failure(1002)
        return run
    for op in (PING, PONG, CLOSE):
        for data in (b"", b"\x03\xe8"):
            for chop in (0, 1):
                yield Case("fragments: %s of %d bytes in two%s" % (
                    NAMES[op], len(data), ", octet-wise" if chop else ""),
                    "RFC 6455 5.5", control(op, data, chop))

    def parts(op, list_, chop=0, between=None):
        def run(p):
            extra = b"" if between is None else p.frame(*between)
            p.send(p.fragments(op, list_, extra), chop)
            if between and between[0] == PING:
                for _ in list_[1:]:
                    p.expect_pong(between[1])
            p.expect_message(op, b"".join(list_))
            p.finish()
        return run
    for op in (TEXT, BINARY):
        name = NAMES[op]
        for word, list_ in (
                ("two", [b"fragment1", b"fragment2"]),
                ("five", [b"fragment%d" % i for i in range(5)]),
                ("three empty", [b"", b"", b""]),
                ("empty, full, empty", [b"", b"middle", b""]),
                ("full, empty", [b"first", b""]),
                ("1,000 of one byte", [b"x"] * 1000),
                ("70,000 in two", pieces(payload(BINARY, 70000) if
                                         op == BINARY else b"u" * 70000,
                                         40000))):
            yield Case("fragments: %s, %s" % (name, word), clause,
                       parts(op, list_))
            if len(list_) <= 5 and len(list_[0]) < 100:
                yield Case("fragments: %s, %s, octet-wise" % (name, word),
                           clause, parts(op, list_, 1))
        for chop in (0, 1):
            word = ", octet-wise" if chop else ""
            for n in (2, 5):
                yield Case("fragments: %s, a ping between each of %d%s" % (
                    name, n, word), clause, parts(
                        op, [b"fragment%d" % i for i in range(n)], chop,
                        (PING, b"ping")))
            yield Case("fragments: %s, a pong between%s" % (name, word),
                       clause, parts(op, [b"one", b"two"], chop,
                                     (PONG, b"pong")))

    def no_start(data, fin, chop, good):
        def run(p):
            first = p.fragments(TEXT, [b"fragment1", b"fragment2"])
            p.send((first if good else b"") + p.frame(CONT, data, fin)
                   + p.frame(TEXT, b"Hello, world!"), chop)
            if good:
                p.expect_message(TEXT, b"fragment1fragment2")
            p.expect_failure(1002)
        return run
    for data in (b"", b"non-continuation payload"):
        for fin in (True, False):
            for chop in (0, 1):
                for good in (True, False):
                    yield Case("fragments: continuation of %d bytes without "
                               "a start%s%s%s" % (
                                   len(data), "" if fin else ", not the last",
                                   ", octet-wise" if chop else "",
                                   ", after a message" if good else ""),
                               clause, no_start(data, fin, chop, good))

    def new_start(first, second, fin, chop):
        def run(p):
            p.send(p.frame(first, b"fragment1", fin=False)
                   + p.frame(second, b"fragment2", fin), chop)
            p.expect_failure(1002)
        return run
    for first in (TEXT, BINARY):
        for second in (TEXT, BINARY):
            for fin in (True, False):
                for chop in (0, 1):
                    yield Case("fragments: %s%s in the middle of %s%s" % (
                        NAMES[second], "" if fin else " (not the last part)",
                        NAMES[first], ", octet-wise" if chop else ""),
                        clause, new_start(first, second, fin, chop))

    def pings_answered_first(p):
        # The message is held back until the pongs have been seen.
        p.put(TEXT, b"fragment1", fin=False)
        p.put(CONT, b"fragment2", fin=False)
        p.put(PING, b"pongme 1!")
        p.expect_pong(b"pongme 1!")
        p.put(CONT, b"fragment3", fin=False)
        p.put(CONT, b"fragment4", fin=False)
        p.put(PING, b"pongme 2!")
        p.expect_pong(b"pongme 2!")
        p.put(CONT, b"fragment5")
        p.expect_message(TEXT, b"".join(b"fragment%d" % i
                                        for i in range(1, 6)))
        p.finish()
    yield Case("fragments: pings are answered inside a message", clause,
               pings_answered_first)

    def close_inside(p):
        p.put(TEXT, b"unfinished", fin=False)
        p.send(p.close_frame(1000, b"enough"))
        p.expect_closed(1000)
    yield Case("fragments: Close inside a message", clause, close_inside)

    def auto(p):
        data = text_of(65536)
        p.send(p.fragments(TEXT, pieces(data, 1300)))
        p.expect_message(TEXT, data)
        p.finish()
    yield Case("fragments: 64 KiB in parts of 1,300 bytes", clause, auto)

    def every_cut(op):
        def run(p):
            data = payload(op, 40)
            for a in range(0, 41):
                p.send(p.fragments(op, [data[:a], data[a:]]))
                p.expect_message(op, data)
            p.finish()
        return run
    for op in (TEXT, BINARY):
        yield Case("fragments: %s cut at every byte" % NAMES[op], clause,
                   every_cut(op))


# ----------------------------------------------------------------- closing

VALID_CODES = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012,
               1013, 1014, 3000, 3001, 3999, 4000, 4001, 4999)
INVALID_CODES = (0, 1, 16, 255, 256, 999, 1004, 1005, 1006, 1015, 1016, 1100,
                 1999, 2000, 2999, 5000, 10000, 32768, 61440, 65535)


def close_cases():
    clause = "RFC 6455 5.5.1, 7.4"

    def good(code, reason, answer, chop=0):
        def run(p):
            p.send(p.close_frame(code, reason), chop)
            p.expect_closed(answer)
        return run
    for code in VALID_CODES:
        yield Case("close: code %d" % code, clause, good(code, b"", code))
        yield Case("close: code %d with a reason" % code, clause,
                   good(code, b"Reason", code))
    yield Case("close: without code", clause,
               good(None, b"", (None, 1000)))
    yield Case("close: octet-wise", clause, good(1000, b"slowly", 1000, 1))
    for size in (1, 122, 123):
        yield Case("close: reason of %d bytes" % size, clause,
                   good(1000, b"*" * size, 1000))
    yield Case("close: reason that is not ASCII", clause,
               good(1000, ("é" * 61).encode(), 1000))

    def bad(data, code, chop=0):
        def run(p):
            p.send(p.frame(CLOSE, data), chop)
            p.expect_failure(code)
        return run
    for code in INVALID_CODES:
        for reason in (b"", b"reason"):
            yield Case("close: invalid code %d%s" % (
                code, " with a reason" if reason else ""), clause,
                bad(struct.pack("!H", code) + reason, 1002))
    yield Case("close: payload of one byte", clause, bad(b"\x03", 1002))
    yield Case("close: payload of one byte, octet-wise", clause,
               bad(b"\x03", 1002, 1))
    yield Case("close: reason of 124 bytes", clause,
               bad(b"\x03\xe8" + b"*" * 124, 1002))
    for name, data in (("overlong", b"\xce\xba\xe1\xbd\xb9\xed\xa0\x80"),
                       ("bare continuation", b"abc\x80"),
                       ("cut short", b"abc\xe2\x82"),
                       ("above 10FFFF", b"\xf4\x90\x80\x80")):
        yield Case("close: reason with invalid UTF-8, " + name,
                   "RFC 6455 5.5.1, 8.1", bad(b"\x03\xe8" + data, 1007))

    def after(*frames):
        def run(p):
            p.echo(TEXT, b"before")
            more = b"".join(p.frame(*f) for f in frames)
            p.send(p.close_frame(1000, b"") + more)
            p.expect_closed(1000)
        return run
    yield Case("close: a second Close", clause,
               after((CLOSE, b"\x03\xe9")))
    yield Case("close: a ping afterwards", clause, after((PING, b"late")))
    yield Case("close: a text afterwards", clause, after((TEXT, b"late")))
    yield Case("close: a wrong frame afterwards", clause,
               after((3, b"late"), (TEXT, b"\xff")))
    yield Case("close: 1 MiB afterwards", clause,
               after((BINARY, bytes(MIB))))

    def with_text(p):
        p.send(p.frame(TEXT, b"last words") + p.close_frame(1001, b"bye"))
        p.expect_message(TEXT, b"last words")
        p.expect_closed(1001)
    yield Case("close: right behind a message", clause, with_text)

    def with_big(p):
        data = bytes_of(256 * KIB)
        p.send(p.frame(BINARY, data) + p.close_frame(1000))
        p.expect_message(BINARY, data)
        p.expect_closed(1000)
    yield Case("close: right behind a message of 256 KiB", clause, with_big)

    def failure_with_more(size):
        def run(p):
            sender = Background(p.sock, [
                p.frame(3, b"bad") + p.frame(BINARY, bytes(size))])
            p.faulted = True
            p.expect_close(1002)
            sender.finish()
            p.expect_end()
        return run
    for size in (1, 64 * KIB, MIB):
        yield Case("close: a failure with %d bytes behind it is no reset" %
                   size, "RFC 6455 7.1.1, 7.1.7", failure_with_more(size))

    def failure_then_frames(p):
        p.put(3, b"bad")
        p.expect_close(1002)
        p.send(p.frame(TEXT, b"late") + p.frame(PING, b"late")
               + p.close_frame(1002))
        p.faulted = True
        p.expect_end()
    yield Case("close: nothing but the end after a failure",
               "RFC 6455 7.1.7", failure_then_frames)

    def after_many(p):
        for _ in range(100):
            p.put(PING, b"p")
            p.put(TEXT, b"t")
            p.expect_pong(b"p")
            p.expect_message(TEXT, b"t")
        p.send(p.close_frame(4999, b"after all"))
        p.expect_closed(4999)
    yield Case("close: after a hundred messages", clause, after_many)


# --------------------------------------------------------- sizes and rates

def big_cases(role):
    def whole(op, size, chop=0):
        def run(p):
            data = payload(op, size)
            # A client may echo the first parts while more are on the way.
            sender = Background(p.sock, pieces(p.frame(op, data),
                                               chop or MIB))
            p.expect_message(op, data)
            sender.finish()
            p.finish()
        return run

    def fragmented(op, size, part):
        def run(p):
            data = payload(op, size)
            sender = Background(p.sock, [p.fragments(op, pieces(data, part))])
            p.expect_message(op, data)
            sender.finish()
            p.finish()
        return run
    for op in (TEXT, BINARY):
        name = NAMES[op]
        for size in (64 * KIB, 256 * KIB, MIB, 4 * MIB, 8 * MIB, 16 * MIB):
            yield Case("big: %s of %d KiB in one frame" % (name, size // KIB),
                       "RFC 6455 5.2", whole(op, size), 2)
        for part in (64, 256, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB,
                     MIB, 4 * MIB):
            yield Case("big: %s of 4 MiB in parts of %d bytes" % (
                name, part), "RFC 6455 5.4",
                fragmented(op, 4 * MIB, part), 2)
        for chop in (64, 128, 256, 512, KIB, 2 * KIB, 4 * KIB):
            yield Case("big: %s of 1 MiB in writes of %d bytes" % (
                name, chop), "RFC 6455 5.2", whole(op, MIB, chop), 2)

    def trips(op, size, count):
        def run(p):
            data = payload(op, size)
            for _ in range(count):
                p.put(op, data)
                p.expect_message(op, data)
            p.finish()
        return run
    for op in (TEXT, BINARY):
        for size in (0, 16, 64, 256, KIB, 4 * KIB, 16 * KIB, 64 * KIB):
            yield Case("trips: 1,000 of %s of %d bytes" % (NAMES[op], size),
                       "RFC 6455 6", trips(op, size, 1000), 2)

    def pipelined(op, size, count):
        def run(p):
            data = payload(op, size)
            sender = Background(p.sock, (p.frame(op, data)
                                         for _ in range(count)))
            for _ in range(count):
                p.expect_message(op, data)
            sender.finish()
            p.finish()
        return run
    for op in (TEXT, BINARY):
        for size, count in ((16, 10000), (4 * KIB, 2000), (64 * KIB, 200),
                            (MIB, 20)):
            yield Case("pipelined: %d of %s of %d bytes" % (
                count, NAMES[op], size), "RFC 6455 6",
                pipelined(op, size, count), 2)

    def unread(p):
        # Nothing is read until the other side takes no more; then nothing
        # may be missing.
        count, data = 128, bytes_of(256 * KIB)
        sender = Background(p.sock, (p.frame(BINARY, data)
                                     for _ in range(count)))
        sender.wait_until_stuck()
        for _ in range(count):
            p.expect_message(BINARY, data)
        sender.finish()
        p.finish()
    yield Case("pipelined: 32 MiB to a side whose echoes are not read",
               "RFC 6455 6", unread, 2)

    def ping_behind_big(p):
        data = bytes_of(8 * MIB)
        sender = Background(p.sock, [p.frame(BINARY, data),
                                     p.frame(PING, b"behind")])
        p.expect_message(BINARY, data)
        p.expect_pong(b"behind")
        sender.finish()
        p.finish()
    yield Case("pipelined: a ping behind 8 MiB", "RFC 6455 5.5.2",
               ping_behind_big, 2)


def session_cases(role):
    """All of them, for a test that plays `role`."""
    return list(itertools.chain(
        framing_cases(role), ping_cases(), reserved_cases(),
        fragment_cases(), utf8_cases(), close_cases(), big_cases(role)))
