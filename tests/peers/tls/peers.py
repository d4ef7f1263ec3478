"""wss:// between the examples and other people's TLS.

    python3 peers.py PKI WORK [NODE]

PKI has the certificates, WORK the programs.  Every case prints a line when it
fails; the last one counts."""
import asyncio
import base64
import contextlib
import hashlib
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading

import websockets

PKI, WORK = sys.argv[1:3]
NODE = sys.argv[3] if len(sys.argv) > 3 else None
HERE = os.path.dirname(os.path.abspath(__file__))
LIMIT = 20  # seconds for anything
CASES = []


def case(f):
    CASES.append(f)
    return f


def pki(name):
    return os.path.join(PKI, name)


def equal(what, got, want):
    if got != want:
        raise AssertionError("%s: got %r, want %r" % (what, got, want))


def has(what, text, part):
    if part not in text:
        raise AssertionError("%s: no %r in %r" % (what, part, text[-1500:]))


def run(*command, data=b"", env=None, status=None):
    """Output and errors together."""
    p = subprocess.run(command, input=data, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, timeout=LIMIT,
                       env=dict(os.environ, **(env or {})))
    text = p.stdout.decode("utf-8", "replace")
    if status is not None:
        equal("status of %s (%s)" % (command[0], text), p.returncode, status)
    return text


def program(name, *more, **how):
    return run(os.path.join(WORK, name), *more, **how)


@contextlib.contextmanager
def child(*command):
    p = subprocess.Popen(command, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT,
                         stdin=subprocess.PIPE)
    guard = threading.Timer(LIMIT, p.kill)
    guard.start()
    try:
        yield p
    finally:
        guard.cancel()
        p.kill()
        p.wait()
        p.stdout.close()
        p.stdin.close()


@contextlib.contextmanager
def our_server(name):
    """echo_server with a certificate; its port.  It has to end in order."""
    with child(os.path.join(WORK, "echo_server"), "--port", "0",
               "--cert", pki(name + ".pem"), "--key", pki(name + ".key")) as p:
        line = p.stdout.readline().decode()
        port = int(re.search(r"wss://127\.0\.0\.1:(\d+)/", line).group(1))
        yield port
        p.send_signal(signal.SIGTERM)
        equal("the server's status", p.wait(LIMIT), 0)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def s_server(name, *more):
    """openssl's server, which answers HTTP with a page."""
    port = free_port()
    with child("openssl", "s_server", "-accept", "127.0.0.1:%d" % port,
               "-cert", pki(name + ".pem"), "-key", pki(name + ".key"),
               "-cert_chain", pki(name + ".pem"), "-www", *more) as p:
        while b"ACCEPT" not in p.stdout.readline():
            equal("s_server", p.poll(), None)
        yield port


@contextlib.contextmanager
def tcp_server(talk):
    """talk(connection) in a thread, for one connection."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def serve():
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(LIMIT)
                talk(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(LIMIT)


def server_context(name, low=ssl.TLSVersion.TLSv1_2,
                   high=ssl.TLSVersion.TLSv1_2):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki(name + ".pem"), pki(name + ".key"))
    context.minimum_version = low
    context.maximum_version = high
    return context


def client_context():
    return ssl.create_default_context(cafile=pki("cas.pem"))


def wscat(port, *more, host="localhost", **how):
    return program("wscat", *more, "wss://%s:%d/" % (host, port), **how)


# ------------------------------------------------------------- s_server --

TRUST = ("--ca", pki("cas.pem"))
# An answer of 200 is -www's page: TLS stood, and HTTP came through.


@case
def s_server_speaks_tls_1_2():
    for name in ("rsa", "p256", "p384", "chain", "rsa4096"):
        with s_server(name, "-tls1_2") as port:
            has(name, wscat(port, *TRUST, status=1), "200")


@case
def every_suite_of_ours():
    for name, suite in (
            ("p256", "ECDHE-ECDSA-AES128-GCM-SHA256"),
            ("p256", "ECDHE-ECDSA-AES256-GCM-SHA384"),
            ("p256", "ECDHE-ECDSA-CHACHA20-POLY1305"),
            ("rsa", "ECDHE-RSA-AES128-GCM-SHA256"),
            ("rsa", "ECDHE-RSA-AES256-GCM-SHA384"),
            ("rsa", "ECDHE-RSA-CHACHA20-POLY1305")):
        with s_server(name, "-tls1_2", "-cipher", suite) as port:
            has(suite, wscat(port, *TRUST, status=1), "200")


@case
def no_other_suite():
    for name, suite in (("rsa", "AES128-GCM-SHA256"),
                        ("rsa", "ECDHE-RSA-AES128-SHA"),
                        ("rsa", "DHE-RSA-AES128-GCM-SHA256"),
                        ("p256", "ECDHE-ECDSA-AES128-SHA256")):
        with s_server(name, "-tls1_2", "-cipher", suite) as port:
            has(suite, wscat(port, *TRUST, status=1),
                "TLS failed: the peer refuses: handshake failure: nothing in "
                "common (alert 40)")


@case
def a_server_of_tls_1_3_alone_is_named():
    with s_server("p256", "-tls1_3") as port:
        has("wscat", wscat(port, *TRUST, status=1),
            "TLS failed: the server requires TLS 1.3")


@case
def a_server_of_tls_1_1_is_refused():
    with s_server("rsa", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0") as port:
        has("wscat", wscat(port, *TRUST, status=1), "TLS failed: ")


@case
def certificates_are_judged():
    for name, line in (
            ("expired", "the certificate expired on 2024-05-01"),
            ("wrong_name", "the certificate is for b.example, not localhost"),
            ("unknown_root", "signed by an unknown authority: CN=Other CA"),
            ("missing", "signed by an unknown authority: CN=Middle"),
            ("self_signed", "the certificate is self-signed: CN=alone"),
            ("client_use", "the certificate is not for servers")):
        with s_server(name, "-tls1_2", "-cipher",
                      "ALL:@SECLEVEL=0") as port:
            text = wscat(port, "--ca", pki("ca.pem"), status=1)
            has(name, text, "TLS failed: " + line)
            has(name, wscat(port, "--insecure", status=1), "200")


@case
def sni_and_alpn():
    seen = {}

    def note(connection, name, _):
        seen["sni"] = name

    context = server_context("p256")
    context.set_alpn_protocols(["h2", "http/1.1"])
    context.sni_callback = note

    def talk(connection):
        with context.wrap_socket(connection, server_side=True) as s:
            seen["alpn"] = s.selected_alpn_protocol()

    with tcp_server(talk) as port:
        wscat(port, *TRUST, status=1)
    equal("server", seen, {"sni": "localhost", "alpn": "http/1.1"})
    with tcp_server(talk) as port:
        wscat(port, *TRUST, host="127.0.0.1", status=1)
    equal("an address is no name", seen["sni"], None)


@case
def authorities_of_the_environment():
    with s_server("p256", "-tls1_2") as port:
        for name, line in (("ca.pem", "200"),
                           ("ca_ec.pem", "signed by an unknown authority"),
                           ("empty.pem", "no list of authorities"),
                           ("nowhere", "no list of authorities")):
            has(name, wscat(port, env={"SSL_CERT_FILE": pki(name)},
                            status=1), line)


@case
def a_client_certificate():
    context = server_context("p256")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(pki("ca.pem"))
    seen = []

    def talk(connection):
        with contextlib.suppress(ssl.SSLError):
            s = context.wrap_socket(connection, server_side=True)
            seen.append(s.getpeercert()["subject"][0][0][1])
            s.close()

    for name in ("client", "client_ec"):
        with tcp_server(talk) as port:
            wscat(port, *TRUST, "--cert", pki(name + ".pem"), "--key",
                  pki(name + ".key"), status=1)
    equal("the server has seen", seen, ["a client", "a client"])
    with tcp_server(talk) as port:
        has("none", wscat(port, *TRUST, status=1), "TLS failed: ")
    with tcp_server(talk) as port:
        has("a wrong key", wscat(port, *TRUST, "--cert", pki("client.pem"),
                                 "--key", pki("client_ec.key"), status=1),
            "TLS failed: options.tls_key does not belong to the first "
            "certificate of options.tls_cert")


def accept_of(head):
    key = re.search(rb"(?i)sec-websocket-key: (\S+)", head).group(1)
    digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
    return base64.b64encode(digest.digest())


# ------------------------------------------------- peers that misbehave --

@case
def renegotiation_is_refused_to_a_server():
    """s_server's page is typed by us: a handshake, then its command R."""
    port = free_port()
    with child("openssl", "s_server", "-accept", "127.0.0.1:%d" % port,
               "-cert", pki("p256.pem"), "-key", pki("p256.key"),
               "-tls1_2") as p:
        while b"ACCEPT" not in p.stdout.readline():
            equal("s_server", p.poll(), None)
        with child(os.path.join(WORK, "wscat"), *TRUST, "--wait", "60",
                   "wss://localhost:%d/" % port) as ours:
            head = b""
            while b"Sec-WebSocket-Key" not in head:
                head += p.stdout.readline()
            p.stdin.write(b"HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\n"
                          b"Connection: Upgrade\r\nSec-WebSocket-Accept: "
                          + accept_of(head) + b"\r\n\r\n")
            p.stdin.flush()
            has("wscat", ours.stdout.readline().decode(), "connected")
            p.stdin.write(b"R\n")
            p.stdin.flush()
            text = line = "-"
            while line and "CLOSED" not in line:
                line = p.stdout.readline().decode("utf-8", "replace")
                text += line
    has("s_server", text, "no renegotiation")



@case
def a_cut_stream_is_told():
    def talk(connection):
        s = server_context("p256").wrap_socket(connection, server_side=True)
        s.recv(4096)
        socket.socket(fileno=s.detach()).close()  # no close_notify

    with tcp_server(talk) as port:
        has("wscat", wscat(port, *TRUST, status=1),
            "the stream was cut: it ended without TLS's close_notify")


@case
def garbage():
    def talk(connection):
        connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
        connection.recv(4096)

    with tcp_server(talk) as port:
        has("wscat", wscat(port, *TRUST, status=1), "TLS failed: ")


@case
def plain_http_at_a_server_of_tls():
    with our_server("p256") as port:
        with socket.create_connection(("127.0.0.1", port)) as s:
            s.settimeout(LIMIT)
            s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                while s.recv(4096):
                    pass
        has("then", s_client(port, "-tls1_2"), "Verify return code: 0")


@case
def who_stalls_in_mid_handshake_stalls_nobody():
    with our_server("p256") as port:
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                s = stack.enter_context(
                    socket.create_connection(("127.0.0.1", port)))
                s.sendall(b"\x16\x03\x01\x00\xc8\x01")
            has("another", s_client(port, "-tls1_2"),
                "Verify return code: 0")


# ------------------------------------------------------------- s_client --

def s_client(port, *more, data=b""):
    return run("openssl", "s_client", "-connect", "127.0.0.1:%d" % port,
               "-servername", "localhost", "-CAfile", pki("cas.pem"),
               "-verify_hostname", "localhost", *more, data=data)


@case
def s_client_speaks_tls_1_2():
    for name in ("rsa", "p256", "p384", "chain", "rsa4096"):
        with our_server(name) as port:
            text = s_client(port, "-tls1_2", "-alpn", "h2,http/1.1")
            has(name, text, "Verify return code: 0 (ok)")
            has(name, text, "Protocol  : TLSv1.2")
            has(name, text, "ALPN protocol: http/1.1")
            has(name, text, "ECDHE-")


@case
def s_client_of_other_versions():
    with our_server("p256") as port:
        for version in ("-tls1_3", "-tls1_1"):
            has(version, s_client(port, version, "-cipher",
                                  "ALL:@SECLEVEL=0"),
                "no peer certificate available")
        has("then", s_client(port, "-tls1_2"), "Verify return code: 0")


@case
def sessions_are_resumed():
    with our_server("rsa") as port:
        text = s_client(port, "-tls1_2", "-reconnect", "-no_ticket")
        equal("resumed", text.count("Reused, TLSv1.2"), 5)


@case
def renegotiation_is_refused():
    with our_server("p256") as port:
        with child("openssl", "s_client", "-connect", "127.0.0.1:%d" % port,
                   "-tls1_2") as p:
            while b"Verify return code" not in p.stdout.readline():
                equal("s_client", p.poll(), None)
            p.stdin.write(b"R\n")
            p.stdin.flush()
            has("the end", p.stdout.read().decode("utf-8", "replace"),
                "RENEGOTIATING")
        has("then", s_client(port, "-tls1_2"), "Verify return code: 0")


# --------------------------------------------------- python's websockets --

SIZES = (0, 1, 125, 16384, 16385, 300000, 3000000)


@case
def websockets_client():
    async def talk(port):
        async with websockets.connect("wss://localhost:%d/" % port,
                                      ssl=client_context(),
                                      max_size=None) as ws:
            for size in SIZES:
                data = os.urandom(size)
                await ws.send(data)
                equal("echo of %d" % size, await ws.recv() == data, True)
            await asyncio.gather(*(ws.send(b"x" * 70000)
                                   for _ in range(50)))
            for _ in range(50):
                equal("echo", len(await ws.recv()), 70000)

    for name in ("rsa", "p256", "p384"):
        with our_server(name) as port:
            asyncio.run(asyncio.wait_for(talk(port), LIMIT))


@case
def websockets_server():
    """echo_client sends back what this server says."""
    got = {}

    async def handler(ws, *_):
        for size in SIZES:
            data = os.urandom(size)
            await ws.send(data)
            equal("echo of %d" % size, await ws.recv() == data, True)
        await ws.close(1000)
        got["done"] = True

    async def main():
        async with websockets.serve(handler, "127.0.0.1", 0, max_size=None,
                                    ssl=server_context("chain")) as server:
            port = server.sockets[0].getsockname()[1]
            p = await asyncio.create_subprocess_exec(
                os.path.join(WORK, "echo_client"),
                "wss://localhost:%d/" % port,
                env=dict(os.environ, SSL_CERT_FILE=pki("cas.pem")))
            equal("echo_client", await p.wait(), 0)

    asyncio.run(asyncio.wait_for(main(), LIMIT))
    equal("the server", got, {"done": True})


@case
def wscat_talks():
    with our_server("p256") as port:
        has("wscat", wscat(port, "--wait", "1", *TRUST, data=b"one\ntwo\n",
                           status=0), "\none\ntwo\n")


# ------------------------------------- another library behind options.tls --

LATEST = ssl.TLSVersion.TLSv1_3


@case
def openssl_plugged_in_as_a_server():
    async def talk(port):
        context = client_context()
        context.minimum_version = LATEST
        async with websockets.connect("wss://localhost:%d/" % port,
                                      ssl=context, max_size=None) as ws:
            for size in SIZES:
                data = os.urandom(size)
                await ws.send(data)
                equal("echo of %d" % size, await ws.recv() == data, True)

    port = free_port()
    with child(os.path.join(WORK, "tls_openssl"), "serve", pki("chain.pem"),
               pki("chain.key"), str(port)) as p:
        has("tls_openssl", p.stdout.readline().decode(), "listening")
        asyncio.run(asyncio.wait_for(talk(port), LIMIT))
        equal("wscat", wscat(port, *TRUST, "--wait", "1", data=b"one\n",
                             status=0), 'wscat: connected\none\n'
              'wscat: closed with 1000 ""\n')
        equal("itself", program("tls_openssl", "wss://localhost:%d/" % port,
                                pki("cas.pem"), status=0), "hello\n")


@case
def openssl_plugged_in_as_a_client():
    for name, line in (("rsa", None), ("chain", None),
                       ("wrong_name", "hostname mismatch"),
                       ("expired", "certificate has expired"),
                       ("self_signed", "self-signed certificate")):
        with s_server(name, "-tls1_3") as port:
            has(name, program("tls_openssl", "wss://localhost:%d/" % port,
                              pki("ca.pem"), status=1),
                "TLS failed: the certificate: " + line if line else "200")


# ------------------------------------------------------------- node's ws --

def node_client():
    with our_server("rsa") as port:
        equal("node", run(NODE, os.path.join(HERE, "echo.js"), "client",
                          "wss://localhost:%d/" % port, pki("cas.pem")),
              "same\nclosed 1000\n")


def node_server():
    with child(NODE, os.path.join(HERE, "echo.js"), "server",
               pki("chain.pem"), pki("chain.key")) as p:
        port = int(p.stdout.readline())
        has("wscat", wscat(port, "--wait", "1", *TRUST, data=b"one\ntwo\n",
                           status=0), "\none\ntwo\n")


if NODE:
    CASES += [node_client, node_server]


def main():
    failed = 0
    for f in CASES:
        try:
            f()
        except Exception as e:  # what it is, and on with the next
            failed += 1
            print("FAIL %s: %s: %s" % (f.__name__, type(e).__name__, e))
    print("tls: %d passed, %d failed, 0 skipped"
          % (len(CASES) - failed, failed))
    sys.exit(failed > 0)


main()
