#!/usr/bin/env python3
"""Writes the committed seed corpora: corpus/<target>/*.

The same bytes every time.  A seed is a small, readable beginning for the
fuzzer; what the bytes mean stands at the top of each target.

    seeds.py PKI

writes nothing but those of fuzz_certificate.c, from a folder that
tests/peers/tls/certificates.py has made: its keys are new every time.
"""
import base64
import os
import re
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))

# fuzz_core.c: bits of the first byte.
PARTS, NO_UTF8, NO_MASK, FIXED, GOOD, API, EXT, EXPAND = (
    1, 2, 4, 8, 16, 32, 64, 128)
TAKE_ALL, TAKE_LATE, TAKE_SOME, TAKE_LAST = range(4)


def write(target, name, data):
    folder = os.path.join(HERE, "corpus", target)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as f:
        f.write(data)


def frame(op, payload=b"", fin=True, rsv=0, mask=None, length=None, form=None):
    """One frame.  length: what it claims; form: 7, 16 or 64 bits."""
    n = len(payload) if length is None else length
    form = form or (7 if n < 126 else 16 if n < 65536 else 64)
    bit = 0 if mask is None else 0x80
    head = bytes([(0x80 if fin else 0) | rsv | op])
    if form == 7:
        head += bytes([bit | n])
    elif form == 16:
        head += bytes([bit | 126]) + struct.pack(">H", n)
    else:
        head += bytes([bit | 127]) + struct.pack(">Q", n)
    if mask is not None:
        head += mask
        payload = bytes(b ^ mask[i % 4] for i, b in enumerate(payload))
    return head + payload


def program(flags, stream, calls=(), limits=0, fail=0, take=TAKE_ALL,
            chunks=0, more=0):
    """The options of fuzz_core.c, the calls, and the peer's bytes."""
    out = bytes([flags, limits, fail, take | chunks << 2, len(calls), more])
    for call in calls:
        out += bytes(call)
    return out + stream


# Calls of fuzz_core.c: (after, what, arg).
TEXT, BINARY, PING, PONG, SENDV, BORROW = 0, 1, 2, 3, 4, 5
SHUTDOWN, CLOSE, ABORT, TAKE, WRONG, ASK, PAUSE = 7, 8, 9, 10, 11, 12, 13

REQUEST = (b"GET /chat HTTP/1.1\r\nHost: a.example:80\r\n"
           b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
           b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
           b"Sec-WebSocket-Version: 13\r\n")
RESPONSE = (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Accept: "
            + b"A" * 27 + b"=\r\n")


def core(role):
    """role: what wsock is; the seeds are its peer."""
    target = "core_" + role
    server = role == "server"

    def f(op, payload=b"", **kw):
        if server and "mask" not in kw:
            kw["mask"] = b"\0\0\0\0" if len(payload) % 2 else b"7\xfa!="
        return frame(op, payload, **kw)

    def put(name, *args, **kw):
        write(target, name, program(*args, **kw))

    close = f(8, struct.pack(">H", 1000) + b"bye")
    euro = "h\u00e9llo \u20ac \U0001f600".encode()
    put("text", GOOD, f(1, b"hello") + close)
    put("empty", GOOD, f(1) + f(2) + f(9) + f(10) + f(8))
    put("utf8", GOOD, f(1, euro) + close)
    put("utf8-parts", GOOD | PARTS, f(1, euro[:8], fin=False)
        + f(0, euro[8:13], fin=False) + f(0, euro[13:]) + close, chunks=5)
    put("utf8-bad", GOOD, f(1, b"a\xed\xa0\x80"))
    put("utf8-cut", GOOD, f(1, b"ab\xe2\x82"))
    put("utf8-long", GOOD, f(1, euro * 20) + close)
    put("utf8-long-bad", GOOD, f(1, euro * 15 + b"\xed\xa0\x80" + euro * 5))
    put("utf8-unchecked", GOOD | NO_UTF8, f(1, b"\xff\xfe") + close)
    put("ping", GOOD, f(9, b"are you there") + f(9, b"x" * 125) + close)
    put("ping-inside", GOOD, f(2, b"one", fin=False) + f(9, b"p")
        + f(0, b"two") + close)
    put("pings-late", GOOD, b"".join(f(9, bytes([65 + i]) * 100)
                                     for i in range(20)) + close,
        take=TAKE_LAST)
    put("n126", GOOD, f(2, b"y" * 126) + close)
    put("n65535", GOOD | EXPAND, f(2, b"", length=65535)
        + b"\xfd\xff\xff." + close, chunks=3)
    put("n65536", GOOD | EXPAND, f(2, b"", length=65536)
        + b"\xfd\xff\xff.." + close, chunks=3)
    put("long-text", GOOD | EXPAND | PARTS, f(1, b"", length=70000)
        + b"\xfd\x88\xb8a" * 2 + close, chunks=9)
    put("not-minimal-16", GOOD, f(2, b"abc", form=16))
    put("not-minimal-64", GOOD, f(2, b"abc", form=64))
    put("huge", GOOD, f(2, b"abc", length=1 << 62, form=64))
    put("top-bit", GOOD, f(2, b"abc", length=(1 << 63) + 3, form=64))
    put("too-big", GOOD, f(2, b"x" * 17), limits=2)
    put("just-fits", GOOD, f(2, b"x" * 8, fin=False) + f(0, b"x" * 8)
        + close, limits=2)
    put("rsv", GOOD, f(1, b"a", rsv=0x40))
    put("rsv-agreed", GOOD | EXT, f(1, b"a", rsv=0x40) + close,
        calls=[(2, BINARY, 0x45)])
    put("opcode", GOOD, f(3, b"a"))
    put("control-long", GOOD, f(9, b"a" * 126))
    put("control-part", GOOD, f(9, b"a", fin=False))
    put("lone-continuation", GOOD, f(0, b"a"))
    put("interleaved", GOOD, f(1, b"a", fin=False) + f(2, b"b"))
    put("close-1-byte", GOOD, f(8, b"\x03"))
    put("close-1005", GOOD, f(8, b"\x03\xed"))
    put("close-4999", GOOD, f(8, b"\x13\x87" + euro))
    put("close-utf8", GOOD, f(8, b"\x03\xe8\xff"))
    put("after-close", GOOD, close + f(1, b"late"))
    put("no-close", GOOD, f(1, b"hello"))
    put("cut", GOOD, f(1, b"hello")[:-2])
    put("no-masking", GOOD | NO_MASK,
        frame(1, b"plain") + frame(8, b"\x03\xe8"))
    wrong = frame(1, b"wrong", mask=None if server else b"abcd")
    put("mask-wrong", GOOD, wrong)
    put("sends", GOOD, f(9, b"p") + f(1, b"a") + close,
        calls=[(1, TEXT, 3), (0, BINARY, 9), (0, PING, 5), (0, PONG, 1),
               (0, TEXT, 0x83), (0, PING, 0), (0, SENDV, 0x33),
               (0, BORROW, 0x2c)], take=TAKE_SOME)
    put("borrow", GOOD, f(1, b"a") + close,
        calls=[(1, BORROW, 0x2f), (0, BORROW, 0x49), (0, BORROW, 0x10),
               (0, TAKE, 0)], take=TAKE_LATE)
    put("full", GOOD, f(9, b"p") * 4 + close,
        calls=[(1, BINARY, 9), (0, BINARY, 9), (1, TEXT, 9), (1, TEXT, 1)],
        limits=8, take=TAKE_LATE)
    put("shutdown", GOOD, f(1, b"still") + close,
        calls=[(1, SHUTDOWN, 0x20), (0, TEXT, 3), (0, SHUTDOWN, 0)])
    put("close", GOOD, f(1, b"a") + f(1, b"discarded") + close,
        calls=[(2, CLOSE, 0x34), (0, CLOSE, 0)])
    put("abort", GOOD, f(1, b"a") + close,
        calls=[(1, BORROW, 0x2c), (0, TEXT, 12), (0, ABORT, 0)],
        take=TAKE_LAST)
    put("wrong-calls", GOOD, f(1, b"a") + f(1, b"b") + close,
        calls=[(0, WRONG, 0), (0, ASK, 0), (1, WRONG, 0), (0, ASK, 0),
               (1, PAUSE, 0), (0, SHUTDOWN, 8)])
    put("fixed", GOOD | FIXED, f(1, b"hello") + f(9, b"p") + close,
        calls=[(1, TEXT, 9), (0, BINARY, 10), (0, BORROW, 0x19)],
        limits=2 << 3 | 1 << 6)
    put("fixed-parts", GOOD | FIXED | PARTS, f(2, b"z" * 300) + close,
        limits=1 << 3 | 2 << 6, chunks=7)
    put("fixed-too-big", GOOD | FIXED, f(2, b"z" * 300) + close,
        limits=1 << 3 | 1 << 6, chunks=7)
    for n in (3, 9, 21):
        put("fixed-in-two-%d" % n, GOOD | FIXED, f(1, b"a", fin=False)
            + f(0, b"b", fin=False) + f(9, b"p") + f(0, b"c") + close,
            limits=1 << 3 | 1 << 6, chunks=n)
    put("sent-then-abort", GOOD, f(1, b"a") + f(1, b"b") + close,
        calls=[(2, BORROW, 0x19), (1, BORROW, 0x19), (0, ABORT, 0)])
    put("abort-at-open", GOOD, f(1, b"a"),
        calls=[(1, ABORT, 0), (7, ASK, 0)])
    for n in range(3): # with our Close in several stages of leaving
        put("abort-after-close-%d" % n, GOOD, f(9, b"ping") + close,
            calls=[(7, ASK, 0), (0, ABORT, 0)], take=TAKE_SOME, chunks=n)
    put("abort-no-memory-3", GOOD, f(1, b"a"), calls=[(0, ABORT, 0)],
        fail=0x82)
    put("abort-no-memory-4", GOOD, f(1, b"a"), calls=[(0, ABORT, 0)],
        fail=0x83)
    put("borrow-then-copy", GOOD, f(1, b"a") + close,
        calls=[(1, BORROW, 0x2c), (0, TEXT, 2), (0, BORROW, 0), (0, PING, 4)],
        take=TAKE_SOME)
    put("reason-nul", GOOD, f(8, b"\x03\xe8a\0b"))
    for n in (1, 2, 3, 5, 8):
        put("no-memory-%d" % n, GOOD, f(9, b"p") + f(1, b"hello")
            + f(1, b"a", fin=False) + f(0, b"b") + close,
            calls=[(1, TEXT, 9), (0, BORROW, 0x19)], fail=0x7f + n, chunks=2)
    put("no-random", GOOD, f(1, b"hello") + close,
        calls=[(1, TEXT, 3), (0, TEXT, 3)], fail=0xe1)
    put("head-api", GOOD | API, f(1, b"hello") + close, more=7)
    put("head-api-ext", GOOD | API | EXT, f(1, b"hello") + close, more=1)
    put("subprotocol", GOOD | EXT, f(1, b"hello") + close, more=0x0f)
    put("small-header-limit", GOOD, f(1, b"hello"), limits=0x20)

    # The head itself, without GOOD.
    head = REQUEST if server else RESPONSE
    rest = b"\r\n" + f(1, b"hello") + close
    put("head", 0, head + rest, chunks=1)
    put("head-api-raw", API, head + rest)
    put("head-lf", 0, (head + rest).replace(b"\r\n", b"\n", 3))
    put("head-cr-cr", 0, head.replace(b"\r\n", b"\r\r\n", 1) + rest)
    put("head-cr-cr-end", 0, head.split(b"\r")[0] + b"\r\r\n\r\n")
    put("head-fold", 0, head + b"X: a\r\n b\r\n" + rest)
    put("head-space", 0, head.replace(b"Upgrade: ", b"Upgrade : ") + rest)
    put("head-tabs", 0, head.replace(b": ", b":\t ") + rest)
    put("head-nul", 0, head + b"X: a\0b\r\n" + rest)
    put("head-long", 0, head + b"X: " + b"a" * 400 + rest, limits=0x20)
    put("head-cut", 0, head[:-9])
    put("head-twice", 0, head + head + rest)
    put("head-protocols", 0, head
        + b"Sec-WebSocket-Protocol: chat\r\n" + rest, more=1)
    put("head-protocol-unasked", 0, head
        + b"Sec-WebSocket-Protocol: chat\r\n" + rest)
    put("head-extension", EXT, head
        + b"Sec-WebSocket-Extensions: x-fuzz; level=3\r\n" + rest)
    put("head-deflate", 0, head + b"Sec-WebSocket-Extensions: "
        b"permessage-deflate; client_max_window_bits\r\n" + rest)
    if server:
        put("head-origin", 0, head + b"Origin: http://evil.example\r\n"
            + rest, more=2)
        put("head-post", 0, head.replace(b"GET", b"POST") + rest)
        put("head-http10", 0, head.replace(b"1.1", b"1.0") + rest)
        put("head-version8", 0, head.replace(b"13", b"8") + rest)
        put("head-key-bad", 0, head.replace(b"==", b"") + rest)
        put("head-plain", 0, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        put("head-no-host", 0, head.replace(b"Host", b"Hose") + rest)
        put("head-absolute", 0,
            head.replace(b"/chat", b"http://a.example/chat?x=1") + rest)
        put("head-list", 0, head.replace(
            b"Connection: Upgrade", b"Connection: , keep-alive ,Upgrade,")
            + rest)
    else:
        put("head-404", 0, b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n"
            b"\r\nsorry", chunks=1)
        put("head-404-endless", 0,
            b"HTTP/1.1 404 Not Found\r\n\r\nuntil the end")
        put("head-302", 0, b"HTTP/1.1 302 Found\r\nLocation: /x\r\n"
            b"Content-Length: 0\r\n\r\n")
        put("head-100", 0, b"HTTP/1.1 100 Continue\r\n\r\n" + head + rest)
        put("head-accept-bad", 0, head.replace(b"A=", b"B=") + rest)
        put("head-http10", 0, head.replace(b"1.1", b"1.0") + rest)
        put("head-not-http", 0, b"SSH-2.0-OpenSSH_9.2\r\n")
        put("head-no-phrase", 0,
            head.replace(b" Switching Protocols", b"") + rest)


def pair():
    def put(name, client, server, steps, first=1):
        data = bytes([client, server, first])
        for end, what, arg in steps:
            data += bytes([(8 if end else 0) | what, arg])
        write("pair", name, data)

    c, s = 0, 1
    text, part, borrow = 16, 32, 64
    put("nothing", 0, 0, [])
    put("one-text", 0, 0, [(c, 0, text | 3)])
    put("both", 0, 0, [(c, 0, text | 3), (s, 0, 8), (c, 5, 9), (s, 5, 9),
                       (c, 7, 9), (s, 7, 9)])
    put("every-size", 0, 0, [(c, 0, i) for i in range(16)]
        + [(s, 0, i) for i in range(16)])
    put("parts", 0, 0, [(c, 0, part | 4), (c, 2, 5), (c, 0, part),
                        (c, 0, 8), (s, 2, 125), (s, 0, 3)])
    put("parts-out", 4, 4, [(c, 0, 13), (c, 5, 9), (s, 6, 100),
                            (s, 7, 9), (s, 0, 14), (s, 5, 255),
                            (c, 7, 200)])
    put("borrow", 0, 0, [(c, 0, borrow | 15), (c, 5, 3),
                         (s, 0, borrow | 15), (s, 4, 3), (c, 0, 3)])
    put("full", 1, 1, [(c, 0, 3), (c, 0, 3), (s, 0, 4), (s, 0, 4),
                       (c, 5, 0), (s, 5, 0), (c, 0, 3), (s, 0, 4)])
    put("limit", 2, 2, [(c, 0, 9), (c, 0, 9), (c, 0, 9), (c, 5, 3),
                        (c, 0, 9)])
    put("no-masking", 16, 16, [(c, 0, 9), (s, 0, 9)])
    put("unhurried", 0, 0, [(c, 4, 50), (s, 6, 20), (c, 5, 0), (s, 7, 0),
                            (s, 4, 30), (c, 6, 10), (s, 5, 0), (c, 7, 0),
                            (c, 0, 3)], first=0)
    for i in range(8):
        put("shutdown-%d" % i, 0, 0, [(c, 0, 9), (s, 0, 9),
                                      (c, 3, 0xe0 | i | 16 * (i & 1)),
                                      (s, 0, 9), (c, 5, 2), (s, 7, 1)])
    put("close", 0, 0, [(c, 0, 9), (s, 0, 9), (s, 3, 0xe8)])
    put("both-close", 0, 0, [(c, 0, 9), (s, 0, 9), (s, 3, 0xe8),
                             (c, 3, 0xf1)])
    put("both-shutdown", 4, 0, [(c, 0, part | 9), (s, 0, 9), (s, 3, 0xe3),
                                (c, 3, 0xf1), (c, 6, 0), (s, 6, 0)])
    put("empty-part", 0, 0, [(c, 0, part)])
    put("pings", 0, 0, [(c, 2, i) for i in range(0, 256, 10)]
        + [(c, 5, 9), (s, 7, 9), (s, 5, 3)])


def url():
    good = ["ws://a.example/", "", "", "", "", "", ""]

    def put(name, flags=0x7f, **strings):
        names = ("url", "header1", "header2", "subprotocol", "extension",
                 "origin", "agent")
        values = [strings.get(k, good[i]) for i, k in enumerate(names)]
        write("url", name, bytes([flags])
              + b"\0".join(v.encode("latin-1") for v in values) + b"\0")

    for i, text in enumerate((
            "ws://a.example/", "ws://a.example", "WS://A.example:80/",
            "ws://127.0.0.1:9001/chat?x=1&y=2", "ws://[::1]:65535/",
            "ws://[fe80::1%25eth0]/", "ws://a.example?q", "ws://a:0/",
            "ws://a:65536/", "ws://a:/", "ws://:80/", "ws:///", "ws://",
            "ws:/a", "wss://a/", "http://a/", "ws://u:p@a/", "ws://a/#frag",
            "ws://a/ b", "ws://a/\r\nX: y", "ws://a\r\nX: y/", "ws://a\tb/",
            "ws://[::1", "ws://[]/", "ws://a]/", "ws://a/%0d%0a",
            "ws://a/\xc3\xbc", "ws://\xc3\xbc/", "ws://a\\b/", "ws://a:8x/",
            "ws://a:+80/", "", "ws://" + "a" * 300 + "/",
            "ws://a/" + "b" * 5000)):
        put("url-%02d" % i, flags=1, url=text)
    put("all", header1="X-One: 1", header2="Authorization: Basic eDp5",
        subprotocol="chat", extension="x-own; a=\"b\"",
        origin="http://a.example", agent="test/1.0")
    put("empty", header1="", header2="")
    put("header-crlf", header1="X: a\r\nY: b", header2="X: b")
    put("header-lf", header1="X: a\nY: b", header2="X: b")
    put("header-none", header1="X", header2=": a")
    put("header-space", header1="X : a", header2=" X: a")
    put("header-own", header1="Host: evil", header2="Upgrade: h2c")
    put("header-key", header1="Sec-WebSocket-Key: x", header2="X:")
    put("subprotocol-crlf", header1="X: y", header2="X: y",
        subprotocol="a\r\nX: y")
    put("subprotocol-list", header1="X: y", header2="X: y",
        subprotocol="a, b")
    put("extension-crlf", header1="X: y", header2="X: y", subprotocol="a",
        extension="a\r\nX: y")
    put("origin-crlf", header1="X: y", header2="X: y", subprotocol="a",
        extension="b", origin="a\r\nX: y")
    put("agent-crlf", header1="X: y", header2="X: y", subprotocol="a",
        extension="b", origin="a", agent="a\r\nX: y")


# fuzz_request.c: bits of the first byte, what actions do, and when.
(R_FIXED, R_HEADERS, R_SUBPROTOCOLS, R_ORIGINS, R_PARTS, R_HAND, R_EXTENSION,
 R_HAND_OUT) = (1, 2, 4, 8, 16, 32, 64, 128)
R_UPGRADE, R_RESPOND, R_NO_BODY, R_CLOSE, R_ABORT, R_FREE = 0, 3, 6, 7, 8, 9
R_WRONG, R_HEAD_OUT, R_PAUSE, R_LOOK, R_ASK = 10, 12, 13, 14, 15
NOW, AFTER_NEXT, AFTER_FEED, AFTER_END = 0, 0x10, 0x20, 0x30
RAW, PLAIN, HEAD, OFFERS, MANY, MORE_UPGRADE, MORE_PLAIN, HTTP10 = range(8)


def request():
    """Answers to requests: actions are (what | when, arg, size)."""
    def put(name, flags, head, actions=(), stream=b"", limits=0, fail=0,
            chunks=0, more=7, custom=b"X-Custom: 1"):
        out = bytes([flags, limits, fail, head | chunks << 3, more,
                     len(actions)])
        for action in actions:
            out += bytes((action + (0, 0))[:3])
        write("request", name, out + bytes([len(custom)]) + custom + stream)

    def f(op, payload=b"", **kw):
        return frame(op, payload, mask=b"7\xfa!=", **kw)

    frames = (f(1, b"hello") + f(9, b"p") + f(2, b"one", fin=False)
              + f(0, b"two") + f(8, b"\x03\xe8bye"))
    some = R_HEADERS | R_SUBPROTOCOLS | R_ORIGINS | R_EXTENSION
    put("upgrade", 0, OFFERS, [(R_UPGRADE,)], frames)
    put("upgrade-chat", some, OFFERS, [(R_UPGRADE, 0x23)], frames, chunks=3)
    put("upgrade-other", some, OFFERS, [(R_UPGRADE, 0x34)], frames,
        chunks=5)
    put("upgrade-custom", 0, OFFERS, [(R_UPGRADE, 0x4f)], frames)
    put("upgrade-long", R_PARTS, MANY, [(R_UPGRADE, 0x5e)], frames,
        limits=TAKE_SOME << 6)
    put("upgrade-many", some, MANY, [(R_UPGRADE, 0xb2)], frames)
    for when in (NOW, AFTER_NEXT, AFTER_FEED, AFTER_END):
        put("upgrade-when-%d" % (when >> 4), R_SUBPROTOCOLS, OFFERS,
            [(R_UPGRADE | when, 0x20)], frames, chunks=7,
            limits=TAKE_LATE << 6)
        put("respond-when-%d" % (when >> 4), 0, PLAIN,
            [(R_RESPOND | when, 4, 5)], b"GET / HTTP/1.1\r\n\r\n",
            chunks=9, limits=TAKE_SOME << 6)
    for i in range(12, 16):
        put("upgrade-not-offered-%d" % i, 0, OFFERS,
            [(R_UPGRADE, i << 4), (R_UPGRADE, 0x20)], frames)
    for i in range(5, 14):
        put("bad-header-%02d" % i, 0, OFFERS,
            [(R_UPGRADE, i), (R_RESPOND, i), (R_UPGRADE, 3)], frames)
    put("custom-crlf", 0, OFFERS, [(R_UPGRADE, 15), (R_RESPOND, 15)],
        frames, custom=b"X: a\r\nY: b")
    put("custom-own", 0, PLAIN, [(R_RESPOND, 15, 3)],
        custom=b"Connection: keep-alive")
    for i in range(16):
        put("respond-%02d" % i, 0, PLAIN, [(R_RESPOND, i << 4 | 3, 5)],
            limits=(i & 3) << 6)
        put("body-%02d" % i, 0, PLAIN, [(R_RESPOND, 0, i)], chunks=i,
            limits=(i & 3) << 6, more=i & 7)
    for i, status in enumerate((204, 304)):
        put("respond-%d" % status, R_HEADERS, PLAIN,
            [(R_RESPOND, (i + 1) << 4 | 3)])
    put("respond-head", 0, HEAD, [(R_RESPOND, 3, 8)])
    put("respond-head-large", R_HEADERS, HEAD, [(R_RESPOND, 4, 15)])
    put("respond-no-body", 0, PLAIN, [(R_NO_BODY,), (R_RESPOND, 3, 3)])
    put("respond-to-upgrade", 0, OFFERS, [(R_RESPOND, 0x33, 4)], frames)
    put("upgrade-plain", 0, PLAIN, [(R_UPGRADE,), (R_RESPOND, 0, 4)])
    put("twice", 0, OFFERS, [(R_UPGRADE, 3), (R_UPGRADE, 3),
                             (R_RESPOND, 0, 4)], frames)
    put("twice-later", 0, OFFERS, [(R_UPGRADE, 3), (R_RESPOND | 0x20, 0, 4),
                                   (R_WRONG,)], frames)
    put("respond-twice", 0, PLAIN, [(R_RESPOND, 0, 4), (R_RESPOND, 0, 4),
                                    (R_UPGRADE,), (R_WRONG,)])
    put("too-late", 0, OFFERS, [(R_UPGRADE | AFTER_END,), (R_UPGRADE,),
                                (R_RESPOND,)])
    put("close", 0, OFFERS, [(R_CLOSE,), (R_UPGRADE,)], frames)
    put("close-bad", 0, OFFERS, [(R_CLOSE, 3), (R_UPGRADE,)], frames)
    put("close-open", 0, OFFERS, [(R_UPGRADE,), (R_CLOSE | 0x20, 1)], frames)
    put("abort", 0, OFFERS, [(R_ABORT | AFTER_FEED,), (R_RESPOND,)], frames)
    put("abort-open", 0, OFFERS, [(R_UPGRADE,), (R_ABORT,)], frames)
    put("free", 0, OFFERS, [(R_FREE,)], frames)
    put("free-open", 0, OFFERS, [(R_UPGRADE, 0x20), (R_FREE,)], frames)
    put("free-responded", 0, PLAIN, [(R_RESPOND, 4, 15), (R_FREE,)])
    put("wrong", 0, OFFERS, [(R_WRONG | AFTER_FEED,), (R_ASK,), (R_PAUSE,),
                             (R_LOOK,), (R_UPGRADE,), (R_WRONG,)], frames)
    put("pause", 0, OFFERS, [(R_PAUSE | AFTER_NEXT,), (R_UPGRADE,),
                             (R_PAUSE,)], frames)
    put("head-out", some, OFFERS, [(R_UPGRADE, 0x23), (R_HEAD_OUT,),
                                   (R_LOOK, 0, 9)], frames)
    put("head-out-body", 0, PLAIN, [(R_RESPOND, 3, 9), (R_HEAD_OUT,)])
    put("head-out-refused", 0, MORE_UPGRADE, [(R_HEAD_OUT,)],
        b"Host: b\r\n\r\n", limits=TAKE_LAST << 6)
    put("head-out-offered", 0, PLAIN,
        [(R_RESPOND | AFTER_FEED, 3, 9), (R_LOOK,), (R_HEAD_OUT,)])
    put("by-hand", R_HAND | R_HAND_OUT, OFFERS, [(R_UPGRADE, 0x23)], frames)
    put("by-hand-later", R_HAND | R_HAND_OUT, OFFERS,
        [(R_UPGRADE | AFTER_FEED, 0x34)], frames, chunks=3)
    put("by-hand-in", R_HAND, MANY, [(R_PAUSE,), (R_UPGRADE, 0x3e)], frames)
    put("by-hand-respond", R_HAND | R_HAND_OUT, PLAIN,
        [(R_RESPOND, 4, 15)])
    put("by-hand-wrong", R_HAND, OFFERS, [(R_WRONG | AFTER_NEXT,),
                                          (R_UPGRADE,)], frames)
    put("by-hand-refused", R_HAND, MORE_PLAIN, stream=b"\r\n\r\n")
    put("by-hand-fixed", R_HAND | R_FIXED, OFFERS, [(R_UPGRADE, 0x23)],
        frames)
    for i, size in enumerate((0, 5, 8, 10, 13)):
        put("fixed-%d" % i, R_FIXED | some, PLAIN,
            [(R_RESPOND, 3, size), (R_RESPOND, 14, size)],
            limits=i % 4 << 2 | 2)
    put("fixed-upgrade", R_FIXED | some, OFFERS, [(R_UPGRADE, 0x23)],
        frames, limits=1 << 4 | 1 << 2, chunks=3)
    put("fixed-other", R_FIXED, OFFERS, [(R_UPGRADE, 0x20), (R_UPGRADE,)],
        frames)
    put("fixed-many", R_FIXED | some, MANY, [(R_UPGRADE, 0x5e),
                                             (R_UPGRADE, 4)], frames,
        more=15)
    put("fixed-small-head", R_FIXED, PLAIN, [(R_RESPOND,)], limits=2)
    for n in range(1, 11):
        put("no-memory-%02d" % n, 0, OFFERS,
            [(R_UPGRADE, 0x34), (R_UPGRADE, 0x3e), (R_UPGRADE,)], frames,
            fail=0x7f + n, chunks=n)
        put("no-memory-respond-%02d" % n, 0, PLAIN,
            [(R_RESPOND, 4, 15), (R_RESPOND, 3, 15)], fail=0x7f + n)
        put("no-memory-by-hand-%02d" % n, R_HAND | R_HAND_OUT, OFFERS,
            [(R_UPGRADE, 0x34)] * 2, frames, fail=0x7f + n)
    put("large-head", 0, MORE_UPGRADE, [(R_UPGRADE,)],
        b"X: " + b"a" * 400 + b"\r\n\r\n" + frames, limits=1, chunks=2)
    put("too-large-head", 0, MORE_UPGRADE, [(R_UPGRADE,)],
        b"X: " + b"a" * 400 + b"\r\n\r\n" + frames, limits=2)
    put("http10", R_SUBPROTOCOLS, HTTP10, [(R_RESPOND, 3, 4)])
    put("more-offers", 0, MORE_UPGRADE, [(R_UPGRADE, 0x30)],
        b"Sec-WebSocket-Protocol: , a ,,b\r\nOrigin: null\r\n\r\n"
        + frames)
    put("offers-no-token", 0, MORE_PLAIN, [(R_RESPOND, 0, 3)],
        b"Sec-WebSocket-Protocol: a b, (c)\r\n\r\n")
    put("origin-bad", R_ORIGINS, MORE_UPGRADE, [(R_UPGRADE,)],
        b"Origin: http://evil.example\r\n\r\n")
    put("with-body", 0, MORE_PLAIN, [(R_RESPOND,)],
        b"Content-Length: 3\r\n\r\nabc")
    for i, line in enumerate((
            b"GET http://h.example/p?q HTTP/1.1", b"GET /?? HTTP/1.1",
            b"GET https://h?q HTTP/1.1", b"HEAD HTTP://h HTTP/1.1",
            b"POST / HTTP/1.1", b"GET * HTTP/1.1", b"GET / HTTP/2.0",
            b"HEAD / HTTP/1.0", b"GET  / HTTP/1.1", b"GET /a#b HTTP/1.1",
            b"GET http:///a HTTP/1.1", b"head / HTTP/1.1",
            b"HEADX / HTTP/1.1")):
        rest = b"\r\nHost: h:80\r\n\r\n"
        put("line-%02d" % i, 0, RAW, [(R_RESPOND, 3, 4)], line + rest)
        put("line-by-hand-%02d" % i, R_HAND | R_HAND_OUT, RAW,
            [(R_RESPOND, 3, 4)], line + rest)
    put("head-upgrade", 0, RAW, [(R_UPGRADE,), (R_RESPOND, 0, 4)],
        REQUEST.replace(b"GET", b"HEAD") + b"\r\n")
    put("other-protocol", 0, RAW, [(R_UPGRADE,), (R_RESPOND, 0, 4)],
        b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\n"
        b"Connection: Upgrade\r\n\r\n")
    put("cut", 0, MORE_PLAIN, [(R_RESPOND,)], b"X: a")


# fuzz_tls.c: bits of the first byte, and what is done; SERVER: to its side.
T_SETTLED, T_SMALL, T_FAIL, T_FAIL_SERVER = 1, 2, 4, 128
(T_ARRIVE, T_MUCH, T_SEND, T_FLIP, T_TURN, T_MADE_UP, T_END,
 T_POLL) = range(8)
SERVER = 8


def tls():
    def put(name, options, *steps):
        write("tls", name, bytes([options]) + b"".join(
            bytes(x) for x in steps))

    client = [(T_POLL, 0), (T_MUCH | SERVER, 9), (T_MUCH, 19),
              (T_MUCH | SERVER, 9), (T_MUCH, 9), (T_MUCH | SERVER, 9),
              (T_MUCH, 9)]
    talk = [(T_SEND, 0), (T_SEND | SERVER, 0), (T_MUCH, 9),
            (T_MUCH | SERVER, 255)] * 8
    put("nothing", 0)
    put("talk", T_SETTLED, *talk)
    put("talk-small", T_SETTLED | T_SMALL, *talk)
    put("steps", 0, *(client + talk))
    put("bytes", 0, *([(T_POLL, 0)] + [(T_ARRIVE | SERVER, 0), (T_ARRIVE, 2)]
                      * 150))
    for i, what in enumerate((T_FLIP, T_TURN, T_MADE_UP, T_END)):
        for side in (0, SERVER):
            for at in range(len(client) - 1):
                put("harm-%d-%d-%d" % (i, side, at), 0,
                    *(client[:at + 1] + [(what | side, 21 + at)]
                      + client[at + 1:]))
            put("harm-%d-%d-open" % (i, side), T_SETTLED, (T_SEND, 0),
                (T_SEND | SERVER, 0), (T_SEND, 0), (T_SEND | SERVER, 0),
                (what | side, 23), *talk)
    for n in (1, 5, 9, 14, 20):
        put("no-memory-client-%d" % n, T_FAIL * n | T_SETTLED, *talk)
        put("no-memory-server-%d" % n, T_FAIL * n | T_SETTLED | T_FAIL_SERVER,
            *talk)


# fuzz_certificate.c: what a seed is, and how a chain is judged.
C_PEM, C_CERTIFICATE, C_CHAIN, C_IDENTITY = range(4)
C_INSECURE, C_ADDRESS, C_ALL_TRUSTED, C_PINS = 8, 16, 64, 128


def certificates(pki):
    def read(name):
        with open(os.path.join(pki, name), "rb") as f:
            return f.read()

    def ders(name):
        return [base64.b64decode(b) for b in re.findall(
            rb"-----BEGIN CERTIFICATE-----(.*?)-----END", read(name), re.S)]

    def put(kind, name, data):
        write("certificate", name, bytes([kind]) + data)

    for name in ("ca", "empty", "trusted", "key_p256"):
        put(C_PEM, "pem-" + name, read(name + ".pem"))
    put(C_PEM, "pem-two", read("key_p256.both") + read("p256.pem"))
    put(C_PEM, "pem-blanks", b"-----BEGIN A-----\t Q U\tI\r\n= \t-----END A")
    put(C_PEM, "pem-cut", read("ca.pem")[:300])
    for name in ("ca", "p256", "p384", "p521", "rsa", "expired", "many_names",
                 "wildcard", "ip", "cn_only", "any_use", "client_use",
                 "critical", "by_org", "org_root", "false_root", "ed25519",
                 "no_use", "odd_address", "limited_root", "long_name"):
        put(C_CERTIFICATE, "der-" + name, ders(name + ".pem")[0])
    for name, how in (
            ("chain_with_root", C_ALL_TRUSTED), ("misordered", C_ALL_TRUSTED),
            ("doubled", C_ALL_TRUSTED), ("chain", 0), ("p256", C_ALL_TRUSTED),
            ("p256", C_ALL_TRUSTED | C_ADDRESS), ("expired", C_ALL_TRUSTED),
            ("limit_all", 0), ("limit_star", 48), ("limit_behind", 0),
            ("limit_other_subject", C_ALL_TRUSTED), ("limit_mail", 0),
            ("limit_root", C_ALL_TRUSTED), ("rsa", C_INSECURE),
            ("self_signed", C_INSECURE | C_PINS), ("mail_middle", 0),
            ("bad_signature", C_ALL_TRUSTED), ("old_middle", C_ALL_TRUSTED)):
        put(C_CHAIN | how, "chain-%s-%02x" % (name, how), b"".join(
            struct.pack(">H", len(d)) + d for d in ders(name + ".pem")))
    put(C_CHAIN, "chain-none", b"")
    for name in ("key_rsa", "key_p256", "key_p384"):
        for form in ("pkcs8", "old", "locked"):
            put(C_IDENTITY, "%s-%s" % (name, form), read(name + ".pem") + b"\0"
                + read("%s.%s" % (name, form)))
    put(C_IDENTITY, "key-of-another",
        read("key_p256.pem") + b"\0" + read("p256.key"))


if __name__ == "__main__" and sys.argv[1:]:
    certificates(sys.argv[1])
elif __name__ == "__main__":
    core("client")
    core("server")
    pair()
    url()
    request()
    tls()
