#!/usr/bin/env python3
"""Checks a WebSocket echo server against RFC 6455.

    conformance_server.py [options] PROGRAM [ARGUMENT...]
    conformance_server.py [options] ws://HOST:PORT/

A program is started with "--port 0", must print a line with its ws:// URL,
and must end with status 0 on SIGTERM; with a program the limits and the end
of the server are tested too.

    --only TEXT    just the cases whose names contain it
    --jobs N       cases side by side (8)
    --fast         without the cases that wait for a time-out
    --verbose      also a line for each case that passed

Prints one line for each case that fails, and last how many did.
"""
import base64
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

from cases import session_cases
from wire import (BINARY, CONT, PING, TEXT, TIMEOUT, Case, Ended, Failure,
                  Head, Peer, Runner, accept_value, arguments, build_frame,
                  read_head, show)

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # the sample of RFC 6455 1.3
DEFAULT_LIMIT = 16 * 1024 * 1024


class Server:
    """The program under test."""

    def __init__(self, command):
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE)
        self.errors = b""
        self.reader = threading.Thread(target=self.read_errors, daemon=True)
        self.reader.start()
        ready, _, _ = select.select([self.process.stdout], [], [], TIMEOUT)
        line = self.process.stdout.readline() if ready else b""
        match = re.search(rb"ws://([^/:\s]+|\[[^]]+\]):(\d+)", line)
        if not match:
            self.process.kill()
            raise SystemExit("%s: expected a line with its ws:// URL, got %r"
                             % (command[0], line))
        self.address = (match.group(1).decode().strip("[]"),
                        int(match.group(2)))

    def read_errors(self):
        for line in self.process.stderr:
            self.errors += line

    def check_alive(self):
        if self.process.poll() is not None:
            self.reader.join(TIMEOUT)
            raise Failure("a server that lives on", "exit status %d, %s" % (
                self.process.returncode, show(self.errors, 2000)))

    def wait(self):
        try:
            status = self.process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Failure("the end of the server", "none in %d s" % TIMEOUT)
        self.reader.join(TIMEOUT)
        if status or self.errors:
            raise Failure("exit status 0 and no errors", "%d, %s" % (
                status, show(self.errors, 4000)))

    def stop(self, number=signal.SIGTERM):
        self.check_alive()
        self.process.send_signal(number)
        self.wait()


class Target:
    """Where the cases connect to: an address, or a program that is started
    again when it has died, so that the case that killed it stands alone."""

    def __init__(self, address=None, command=None):
        self.lock = threading.Lock()
        self.command = command
        self.server = Server(command) if command else None
        self.address = self.server.address if command else address

    def call(self, run):
        server = self.server
        try:
            return run()
        except (Failure, Ended, OSError) as e:
            if not server:
                raise
            try:
                # A program that dies takes a moment to be gone.
                server.process.wait(0.5)
            except subprocess.TimeoutExpired:
                raise e from None
            server.reader.join(TIMEOUT)
            with self.lock:
                if self.server is server:
                    self.server = Server(self.command)
                    self.address = self.server.address
            raise Failure("a server that lives on", "exit status %d, %s" % (
                server.process.returncode, show(server.errors, 600))
            ) from None


# ---------------------------------------------------------------- requests

def request(first=b"GET /chat HTTP/1.1", leave=(), add=(), change=()):
    """A good request, without some headers, with others, or changed."""
    lines = [(b"Host", b"server.example.com"), (b"Upgrade", b"websocket"),
             (b"Connection", b"Upgrade"), (b"Sec-WebSocket-Key", KEY),
             (b"Sec-WebSocket-Version", b"13")]
    change = dict(change)
    out = [first]
    for name, value in lines:
        if name in leave:
            continue
        out.append(name + b": " + change.get(name, value))
    out.extend(add)
    return b"\r\n".join(out) + b"\r\n\r\n"


def connect(address):
    sock = socket.create_connection(address, TIMEOUT)
    return Peer(sock, "client")


def check_101(head):
    """RFC 6455 4.2.2, and RFC 9110 for what a 101 must not carry."""
    if not re.match(r"HTTP/1\.1 101( |$)", head.first):
        raise Failure("HTTP/1.1 101", head.first)
    if head.one("Upgrade").lower() != "websocket":
        raise Failure("Upgrade: websocket", head.one("Upgrade"))
    if "upgrade" not in head.tokens("Connection"):
        raise Failure("Connection: Upgrade", "%r" % head.all("Connection"))
    for name in ("Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol",
                 "Content-Length", "Transfer-Encoding"):
        if head.all(name):
            raise Failure("no %s" % name, "%r" % head.all(name))


def check_accept(head, key):
    got = head.one("Sec-WebSocket-Accept")
    if got != accept_value(key).decode():
        raise Failure("Sec-WebSocket-Accept: %s" % accept_value(key).decode(),
                      got)


def open_session(address):
    p = connect(address)
    key = base64.b64encode(os.urandom(16))
    p.send(request(change={b"Sec-WebSocket-Key": key}))
    head = read_head(p, "a 101 response")
    check_101(head)
    check_accept(head, key)
    return p


def run_session(target):
    def session(case):
        p = open_session(target.address)
        try:
            case.run(p)
            if not p.ended:
                raise Failure("a case that sees the end of the stream",
                              "none")
        finally:
            p.sock.close()
    return lambda case: target.call(lambda: session(case))


# --------------------------------------------------------------- handshakes

def handshake_cases(site, fast):
    def accepted(raw, chop=0, key=KEY):
        def run():
            p = connect(site.address)
            try:
                p.send(raw, chop)
                head = read_head(p, "a 101 response")
                check_101(head)
                check_accept(head, key)
                p.echo(TEXT, b"it works")
                p.finish()
            finally:
                p.sock.close()
        return run

    def read_refusal(p, statuses, silent=False, no_body=False,
                     version=False):
        wanted = "status " + " or ".join(map(str, statuses))
        try:
            head = read_head(p, wanted)
        except Failure:
            if silent and not p.pending:
                p.ended = True
                return
            raise
        match = re.match(r"HTTP/1\.1 (\d\d\d) ", head.first + " ")
        if not match or int(match.group(1)) not in statuses:
            raise Failure(wanted, head.first)
        status = int(match.group(1))
        if status == 426:
            # RFC 6455 4.4, RFC 9110 15.5.22
            if version and head.one("Sec-WebSocket-Version") != "13":
                raise Failure("Sec-WebSocket-Version: 13",
                              head.one("Sec-WebSocket-Version"))
            if "websocket" not in head.tokens("Upgrade"):
                raise Failure("Upgrade: websocket",
                              "%r" % head.all("Upgrade"))
        if status == 405 and "get" not in head.tokens("Allow"):
            raise Failure("Allow: GET", "%r" % head.all("Allow"))
        if "close" not in head.tokens("Connection"):
            raise Failure("Connection: close", "%r" % head.all("Connection"))
        length = head.all("Content-Length")
        if len(length) > 1 or length and not length[0].isdigit():
            raise Failure("one Content-Length", "%r" % length)
        if no_body:
            length = ["0"]
        while not length or len(p.pending) < int(length[0]):
            try:
                p.more("the body and the end of the stream")
            except Ended:
                if length:
                    raise Failure("a body of %s bytes" % length[0],
                                  "%d bytes" % len(p.pending))
                p.pending.clear()
                p.ended = True
                return
        del p.pending[:int(length[0])]
        p.expect_end()

    def refused(raw, *statuses, chop=0, shut=False, silent=False,
                no_body=False, version=False):
        def run():
            p = connect(site.address)
            try:
                p.send(raw, chop)
                if shut:
                    p.sock.shutdown(socket.SHUT_WR)
                read_refusal(p, statuses, silent, no_body, version)
            finally:
                p.sock.close()
        return run

    def either(raw, *statuses):
        """RFC 9112 leaves it open whether this is refused."""
        def run():
            p = connect(site.address)
            try:
                p.send(raw)
                try:
                    p.more("a response")
                except Ended:
                    raise Failure("a response", "the end of the stream")
                if p.pending[:12] == b"HTTP/1.1 101":
                    check_101(read_head(p, "a 101 response"))
                    p.echo(TEXT, b"it works")
                    p.finish()
                else:
                    read_refusal(p, statuses)
            finally:
                p.sock.close()
        return run

    cases = []

    def add(name, clause, run, weight=1):
        cases.append(Case("handshake: " + name, clause, run, weight))

    def ok(name, clause, raw, chop=0, key=KEY):
        add(name, clause, accepted(raw, chop, key))

    def no(name, clause, raw, *statuses, **more):
        add(name, clause, refused(raw, *statuses, **more))

    def may(name, clause, raw, *statuses):
        add(name, clause, either(raw, *statuses))

    # What is right in more than one form.
    ok("sample of RFC 6455 1.3", "RFC 6455 4.2.2", request())
    ok("head byte by byte", "RFC 9112 2.2", request(), chop=1)
    for chop in (2, 7, 64):
        ok("head in writes of %d bytes" % chop, "RFC 9112 2.2", request(),
           chop=chop)
    ok("names in lower case", "RFC 9110 5.1", request(
        leave=(b"Host", b"Upgrade", b"Connection", b"Sec-WebSocket-Key",
               b"Sec-WebSocket-Version"),
        add=(b"host: a", b"upgrade: websocket", b"connection: upgrade",
             b"sec-websocket-key: " + KEY, b"sec-websocket-version: 13")))
    ok("names in upper case", "RFC 9110 5.1", request(
        leave=(b"Host", b"Upgrade", b"Connection", b"Sec-WebSocket-Key",
               b"Sec-WebSocket-Version"),
        add=(b"HOST: A", b"UPGRADE: WEBSOCKET", b"CONNECTION: UPGRADE",
             b"SEC-WEBSOCKET-KEY: " + KEY, b"SEC-WEBSOCKET-VERSION: 13")))
    for value in (b"WebSocket", b"WEBSOCKET", b"foo, websocket",
                  b"websocket, foo", b"h2c,websocket", b" \t websocket \t "):
        ok("Upgrade: %s" % value.decode().strip(), "RFC 6455 4.2.1",
           request(change={b"Upgrade": value}))
    for value in (b"upgrade", b"UPGRADE", b"keep-alive, Upgrade",
                  b"Upgrade, keep-alive", b"keep-alive,Upgrade",
                  b"keep-alive ,\tUpgrade", b", Upgrade ,,"):
        ok("Connection: %r" % value.decode(), "RFC 6455 4.2.1",
           request(change={b"Connection": value}))
    ok("Connection in two lines", "RFC 9110 5.3", request(
        change={b"Connection": b"keep-alive"}, add=(b"Connection: Upgrade",)))
    ok("Upgrade in two lines", "RFC 9110 5.3", request(
        change={b"Upgrade": b"foo"}, add=(b"Upgrade: websocket",)))
    ok("space and tabs around values", "RFC 9112 5", request(
        leave=(b"Sec-WebSocket-Key", b"Sec-WebSocket-Version"),
        add=(b"Sec-WebSocket-Key:\t " + KEY + b" \t",
             b"Sec-WebSocket-Version:13\t", b"X-Empty:", b"X-Blank:   ")))
    for target in (b"/", b"/chat?room=1&x=%20y", b"//double", b"/%e2%82%ac",
                   b"/a;b=c,d!$&'()*+,;=:@", b"/" + b"x" * 4000):
        ok("target %s" % show(target, 24), "RFC 9112 3.2",
           request(b"GET " + target + b" HTTP/1.1"))
    for target in (b"http://server.example.com/chat",
                   b"http://server.example.com:80/chat?x",
                   b"http://server.example.com", b"HTTP://Example.com/"):
        ok("absolute target %s" % target.decode(), "RFC 9112 3.2.2",
           request(b"GET " + target + b" HTTP/1.1"))
    for host in (b"localhost", b"example.com:80", b"127.0.0.1:9001",
                 b"[::1]", b"[2001:db8::1]:80", b"EXAMPLE.com.", b"a_b",
                 b"xn--caf-dma.example"):
        ok("Host: %s" % host.decode(), "RFC 9110 7.2",
           request(change={b"Host": host}))
    for origin in (b"http://example.com", b"null", b"https://a.b:444"):
        ok("Origin: %s" % origin.decode(), "RFC 6455 4.2.2",
           request(add=(b"Origin: " + origin,)))
    ok("headers of a browser", "RFC 6455 4.2.1", request(add=(
        b"User-Agent: Mozilla/5.0 (X11; Linux x86_64)", b"Accept: */*",
        b"Accept-Language: en,de;q=0.5", b"Accept-Encoding: gzip, deflate",
        b"Sec-WebSocket-Extensions: permessage-deflate; "
        b"client_max_window_bits", b"Cookie: a=b; c=\"d\"",
        b"Pragma: no-cache", b"Cache-Control: no-cache",
        b"Sec-Fetch-Mode: websocket")))
    ok("a hundred more headers", "RFC 9112 5", request(add=tuple(
        b"X-Header-%d: value %d" % (i, i) for i in range(100))))
    ok("Content-Length: 0", "RFC 9112 6", request(
        add=(b"Content-Length: 0",)))
    ok("bytes above 7F in a value", "RFC 9110 5.5", request(
        add=(b"X-Name: caf\xc3\xa9 \xff",)))
    for value in (b"permessage-deflate", b"permessage-deflate; "
                  b"client_max_window_bits; server_no_context_takeover",
                  b"a, b;c, d;e=f;g=\"h\"", b"foo ; bar = 1 , baz",
                  b"x-webkit-deflate-frame", b"foo, , bar"):
        ok("Sec-WebSocket-Extensions: %s" % value.decode(), "RFC 6455 9.1",
           request(add=(b"Sec-WebSocket-Extensions: " + value,)))
    ok("Sec-WebSocket-Extensions in two lines", "RFC 6455 9.1", request(
        add=(b"Sec-WebSocket-Extensions: foo",
             b"Sec-WebSocket-Extensions: bar; baz=2")))
    for value in (b"chat", b"chat, superchat", b"v1.a!#$%&'*+-.^_`|~",
                  b"chat,superchat"):
        ok("Sec-WebSocket-Protocol: %s" % value.decode(), "RFC 6455 4.2.2",
           request(add=(b"Sec-WebSocket-Protocol: " + value,)))
    ok("Sec-WebSocket-Protocol in two lines", "RFC 6455 11.3.4", request(
        add=(b"Sec-WebSocket-Protocol: a", b"Sec-WebSocket-Protocol: b")))
    for key in (b"AAAAAAAAAAAAAAAAAAAAAA==", b"/+/+/+/+/+/+/+/+/+/+/w==",
                b"AQIDBAUGBwgJCgsMDQ4PEA=="):
        ok("key %s" % key.decode(), "RFC 6455 4.2.2",
           request(change={b"Sec-WebSocket-Key": key}), key=key)

    # Method, version, target.
    for method in (b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH"):
        no("method %s" % method.decode(), "RFC 6455 4.2.1, RFC 9110 15.5.6",
           request(method + b" / HTTP/1.1"), 405)
    no("method HEAD", "RFC 6455 4.2.1, RFC 9110 9.3.2",
       request(b"HEAD / HTTP/1.1"), 405, no_body=True)
    no("method in lower case", "RFC 9110 9.1", request(b"get / HTTP/1.1"),
       400, 405, 501)
    no("plain GET", "RFC 9110 15.5.22", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
       426)
    no("plain GET of a browser", "RFC 9110 15.5.22",
       b"GET /index.html HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n"
       b"Accept: text/html\r\n\r\n", 426)
    for version in (b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/3.0"):
        no("version %s" % version.decode(), "RFC 6455 4.2.1",
           request(b"GET / " + version), 400, 426, 505)
    may("version HTTP/1.2", "RFC 9110 6.2", request(b"GET / HTTP/1.2"),
        400, 505)
    for first in (b"GET /", b"GET", b"/ HTTP/1.1", b"GET / http/1.1",
                  b"GET / HTTP/1.1 x", b"GET / HTTP/1", b"GET / HTTP/1.",
                  b"GET / HTTP/11", b"GET / HTTP/1.10", b"GET / HTTP/x.y",
                  b"GET  HTTP/1.1", b"GET /a b HTTP/1.1", b"G@T / HTTP/1.1",
                  b"GET / XTTP/1.1", b"GET / HTTP-1.1"):
        no("request line %r" % first.decode(), "RFC 9112 3", request(first),
           400, 405, 501, 505)
    for first in (b"GET  / HTTP/1.1", b"GET /  HTTP/1.1", b" GET / HTTP/1.1",
                  b"GET\t/\tHTTP/1.1", b"GET / HTTP/1.1 "):
        may("request line %r" % first.decode(), "RFC 9112 3", request(first),
            400, 405, 501, 505)
    for target in (b"/chat#fragment", b"#", b"/#", b"chat", b"*",
                   b"server.example.com:80", b"?x", b"ftp://a/", b"http://",
                   b"/a\x7fb", b"/a\x01b", b"/a\x00b", b"/a\tb"):
        no("target %r" % target.decode(), "RFC 6455 3, RFC 9112 3.2",
           request(b"GET " + target + b" HTTP/1.1"), 400)
    for first in (b"SSH-2.0-OpenSSH_9.2", b"\x16\x03\x01\x02\x00\x01\x00\x01"
                  b"\xfc\x03\x03" + bytes(32), b"\x80" * 40, b"\0" * 40):
        no("garbage %s" % show(first, 12), "RFC 9112 3",
           first + b"\r\n\r\n", 400, 405, 501, 505)
    may("an empty line before the request", "RFC 9112 2.2",
        b"\r\n" + request(), 400)

    # Host.
    no("no Host", "RFC 9112 3.2", request(leave=(b"Host",)), 400)
    no("two Hosts", "RFC 9112 3.2", request(add=(b"Host: other",)), 400)
    no("the same Host twice", "RFC 9112 3.2",
       request(add=(b"Host: server.example.com",)), 400)
    for host in (b"a b", b"a/b", b"a@b", b"a:b", b"a:", b"a:99999999",
                 b"[::1", b"::1", b"a\\b", b"<a>", b"a?b", b"a#b",
                 b"http://a"):
        if host == b"a:":  # an empty port is allowed by RFC 3986 3.2.3
            may("Host: a:", "RFC 9112 3.2", request(change={b"Host": host}),
                400)
            continue
        no("Host: %s" % host.decode(), "RFC 9112 3.2",
           request(change={b"Host": host}), 400)

    # Upgrade and Connection.
    clause = "RFC 6455 4.2.1"
    no("no Upgrade", clause, request(leave=(b"Upgrade",)), 400, 426)
    no("no Connection", clause, request(leave=(b"Connection",)), 400, 426)
    for value in (b"", b"websocke", b"websockets", b"web socket", b"h2c",
                  b"websocket-x", b"xwebsocket", b"\"websocket\""):
        no("Upgrade: %r" % value.decode(), clause,
           request(change={b"Upgrade": value}), 400, 426)
    for value in (b"", b"close", b"keep-alive", b"Upgrad", b"Upgrades",
                  b"Upgrade-Insecure", b"x Upgrade", b"keep-alive Upgrade"):
        no("Connection: %r" % value.decode(), clause,
           request(change={b"Connection": value}), 400, 426)

    # Key.
    no("no key", clause, request(leave=(b"Sec-WebSocket-Key",)), 400)
    no("two keys", "RFC 6455 11.3.1",
       request(add=(b"Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==",)), 400)
    no("the same key twice", "RFC 6455 11.3.1",
       request(add=(b"Sec-WebSocket-Key: " + KEY,)), 400)
    for value in (b"", b"A", b"AAAA", base64.b64encode(bytes(15)),
                  base64.b64encode(bytes(17)), base64.b64encode(bytes(18)),
                  base64.b64encode(bytes(32)), KEY[:-1], KEY[:-2], KEY + b"=",
                  b"=" + KEY[:-1], KEY[:10] + b"=" + KEY[11:],
                  KEY[:5] + b"*" + KEY[6:], KEY[:5] + b" " + KEY[6:],
                  b"_" + KEY[1:], b"-" + KEY[1:], KEY[:5] + b"\xe9" + KEY[6:],
                  KEY + b"," + KEY, KEY[:-3] + b"=" * 3, b"=" * 24,
                  b"\"" + KEY + b"\""):
        no("key %r" % value.decode("latin-1"), clause,
           request(change={b"Sec-WebSocket-Key": value}), 400)

    # Version.
    no("no version", "RFC 6455 4.2.1", request(
        leave=(b"Sec-WebSocket-Version",)), 400, 426, version=True)
    for value in (b"0", b"7", b"8", b"12", b"14", b"99", b"255"):
        no("version %s" % value.decode(), "RFC 6455 4.4",
           request(change={b"Sec-WebSocket-Version": value}), 426,
           version=True)
    for value in (b"13, 8", b"8, 13", b"", b"x", b"013", b"+13", b"13.0",
                  b"1 3", b"-13", b"256", b"130", b"1", b"13x",
                  b"4294967309", b"18446744073709551629"):
        no("version %r" % value.decode(), "RFC 6455 4.4, 11.3.5",
           request(change={b"Sec-WebSocket-Version": value}), 400, 426,
           version=True)
    no("two versions", "RFC 6455 11.3.5", request(
        add=(b"Sec-WebSocket-Version: 8",)), 400, 426, version=True)
    no("version 13 twice", "RFC 6455 11.3.5", request(
        add=(b"Sec-WebSocket-Version: 13",)), 400, 426, version=True)

    # Extensions and subprotocols that break their grammar.
    for value in (b"", b";", b"foo;", b"foo;;bar", b";foo", b"foo bar",
                  b"foo;=1", b"foo;a=", b"foo;a=\"b", b"foo;a=\"b c\"",
                  b"foo;a=\"\"", b"foo;a=b c", b"foo=1", b"fo@o", b"foo;b@r",
                  b"foo/1", b"(foo)", b"foo;a=b=c", b"foo;a=\"b\"c", b",",
                  b"foo;a=\"\\", b"foo\xe9"):
        no("Sec-WebSocket-Extensions: %r" % value.decode("latin-1"),
           "RFC 6455 9.1",
           request(add=(b"Sec-WebSocket-Extensions: " + value,)), 400)
    for value in (b"", b",", b"a b", b"a/b", b"a@b", b"\"a\"", b"a;b", b"(a)",
                  b"a\xe9", b"a, b c", b"a=b"):
        no("Sec-WebSocket-Protocol: %r" % value.decode("latin-1"),
           "RFC 6455 11.3.4",
           request(add=(b"Sec-WebSocket-Protocol: " + value,)), 400)
    may("the same subprotocol twice", "RFC 6455 4.1",
        request(add=(b"Sec-WebSocket-Protocol: a, a",)), 400)

    # The syntax of header lines.
    clause = "RFC 9112 5"
    for line in (b"X-Header : x", b"X-Header\t: x", b"X Header: x", b": x",
                 b"X-Header", b"X(Header): x", b"X\x00Header: x",
                 b"X\x01: x", b"X\xe9: x", b"\"X\": x", b"X/Y: x",
                 b"X-Header: a\x00b", b"Host : other"):
        no("header line %r" % line.decode("latin-1"), clause,
           request(add=(line,)), 400)
    for line in (b"X-Header: a\x01b", b"X-Header: a\x7fb", b"X-Header: a\rb",
                 b"X-Header: a\x1bb"):
        may("header line %r" % line.decode(), "RFC 9110 5.5",
            request(add=(line,)), 400)
    may("obs-fold", "RFC 9112 5.2",
        request(add=(b"X-Header: a", b" b")), 400)
    may("obs-fold with a tab", "RFC 9112 5.2",
        request(add=(b"X-Header: a", b"\tb")), 400)
    may("a line that begins with a space, behind the request line",
        "RFC 9112 2.2", request(b"GET / HTTP/1.1\r\n X: y"), 400)
    may("lines that end with a bare LF", "RFC 9112 2.2",
        request().replace(b"\r\n", b"\n"), 400)
    may("one line that ends with a bare LF", "RFC 9112 2.2",
        request(add=(b"X-A: a\nX-B: b",)), 400)
    no("a header that hides in obs-fold", "RFC 9112 5.2", request(
        leave=(b"Sec-WebSocket-Key",),
        add=(b"X-Header: a", b" Sec-WebSocket-Key: " + KEY)), 400)

    # Bodies.
    body = b"hello"
    no("a body with Content-Length", "RFC 9112 6",
       request(add=(b"Content-Length: 5",)) + body, 400, 413)
    no("a body in chunks", "RFC 9112 6", request(
        add=(b"Transfer-Encoding: chunked",)) + b"5\r\nhello\r\n0\r\n\r\n",
        400, 411, 413, 501)
    no("Content-Length that is no number", "RFC 9112 6.3",
       request(add=(b"Content-Length: x",)), 400)
    no("two Content-Lengths", "RFC 9112 6.3", request(
        add=(b"Content-Length: 0", b"Content-Length: 5")) + body, 400, 413)

    # Size.
    no("target of 20,000 bytes", "RFC 9112 3",
       request(b"GET /" + b"x" * 20000 + b" HTTP/1.1"), 414, 431)
    no("header of 20,000 bytes", "RFC 6585 5",
       request(add=(b"X-Header: " + b"x" * 20000,)), 431)
    no("header name of 20,000 bytes", "RFC 6585 5",
       request(add=(b"X" * 20000 + b": x",)), 431)
    no("2,000 headers", "RFC 6585 5", request(add=tuple(
        b"X-%d: value" % i for i in range(2000))), 431)
    no("a head that never ends", "RFC 6585 5",
       request()[:-2] + b"X-Header: " + b"x" * 100000, 431)
    no("a request line that never ends", "RFC 9112 3",
       b"GET /" + b"x" * 100000, 414, 431)
    no("1 MiB behind a refused request is no reset", "RFC 9112 9.6",
       b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + bytes(1 << 20), 426)
    largest = request(add=(b"X-Header: ",))
    ok("head of 16 KiB", "RFC 6585 5", request(
        add=(b"X-Header: " + b"x" * (16384 - len(largest)),)))
    no("head of 16 KiB and one byte", "RFC 6585 5", request(
        add=(b"X-Header: " + b"x" * (16385 - len(largest)),)), 431)

    # What comes with the head.
    def pipelined(frames, chop=0):
        def run():
            p = connect(site.address)
            try:
                p.send(request() + frames(p), chop)
                check_101(read_head(p, "a 101 response"))
                p.expect_message(TEXT, b"early")
                p.expect_message(BINARY, b"bird")
                p.finish()
            finally:
                p.sock.close()
        return run
    for chop in (0, 1):
        add("frames behind the head%s" % (", octet-wise" if chop else ""),
            "RFC 6455 4.1", pipelined(lambda p: p.frame(TEXT, b"early")
                                      + p.frame(BINARY, b"bird"), chop))

    def half_frame():
        p = connect(site.address)
        try:
            frame = p.frame(TEXT, b"early")
            p.send(request() + frame[:5])
            check_101(read_head(p, "a 101 response"))
            p.send(frame[5:])
            p.expect_message(TEXT, b"early")
            p.finish()
        finally:
            p.sock.close()
    add("half a frame behind the head", "RFC 6455 4.1", half_frame)

    def everything_at_once():
        p = connect(site.address)
        try:
            p.send(request() + p.frame(TEXT, b"hello")
                   + p.close_frame(1000, b"bye"))
            p.sock.shutdown(socket.SHUT_WR)
            check_101(read_head(p, "a 101 response"))
            p.expect_message(TEXT, b"hello")
            p.expect_closed(1000)
        finally:
            p.sock.close()
    add("request, message, Close and end in one write", "RFC 6455 4.1, 7.1",
        everything_at_once)

    def wrong_frame():
        p = connect(site.address)
        try:
            p.send(request() + build_frame(TEXT, b"unmasked"))
            check_101(read_head(p, "a 101 response"))
            p.expect_failure(1002)
        finally:
            p.sock.close()
    add("a wrong frame behind the head", "RFC 6455 5.1", wrong_frame)

    # Ends.
    no("end of the stream inside the head", "RFC 9112 8", request()[:60], 400,
       408, shut=True, silent=True)
    no("end of the stream before the head", "RFC 9112 8", b"", 400, 408,
       shut=True, silent=True)

    def ends_after_head():
        p = connect(site.address)
        try:
            p.send(request())
            check_101(read_head(p, "a 101 response"))
            p.sock.shutdown(socket.SHUT_WR)
            try:
                p.more("the end of the stream")
            except Ended:
                return
            # A Close frame before the end is a courtesy.
            p.expect_close((1002, 1006, 1011, 1000, 1001, None))
            p.expect_end()
        finally:
            p.sock.close()
    add("end of the stream behind the handshake", "RFC 6455 7.1.5",
        ends_after_head)

    def resets():
        for part in (request()[:60], request(),
                     request() + build_frame(TEXT, b"x" * 100, key=b"abcd",
                                             length=5000),
                     request() + build_frame(CONT, b"x", key=b"abcd")):
            for _ in range(10):
                p = connect(site.address)
                p.send(part)
                p.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                  struct.pack("ii", 1, 0))
                p.sock.close()
        p = open_session(site.address)
        p.echo(TEXT, b"still there")
        p.finish()
        p.sock.close()
    add("resets at every stage leave the server whole", "RFC 6455 7.1.7",
        resets)

    def end_in_frame():
        p = open_session(site.address)
        try:
            p.send(p.frame(BINARY, b"x" * 10, length=1000))
            p.sock.shutdown(socket.SHUT_WR)
            try:
                p.more("the end of the stream")
            except Ended:
                return
            p.expect_close((1002, 1011, 1001, None))
            p.expect_end()
        finally:
            p.sock.close()
    add("end of the stream inside a frame", "RFC 6455 7.1.5", end_in_frame)

    def lingering():
        """A client that never ends TCP must not hold the server's socket."""
        p = open_session(site.address)
        try:
            p.put(3, b"bad")
            p.expect_failure(1002)
            deadline = time.monotonic() + TIMEOUT
            while time.monotonic() < deadline:
                try:
                    p.sock.sendall(b"x")
                except OSError:
                    return
                threading.Event().wait(0.05)
            raise Failure("that the server lets go of the socket",
                          "a socket that is open after %d s" % TIMEOUT)
        finally:
            p.sock.close()
    add("a failed connection is let go", "RFC 6455 7.1.1", lingering)

    def many():
        """500 connections at the same time."""
        peers = [open_session(site.address) for _ in range(500)]
        try:
            for i, p in enumerate(peers):
                p.put(TEXT, b"%d" % i)
            for i, p in enumerate(peers):
                p.expect_message(TEXT, b"%d" % i)
            for p in peers:
                p.send(p.close_frame(1000))
            for p in peers:
                p.expect_closed(1000)
        finally:
            for p in peers:
                p.sock.close()
    add("500 connections at the same time", "RFC 6455 4.1", many)

    def slow_head():
        """Half-sent heads must not hold up others."""
        slow = [connect(site.address) for _ in range(50)]
        try:
            for p in slow:
                p.send(request()[:40])
            p = open_session(site.address)
            p.echo(TEXT, b"quick")
            p.finish()
            p.sock.close()
            for p in slow:
                p.send(request()[40:])
            for p in slow:
                check_101(read_head(p, "a 101 response"))
                p.finish()
        finally:
            for p in slow:
                p.sock.close()
    add("slow handshakes delay nobody", "RFC 6455 4.2", slow_head)

    # Time. The handshake is given 10 s; byte by byte does not extend it.
    def too_slow(first, drip, silent):
        def run():
            p = connect(site.address)
            p.sock.settimeout(20)
            began = time.monotonic()
            stop = threading.Event()

            def dripping():
                while not stop.wait(0.5):
                    try:
                        p.sock.sendall(b"x")
                    except OSError:
                        return
            try:
                p.send(first)
                if drip:
                    threading.Thread(target=dripping, daemon=True).start()
                wanted = "408 after 10 s"
                if not p.pending:
                    try:
                        p.more(wanted)
                    except Ended:
                        pass
                took = time.monotonic() - began
                stop.set()
                if not 8 < took < 15:
                    raise Failure(wanted, "an answer after %.1f s" % took)
                if p.pending or not silent:
                    read_refusal(p, (408,))
            finally:
                stop.set()
                p.sock.close()
        return run
    if not fast:
        add("half a head, then nothing", "RFC 9110 15.5.9",
            too_slow(request()[:60], False, False), 0.5)
        add("a head that drips in", "RFC 9110 15.5.9",
            too_slow(request()[:-2] + b"X-Header: ", True, False), 0.5)
        add("a connection without a byte", "RFC 9110 15.5.9",
            too_slow(b"", False, True), 0.5)
    return cases


# ------------------------------------------------------------------ limits

def limit_cases(limit):
    """max_message holds for frames and for what is put together of them."""
    clause = "RFC 6455 7.4.1, 10.4"

    def fits(p):
        p.echo(BINARY, b"x" * limit)
        p.send(p.fragments(BINARY, [b"y" * (limit - 10), b"", b"z" * 10]))
        p.expect_message(BINARY, b"y" * (limit - 10) + b"z" * 10)
        p.finish()

    def head(length, op=BINARY):
        def run(p):
            # The payload never comes: the length alone must be enough.
            p.put(op, b"", length=length)
            p.expect_failure(1009)
        return run

    def sum_(p):
        p.put(TEXT, b"x" * (limit - 10), fin=False)
        p.put(CONT, b"x" * 11)
        p.expect_failure(1009)

    def sum_head(p):
        p.put(TEXT, b"x" * (limit - 10), fin=False)
        p.put(CONT, b"", length=(1 << 63) - 1)
        p.expect_failure(1009)

    def with_payload(p):
        p.put(BINARY, b"x" * (limit + 1))
        p.expect_failure(1009)

    def control(p):
        p.put(TEXT, b"x" * limit, fin=False)
        p.put(PING, b"p" * 125)
        p.expect_pong(b"p" * 125)
        p.put(CONT, b"")
        p.expect_message(TEXT, b"x" * limit)
        p.finish()
    name = "limit %d: " % limit
    weight = 2 if limit > 100000 else 1
    return [
        Case(name + "a message that just fits", clause, fits, weight),
        Case(name + "one byte too many, head only", clause, head(limit + 1)),
        Case(name + "text, one byte too many, head only", clause,
             head(limit + 1, TEXT)),
        Case(name + "4 GiB", clause, head(1 << 32)),
        Case(name + "4 GiB + 1", clause, head((1 << 32) + 1)),
        Case(name + "2^63 - 1", clause, head((1 << 63) - 1)),
        Case(name + "fragments that come to one byte too many", clause, sum_,
             weight),
        Case(name + "fragments whose sum overflows", clause, sum_head,
             weight),
        Case(name + "one byte too many, all sent", clause, with_payload,
             weight),
        Case(name + "control frames do not count", clause, control, weight)]


# ------------------------------------------------------- end of the server

def end_cases(command):
    def goes(number, busy):
        def run():
            server = Server(command + ["--port", "0"])
            peers = []
            try:
                peers = [open_session(server.address) for _ in range(5)]
                if busy:
                    peers[0].put(TEXT, b"unfinished", fin=False)
                    peers[1].send(peers[1].frame(BINARY, b"", length=100000))
                    peers.append(connect(server.address))
                    peers[-1].send(request()[:50])
                server.check_alive()
                server.process.send_signal(number)
                for p in peers[:5]:
                    # 1001, or TCP's end alone: then the program did not wait.
                    wanted = "Close 1001 or the end of the stream"
                    try:
                        if not p.pending:
                            p.more(wanted)
                    except Ended:
                        continue
                    p.expect_close(1001)
                    if busy and p is peers[1]:
                        p.sock.close()  # inside its frame
                        continue
                    p.send(p.close_frame(1001))
                    p.expect_end()
                server.wait()
            finally:
                for p in peers:
                    p.sock.close()
                if server.process.poll() is None:
                    server.process.kill()
        return run

    def taken():
        """A port that is in use: an error, not a silent server."""
        server = Server(command + ["--port", "0"])
        try:
            again = subprocess.run(
                command + ["--port", str(server.address[1])],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, timeout=TIMEOUT)
            if again.returncode <= 0 or not again.stderr:
                raise Failure("a failure with a reason on stderr",
                              "status %d, %s" % (again.returncode,
                                                 show(again.stderr)))
            p = open_session(server.address)
            p.finish()
            p.sock.close()
            server.stop()
        finally:
            if server.process.poll() is None:
                server.process.kill()

    def stopped(number):
        def run():
            server = Server(command + ["--port", "0"])
            try:
                server.stop(number)
            finally:
                if server.process.poll() is None:
                    server.process.kill()
        return run
    clause = "RFC 6455 7.4.1"
    return [
        Case("end: SIGTERM with nobody there", clause,
             stopped(signal.SIGTERM)),
        Case("end: SIGINT with nobody there", clause, stopped(signal.SIGINT)),
        Case("end: SIGTERM with idle connections", clause,
             goes(signal.SIGTERM, False)),
        Case("end: SIGINT with connections at work", clause,
             goes(signal.SIGINT, True)),
        Case("end: a port that is in use", clause, taken)]


def main():
    o = arguments("Checks a WebSocket echo server against RFC 6455.",
                  "conformance of the server", "target")
    runner = Runner(o)
    url = re.match(r"ws://([^/:]+|\[[^]]+\]):(\d+)", o.target[0])
    small = None
    if url:
        target = Target((url.group(1).strip("[]"), int(url.group(2))))
    else:
        target = Target(command=o.target + ["--port", "0"])
        small = Target(command=o.target + ["--port", "0", "--max-message",
                                           "1000"])

    def sessions():
        runner.run(session_cases("client"), run_session(target))
        if small:
            runner.run(limit_cases(DEFAULT_LIMIT), run_session(target))
            runner.run(limit_cases(1000), run_session(small))

    try:
        runner.run_beside(handshake_cases(target, o.fast),
                          lambda c: target.call(c.run), sessions)
        if small:
            runner.run(end_cases(o.target), lambda c: c.run())
            for which, one in (("", target), (" with the small limit",
                                              small)):
                runner.run([Case("end: the server%s, after all cases" % which,
                                 "RFC 6455 7.1", one.server.stop)],
                           lambda c: c.run())
    finally:
        for one in (target, small):
            if one and one.server and one.server.process.poll() is None:
                one.server.process.kill()
    return runner.end()


if __name__ == "__main__":
    sys.exit(main())
