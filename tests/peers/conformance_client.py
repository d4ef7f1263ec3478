#!/usr/bin/env python3
"""Checks a WebSocket echo client against RFC 6455.

    conformance_client.py [options] PROGRAM [ARGUMENT...]

For each case a scripted server listens on a port of its own and the program
is started with its ws:// URL.  The program must echo every message until the
server closes, and then exit with status 0; when the connection, the handshake
or the server fails it must exit with 1 and a reason on stderr.

    --only TEXT    just the cases whose names contain it
    --jobs N       cases side by side (8)
    --fast         without the cases that wait for a time-out
    --verbose      also a line for each case that passed

Prints one line for each case that fails, and last how many did.
"""
import base64
import re
import socket
import struct
import subprocess
import sys
import threading
import time

from cases import session_cases
from wire import (BINARY, CONT, PING, TEXT, TIMEOUT, Case, Ended, Failure,
                  Peer, Runner, accept_value, arguments, build_frame, read_head,
                  show)

PATIENCE = 25.0  # for an exit behind a time-out of 10 s


class Client:
    """One run of the program against one listening socket."""

    def __init__(self, command, path="/", host="127.0.0.1"):
        self.listener = socket.create_server((host, 0)) if ":" not in host \
            else socket.create_server((host, 0), family=socket.AF_INET6)
        self.listener.settimeout(TIMEOUT)
        self.port = self.listener.getsockname()[1]
        self.url = "ws://%s:%d%s" % ("[%s]" % host if ":" in host else host,
                                     self.port, path)
        self.process = start(command, self.url)
        self.peer = None

    def accept(self):
        try:
            sock, _ = self.listener.accept()
        except socket.timeout:
            raise Failure("a connection", "none in %d s; %s" % (
                TIMEOUT, end_of(self.process, 0)))
        self.peer = Peer(sock, "server")
        return self.peer

    def close(self):
        if self.peer:
            self.peer.sock.close()
        self.listener.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def start(command, url):
    return subprocess.Popen(command + [url], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def end_of(process, patience):
    """How the program ended, for a line of output."""
    try:
        _, errors = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        return "it still runs"
    return "it exited with %d, %s" % (process.returncode, show(errors, 2000))


def expect_exit(process, status, pattern=None, patience=TIMEOUT):
    """Exit status 0 with an empty stderr; or 1 and a line that matches."""
    wanted = "exit status %d%s" % (
        status, " and %r on stderr" % pattern if pattern else "")
    try:
        _, errors = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        process.kill()
        raise Failure(wanted, "no exit in %d s" % patience)
    errors = errors.decode("utf-8", "replace")
    observed = "exit status %d, stderr %r" % (process.returncode,
                                              errors[:2000])
    if process.returncode != status or "Sanitizer" in errors \
            or "runtime error" in errors:
        raise Failure(wanted, observed)
    if status == 0 and errors:
        raise Failure(wanted + " and nothing on stderr", observed)
    if status:
        lines = errors.splitlines()
        if len(lines) != 1 or not lines[0].strip():
            raise Failure(wanted + " and one line on stderr", observed)
        if pattern and not re.search(pattern, errors, re.I):
            raise Failure(wanted, observed)


def check_request(head, client, target="/"):
    """RFC 6455 4.1."""
    if head.first != "GET %s HTTP/1.1" % target:
        raise Failure("GET %s HTTP/1.1" % target, head.first)
    host = client.url[5:].split("/")[0].split("?")[0]
    if head.one("Host") != host:
        raise Failure("Host: " + host, head.one("Host"))
    if head.one("Upgrade").lower() != "websocket":
        raise Failure("Upgrade: websocket", head.one("Upgrade"))
    if "upgrade" not in head.tokens("Connection"):
        raise Failure("Connection: Upgrade", "%r" % head.all("Connection"))
    if head.one("Sec-WebSocket-Version") != "13":
        raise Failure("Sec-WebSocket-Version: 13",
                      head.one("Sec-WebSocket-Version"))
    key = head.one("Sec-WebSocket-Key")
    if len(key) != 24 or len(base64.b64decode(key, validate=True)) != 16:
        raise Failure("a key of 16 bytes in base64", key)
    for name in ("Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol",
                 "Origin", "Sec-WebSocket-Accept", "Content-Length",
                 "Transfer-Encoding"):
        if head.all(name):
            raise Failure("no %s" % name, "%r" % head.all(name))
    return key.encode()


def response(key, first=b"HTTP/1.1 101 Switching Protocols", leave=(),
             add=(), change=()):
    """A good response, without some headers, with others, or changed."""
    lines = [(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade"),
             (b"Sec-WebSocket-Accept", accept_value(key))]
    change = dict(change)
    out = [first]
    for name, value in lines:
        if name not in leave:
            out.append(name + b": " + change.get(name, value))
    out.extend(add)
    return b"\r\n".join(out) + b"\r\n\r\n"


def shake(client, target="/"):
    p = client.accept()
    head = read_head(p, "a request")
    key = check_request(head, client, target)
    if p.pending:
        raise Failure("nothing behind the request", show(p.pending))
    return p, key


def run_session(command):
    def call(case):
        client = Client(command)
        try:
            p, key = shake(client)
            p.send(response(key))
            try:
                case.run(p)
            except Failure as e:
                # A program that dies takes a moment to be gone.
                try:
                    client.process.wait(0.5)
                except subprocess.TimeoutExpired:
                    raise e from None
                raise Failure(e.expected, end_of(client.process, TIMEOUT)
                              ) from None
            if not p.ended:
                raise Failure("a case that sees the end of the stream",
                              "none")
            p.sock.close()
            expect_exit(client.process, 1 if p.faulted else 0)
        finally:
            client.close()
    return call


# --------------------------------------------------------------- handshakes

def handshake_cases(command, fast):
    cases = []

    def add_case(name, clause, run, weight=1):
        cases.append(Case("handshake: " + name, clause, run, weight))

    def with_client(run, path="/", host="127.0.0.1"):
        def call():
            client = Client(command, path, host)
            try:
                run(client)
            finally:
                client.close()
        return call

    def use(p, client):
        """The connection works, and ends well."""
        p.echo(TEXT, b"it works")
        p.finish()
        p.sock.close()
        expect_exit(client.process, 0)

    # ------------------------------------------------------- the request

    def request_for(path, target, host="127.0.0.1"):
        def run(client):
            p, key = shake(client, target)
            p.send(response(key))
            use(p, client)
        return with_client(run, path, host)
    for path, target in (("", "/"), ("/", "/"), ("/chat", "/chat"),
                         ("/chat?room=1&x=%20y", "/chat?room=1&x=%20y"),
                         ("?q", "/?q"), ("/?", "/?"), ("//x", "//x"),
                         ("/a;b=c,d!$&'()*+:@~", "/a;b=c,d!$&'()*+:@~"),
                         ("/" + "x" * 3000, "/" + "x" * 3000)):
        add_case("URL with %r" % path[:40], "RFC 6455 3, 4.1",
                 request_for(path, target))
    add_case("IPv6 address", "RFC 6455 4.1", request_for("/", "/", "::1"))

    def name(client):
        p = client.accept()
        head = read_head(p, "a request")
        if head.one("Host") != "localhost:%d" % client.port:
            raise Failure("Host: localhost:%d" % client.port,
                          head.one("Host"))
        p.send(response(head.one("Sec-WebSocket-Key").encode()))
        use(p, client)

    def localhost():
        client = Client(["true"])
        try:
            client.process.wait()
            client.process = start(
                command, "ws://localhost:%d/" % client.port)
            name(client)
        finally:
            client.close()
    add_case("host name", "RFC 6455 4.1", localhost)

    def keys():
        seen = set()
        for _ in range(20):
            client = Client(command)
            try:
                p, key = shake(client)
                seen.add(key)
                p.send(response(key))
                use(p, client)
            finally:
                client.close()
        if len(seen) != 20:
            raise Failure("20 different keys", "%d" % len(seen))
    add_case("a fresh key each time", "RFC 6455 4.1", keys)

    def patient(client):
        """Nothing is sent before the response is there."""
        p, key = shake(client)
        answer = response(key)
        p.send(answer[:-1])
        p.sock.settimeout(0.3)
        try:
            early = p.sock.recv(100)
        except socket.timeout:
            early = None
        p.sock.settimeout(TIMEOUT)
        if early is not None:
            raise Failure("nothing before the response", show(early))
        p.send(answer[-1:])
        use(p, client)
    add_case("waits for the response", "RFC 6455 4.1", with_client(patient))

    # ---------------------------------------------- responses that are right

    def good(make, chop=0):
        def run(client):
            p, key = shake(client)
            p.send(make(key), chop)
            use(p, client)
        return with_client(run)

    def ok(name, clause, make, chop=0):
        add_case(name, clause, good(make, chop))
    ok("response", "RFC 6455 4.2.2", response)
    ok("response byte by byte", "RFC 9112 2.2", response, 1)
    ok("response in writes of 7 bytes", "RFC 9112 2.2", response, 7)
    ok("names in lower case", "RFC 9110 5.1", lambda key: response(
        key, leave=(b"Upgrade", b"Connection", b"Sec-WebSocket-Accept"),
        add=(b"upgrade: websocket", b"connection: upgrade",
             b"sec-websocket-accept: " + accept_value(key))))
    ok("names in upper case", "RFC 9110 5.1", lambda key: response(
        key, leave=(b"Upgrade", b"Connection", b"Sec-WebSocket-Accept"),
        add=(b"UPGRADE: WEBSOCKET", b"CONNECTION: UPGRADE",
             b"SEC-WEBSOCKET-ACCEPT: " + accept_value(key))))
    for value in (b"WebSocket", b"WEBSOCKET", b"\twebsocket  "):
        ok("Upgrade: %r" % value.decode(), "RFC 6455 4.1",
           lambda key, value=value: response(
               key, change={b"Upgrade": value}))
    for value in (b"upgrade", b"keep-alive, Upgrade", b"Upgrade , x",
                  b"x,UPGRADE"):
        ok("Connection: %r" % value.decode(), "RFC 6455 4.1",
           lambda key, value=value: response(
               key, change={b"Connection": value}))
    ok("Connection in two lines", "RFC 9110 5.3", lambda key: response(
        key, change={b"Connection": b"keep-alive"},
        add=(b"Connection: Upgrade",)))
    ok("space and tabs around the accept value", "RFC 9112 5",
       lambda key: response(key, change={
           b"Sec-WebSocket-Accept": b"\t " + accept_value(key) + b" \t"}))
    for reason in (b"", b"WebSocket Protocol Handshake",
                   b"caf\xc3\xa9 au lait"):
        ok("reason phrase %s" % show(reason), "RFC 9112 4",
           lambda key, reason=reason: response(
               key, b"HTTP/1.1 101 " + reason))
    ok("a hundred more headers", "RFC 9112 5", lambda key: response(
        key, add=tuple(b"X-Header-%d: value" % i for i in range(100))))
    ok("headers of a server", "RFC 6455 4.1", lambda key: response(key, add=(
        b"Server: nginx", b"Date: Thu, 01 Jan 1970 00:00:00 GMT",
        b"Set-Cookie: a=b; Path=/", b"Set-Cookie: c=d", b"X-Empty:")))
    ok("100 Continue first", "RFC 9110 15.2.1", lambda key:
       b"HTTP/1.1 100 Continue\r\n\r\n" + response(key))
    ok("103 Early Hints first", "RFC 8297", lambda key:
       b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"
       + response(key))
    ok("several interim responses first, byte by byte", "RFC 9110 15.2",
       lambda key: b"HTTP/1.1 100 Continue\r\n\r\n" * 2
       + b"HTTP/1.1 102 Processing\r\n\r\n" + response(key), 1)
    largest = len(response(b"x" * 24, add=(b"X-Header: ",)))
    ok("head of 16 KiB", "RFC 6585 5", lambda key: response(
        key, add=(b"X-Header: " + b"x" * (16384 - largest),)))

    def behind(make):
        def run(client):
            p, key = shake(client)
            make(p, key)
            use(p, client)
        return with_client(run)

    def frames_behind(chop):
        def make(p, key):
            p.send(response(key) + p.frame(TEXT, b"early")
                   + p.frame(BINARY, b"bird") + p.frame(PING, b"!"), chop)
            p.expect_message(TEXT, b"early")
            p.expect_message(BINARY, b"bird")
            p.expect_pong(b"!")
        return make
    add_case("frames behind the response", "RFC 6455 4.1",
             behind(frames_behind(0)))
    add_case("frames behind the response, octet-wise", "RFC 6455 4.1",
             behind(frames_behind(1)))

    def half_frame(p, key):
        frame = p.frame(TEXT, b"early")
        p.send(response(key) + frame[:3])
        p.send(frame[3:])
        p.expect_message(TEXT, b"early")
    add_case("half a frame behind the response", "RFC 6455 4.1",
             behind(half_frame))

    def big_behind(p, key):
        data = bytes(range(256)) * 1024
        p.send(response(key) + p.frame(BINARY, data))
        p.expect_message(BINARY, data)
    add_case("256 KiB behind the response", "RFC 6455 4.1",
             behind(big_behind))

    def all_at_once(ends):
        def run(client):
            p, key = shake(client)
            p.send(response(key) + p.frame(TEXT, b"hello")
                   + p.close_frame(1000, b"bye"))
            if ends:
                p.sock.shutdown(socket.SHUT_WR)
            p.expect_message(TEXT, b"hello")
            p.expect_closed(1000)
            p.sock.close()
            expect_exit(client.process, 0)
        return with_client(run)
    add_case("response, message and Close in one write", "RFC 6455 4.1, 7.1",
             all_at_once(False))
    add_case("response, message, Close and end in one write",
             "RFC 6455 4.1, 7.1", all_at_once(True))

    def wrong_frame(client):
        p, key = shake(client)
        p.send(response(key) + build_frame(TEXT, b"masked", key=b"abcd"))
        p.expect_failure(1002)
        p.sock.close()
        expect_exit(client.process, 1)
    add_case("a wrong frame behind the response", "RFC 6455 5.1",
             with_client(wrong_frame))

    # ---------------------------------------------- responses that are wrong

    def bad(make, pattern=None, shut=True, chop=0, patience=TIMEOUT):
        def run(client):
            p, key = shake(client)
            try:
                p.send(make(key), chop)
            except Failure:
                pass  # it may have left before it had all
            if shut:
                try:
                    p.sock.shutdown(socket.SHUT_WR)
                except OSError:
                    pass
            expect_exit(client.process, 1, pattern, patience)
            if b"it works" in bytes(p.pending):
                raise Failure("no frames", show(p.pending))
        return with_client(run)

    def no(name, clause, make, pattern=None, **more):
        add_case(name, clause, bad(make, pattern, **more))

    clause = "RFC 6455 4.1"
    accept = b"Sec-WebSocket-Accept"
    for word, change in (
            ("of another key", lambda v: accept_value(b"other")),
            ("empty", lambda v: b""),
            ("in another case", lambda v: v.swapcase()),
            ("one character short", lambda v: v[:-1]),
            ("one character more", lambda v: v + b"="),
            ("with a wrong first character",
             lambda v: (b"A" if v[:1] != b"A" else b"B") + v[1:]),
            ("with a wrong last character", lambda v: v[:-2] + (
                b"A" if v[-2:-1] != b"A" else b"B") + b"="),
            ("in quotes", lambda v: b'"' + v + b'"'),
            ("twice in one line", lambda v: v + b", " + v)):
        no("accept value %s" % word, clause, lambda key, change=change:
           response(key, change={accept: change(accept_value(key))}),
           "accept")
    no("accept value is the key", clause, lambda key: response(
        key, change={accept: key}), "accept")
    no("no accept value", clause, lambda key: response(
        key, leave=(accept,)), "accept")
    no("two accept values, the second wrong", "RFC 6455 11.3.3",
       lambda key: response(key, add=(accept + b": AAAA",)), "accept")
    no("two accept values, the first wrong", "RFC 6455 11.3.3",
       lambda key: response(key, change={accept: b"AAAA"}, add=(
           accept + b": " + accept_value(key),)), "accept")
    no("no Upgrade", clause, lambda key: response(
        key, leave=(b"Upgrade",)), "upgrade")
    no("no Connection", clause, lambda key: response(
        key, leave=(b"Connection",)), "connection")
    for value in (b"", b"websocke", b"websockets", b"h2c", b"web socket",
                  b"\"websocket\""):
        no("Upgrade: %r" % value.decode(), clause,
           lambda key, value=value: response(
               key, change={b"Upgrade": value}), "upgrade")
    for value in (b"", b"close", b"keep-alive", b"Upgrades", b"x Upgrade"):
        no("Connection: %r" % value.decode(), clause,
           lambda key, value=value: response(
               key, change={b"Connection": value}), "connection")
    for value in (b"permessage-deflate", b"foo; bar=1", b"", b";"):
        no("extension that was not offered: %r" % value.decode(), clause,
           lambda key, value=value: response(key, add=(
               b"Sec-WebSocket-Extensions: " + value,)), "extension")
    for value in (b"chat", b"", b"a, b"):
        no("subprotocol that was not offered: %r" % value.decode(), clause,
           lambda key, value=value: response(key, add=(
               b"Sec-WebSocket-Protocol: " + value,)), "protocol")

    for status, reason, more in (
            (200, b"OK", (b"Content-Length: 5",)),
            (204, b"No Content", ()),
            (301, b"Moved Permanently", (b"Location: ws://127.0.0.1:1/",
                                         b"Content-Length: 0")),
            (302, b"Found", (b"Location: /elsewhere",)),
            (400, b"Bad Request", (b"Connection: close",)),
            (401, b"Unauthorized", (b"WWW-Authenticate: Basic realm=\"x\"",)),
            (403, b"Forbidden", ()),
            (404, b"Not Found", (b"Content-Type: text/html",
                                 b"Content-Length: 5")),
            (407, b"Proxy Authentication Required", ()),
            (426, b"Upgrade Required", (b"Sec-WebSocket-Version: 8, 7",)),
            (429, b"Too Many Requests", (b"Retry-After: 1",)),
            (500, b"Internal Server Error", ()),
            (503, b"Service Unavailable", ()), (599, b"", ()), (999, b"", ())):
        line = b"HTTP/1.1 %d %s" % (status, reason)
        for word, keep in (("", ()),
                           (" with the headers of a 101", None)):
            leave = (b"Upgrade", b"Connection", accept) if keep == () else ()
            if status == 999 and leave == ():
                continue
            no("status %d%s" % (status, word), clause,
               lambda key, line=line, leave=leave, more=more: response(
                   key, line, leave, more) + b"hello", str(status))
    no("status 404 over a connection that stays", clause,
       lambda key: b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nhello",
       "404", shut=False, patience=5)
    no("status 404 with a body of 1 MiB", clause,
       lambda key: b"HTTP/1.1 404 Not Found\r\nContent-Length: 1048576\r\n"
       b"\r\n" + b"x" * 1048576, "404")
    no("status 404 with a body in chunks", clause,
       lambda key: b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n"
       b"\r\n5\r\nhello\r\n0\r\n\r\n", "404", shut=False, patience=5)
    no("status 404 with a body that is cut short", clause,
       lambda key: b"HTTP/1.1 404 Not Found\r\nContent-Length: 500\r\n\r\nx",
       "404")
    no("status 404 byte by byte", clause,
       lambda key: b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
       "404", chop=1)
    no("status 404 behind 100 Continue", clause,
       lambda key: b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\n"
       b"Content-Length: 0\r\n\r\n", "404")

    for first in (b"HTTP/1.0 101 Switching Protocols",
                  b"HTTP/2.0 101 Switching Protocols",
                  b"HTTP/0.9 101 Switching Protocols", b"HTTP/1.1 1O1 Oh",
                  b"HTTP/1.1 0101 x", b"HTTP/1.1 10 x", b"HTTP/1.1 1010 x",
                  b"HTTP/1.1 -101 x", b"HTTP/1.1 +101 x", b"HTTP/1.1 101x",
                  b"HTTP/1.1101 x", b"HTTP/1.1", b"HTTP/1.1 ", b"HTTP/1 101 x",
                  b"HTTP/1.1x 101 x", b"http/1.1 101 x", b"XTTP/1.1 101 x",
                  b"ICY 101 OK", b"HTTP/1.1  101 x", b" HTTP/1.1 101 x",
                  b"101 Switching Protocols", b"HTTP/1.1 101 a\0b"):
        no("status line %r" % first.decode(), "RFC 9112 4",
           lambda key, first=first: response(key, first))
    for line in (b"X-Header : x", b"X Header: x", b": x", b"X-Header",
                 b"X\0: x", b"X-Header: a\0b", b"X(Y): x"):
        no("header line %r" % line.decode(), "RFC 9112 5",
           lambda key, line=line: response(key, add=(line,)))
    no("an accept value that hides in obs-fold", "RFC 9112 5.2",
       lambda key: response(key, leave=(accept,), add=(
           b"X-Header: a", b" Sec-WebSocket-Accept: " + accept_value(key))))
    for word, data in (("of SSH", b"SSH-2.0-OpenSSH_9.2\r\n"),
                       ("of TLS", b"\x15\x03\x01\x00\x02\x02\x28"),
                       ("of a mail server", b"220 mail ready\r\n"),
                       ("of zeros", bytes(1000)),
                       ("of frames", build_frame(TEXT, b"hello"))):
        no("garbage %s" % word, "RFC 9112 4", lambda key, data=data: data)
    no("garbage that never ends", "RFC 9112 4",
       lambda key: b"\xff" * (4 << 20), shut=False)
    no("nothing, then the end", "RFC 9112 8", lambda key: b"")
    no("half a response, then the end", "RFC 9112 8",
       lambda key: response(key)[:40])
    no("a response without its last byte, then the end", "RFC 9112 8",
       lambda key: response(key)[:-1])
    no("a header that never ends", "RFC 6585 5", lambda key:
       response(key)[:-2] + b"X-Header: " + b"x" * (4 << 20), shut=False)
    no("headers that never end", "RFC 6585 5", lambda key:
       response(key)[:-2] + b"X-Header: value\r\n" * 200000, shut=False)
    no("interim responses that never end", "RFC 9110 15.2", lambda key:
       b"HTTP/1.1 100 Continue\r\n\r\n" * 200000, shut=False,
       patience=PATIENCE)
    no("a head of 16 KiB and one byte", "RFC 6585 5", lambda key: response(
        key, add=(b"X-Header: " + b"x" * (16385 - largest),)))

    def may(name, clause, make):
        """RFC 9112 leaves it open whether this is refused."""
        def run(client):
            p, key = shake(client)
            p.send(make(key))
            try:
                p.echo(TEXT, b"it works")
            except Failure:
                p.sock.close()
                expect_exit(client.process, 1)
                return
            p.finish()
            p.sock.close()
            expect_exit(client.process, 0)
        add_case(name, clause, with_client(run))
    may("status line without a reason and its space", "RFC 9112 4",
        lambda key: response(key, b"HTTP/1.1 101"))
    may("lines that end with a bare LF", "RFC 9112 2.2",
        lambda key: response(key).replace(b"\r\n", b"\n"))
    may("obs-fold", "RFC 9112 5.2",
        lambda key: response(key, add=(b"X-Header: a", b" b")))
    may("a control character in a value", "RFC 9110 5.5",
        lambda key: response(key, add=(b"X-Header: a\x01b",)))
    may("Content-Length: 0", "RFC 9110 8.6",
        lambda key: response(key, add=(b"Content-Length: 0",)))
    may("an empty line before the response", "RFC 9112 2.2",
        lambda key: b"\r\n" + response(key))
    may("HTTP/1.2", "RFC 9110 6.2",
        lambda key: response(key, b"HTTP/1.2 101 x"))

    # ---------------------------------------------------- TCP and the URL

    def no_connection():
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        listener.close()
        process = start(command, "ws://127.0.0.1:%d/" % port)
        expect_exit(process, 1)
    add_case("nobody listens", "RFC 6455 4.1", no_connection)

    def reset(when):
        def run(client):
            p = client.accept()
            if when > 0:
                head = read_head(p, "a request")
            if when > 1:
                p.send(response(head.one("Sec-WebSocket-Key").encode())[:20])
            if when > 2:
                p.send(response(head.one("Sec-WebSocket-Key").encode())[20:])
                p.echo(TEXT, b"it works")
            p.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                              struct.pack("ii", 1, 0))
            p.sock.close()
            expect_exit(client.process, 1)
        return with_client(run)
    for when, word in enumerate(("before the request", "behind the request",
                                 "inside the response", "of an open one")):
        add_case("a reset " + word, "RFC 6455 7.1.7", reset(when))

    def lost(data):
        def run(client):
            p, key = shake(client)
            p.send(response(key))
            p.echo(TEXT, b"it works")
            p.send(data)
            p.sock.shutdown(socket.SHUT_WR)
            expect_exit(client.process, 1)
        return with_client(run)
    add_case("an end without Close", "RFC 6455 7.1.5", lost(b""))
    add_case("an end inside a frame", "RFC 6455 7.1.5",
             lost(build_frame(BINARY, b"x", length=1000)))
    add_case("an end inside a message", "RFC 6455 7.1.5",
             lost(build_frame(BINARY, b"x", fin=False)))

    def bad_url(url):
        def run():
            expect_exit(start(command, url), 1, patience=PATIENCE)
        return run
    for url in ("", "ws:", "ws://", "ws:///", "ws:///path", "ws://:80/",
                "http://127.0.0.1/", "127.0.0.1:80", "ws//127.0.0.1/",
                "ws://127.0.0.1:x/", "ws://127.0.0.1:99999/",
                "ws://127.0.0.1:-1/", "ws://127.0.0.1:65536/",
                "ws://127.0.0.1/#fragment", "ws://127.0.0.1/#",
                "ws://user@127.0.0.1/", "ws://user:word@127.0.0.1/",
                "ws://[::1/", "ws://[::1]x/", "ws://[]/", "ws://::1/",
                "ws://127.0.0.1/a b", "ws://127.0.0.1/a\r\nX: y",
                "ws://127.0.0.1/\x01", "ws://a b/", "ws://a\tb/",
                "ws://127.0.0.1\\@x/", " ws://127.0.0.1/",
                "ws://127.0.0.1/ ", "wss:/127.0.0.1/"):
        add_case("URL %r" % url, "RFC 6455 3", bad_url(url))

    def scheme_case(client):
        p, key = shake(client)
        p.send(response(key))
        use(p, client)

    def upper_scheme():
        client = Client(["true"])
        try:
            client.process.wait()
            client.process = start(command, "WS://127.0.0.1:%d" % client.port)
            scheme_case(client)
        finally:
            client.close()
    add_case("scheme in upper case", "RFC 3986 3.1", upper_scheme)

    # ----------------------------------------------------- closing and time

    def server_stays(failing):
        """A server that never ends TCP must not hold the client."""
        def run(client):
            p, key = shake(client)
            p.send(response(key))
            p.echo(TEXT, b"it works")
            if failing:
                p.put(3, b"bad")
                p.expect_close(1002)
            else:
                p.send(p.close_frame(1000))
                p.expect_close(1000)
            expect_exit(client.process, 1 if failing else 0,
                        patience=PATIENCE)
        return with_client(run)
    add_case("a server that does not end TCP", "RFC 6455 7.1.1",
             server_stays(False))
    add_case("a server that does not end TCP after a failure",
             "RFC 6455 7.1.1", server_stays(True))

    def too_slow(first, drip):
        def run(client):
            p, key = shake(client)
            began = time.monotonic()
            stop = threading.Event()

            def dripping():
                while not stop.wait(0.5):
                    try:
                        p.sock.sendall(b"x")
                    except OSError:
                        return
            p.send(response(key)[:first])
            if drip:
                threading.Thread(target=dripping, daemon=True).start()
            try:
                expect_exit(client.process, 1, "time", PATIENCE)
            finally:
                stop.set()
            took = time.monotonic() - began
            if not 8 < took < 15:
                raise Failure("an end after 10 s", "%.1f s" % took)
        return with_client(run)
    if not fast:
        add_case("no response", "RFC 6455 4.1", too_slow(0, False), 0.5)
        add_case("half a response, then nothing", "RFC 6455 4.1",
                 too_slow(40, False), 0.5)
        add_case("a response that drips in", "RFC 6455 4.1",
                 too_slow(40, True), 0.5)
    return cases


def main():
    o = arguments("Checks a WebSocket echo client against RFC 6455.",
                  "conformance of the client", "program")
    runner = Runner(o)
    runner.run_beside(
        handshake_cases(o.program, o.fast), lambda c: c.run(),
        lambda: runner.run(session_cases("server"), run_session(o.program)))
    return runner.end()


if __name__ == "__main__":
    sys.exit(main())
