#!/usr/bin/env python3
"""nginx and haproxy in front of our servers.

    run.py nginx|haproxy DIRECTORY WORK [PYTHON]

DIRECTORY holds talk, obey, chat and plain_server; configurations and logs go
to WORK.  With PYTHON, one that has the package `websockets`, all of
../python/peer.py's client goes through the proxy too.  Prints a line for each
case that fails, and last how many did.
"""
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request

PEERS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path.insert(0, os.path.join(PEERS, "steps"))
import common

CODES = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013,
         1014, 3000, 3999, 4000, 4999)
HERE = WORK = None

# Ports: for all the rest, cuts what is idle, leads to nothing, the chat,
# echo_server.
NGINX = """daemon off;
worker_processes 1;
%(user)s
pid %(work)s/nginx.pid;
error_log %(work)s/nginx_error.log;
events { worker_connections 1024; }
http {
    access_log off;
    client_body_temp_path %(work)s/nginx_body;
    proxy_temp_path %(work)s/nginx_proxy;
    fastcgi_temp_path %(work)s/nginx_fastcgi;
    uwsgi_temp_path %(work)s/nginx_uwsgi;
    scgi_temp_path %(work)s/nginx_scgi;
    map $http_upgrade $connection_upgrade { default upgrade; '' close; }
    proxy_http_version 1.1;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $connection_upgrade;
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
%(servers)s
}
"""
NGINX_SERVER = """    server {
        listen 127.0.0.1:%d;
        location / { proxy_pass http://127.0.0.1:%d; %s }
    }
"""
HAPROXY = """global
    maxconn 2000
defaults
    mode http
    retries 0
    option forwardfor
    timeout connect 10s
    timeout client 60s
    timeout server 60s
    timeout tunnel 60s
%(servers)s
"""
HAPROXY_SERVER = """frontend front_%(n)d
    bind 127.0.0.1:%(port)d
    default_backend back_%(n)d
backend back_%(n)d
    %(more)s
    server one 127.0.0.1:%(to)d
"""
IDLE = {"nginx": "proxy_read_timeout 2s;", "haproxy": "timeout tunnel 2s"}
# What the proxy says when nobody is behind it.
NOBODY = {"nginx": "refused:502 Bad Gateway",
          "haproxy": "refused:503 Service Unavailable"}


# ------------------------------------------------------------------ proxies

def nginx_configuration(routes):
    text = "".join(NGINX_SERVER % route for route in routes)
    user = "user root;" if os.getuid() == 0 else ""
    return NGINX % {"work": WORK, "servers": text, "user": user}


def haproxy_configuration(routes):
    return HAPROXY % {"servers": "".join(
        HAPROXY_SERVER % {"n": n, "port": port, "to": to, "more": more}
        for n, (port, to, more) in enumerate(routes))}


@contextlib.contextmanager
def proxy(kind, *routes):
    """(port behind it, more configuration)...; yields the process and the
    addresses in front of these."""
    path = os.path.join(WORK, kind + ".conf")

    def command(*ports):
        whole = [(port, *route) for port, route in zip(ports, routes)]
        with open(path, "w") as out:
            out.write(nginx_configuration(whole) if kind == "nginx"
                      else haproxy_configuration(whole))
        if kind == "nginx":
            return ["nginx", "-p", WORK, "-e", WORK + "/nginx_error.log",
                    "-c", path]
        return ["haproxy", "-db", "-f", path]
    process, ports = common.start_on_ports(
        len(routes), command, os.path.join(WORK, kind + "_said.log"))
    try:
        yield process, ["ws://127.0.0.1:%d/" % port for port in ports]
    finally:
        common.end(process)


# -------------------------------------------------------------------- cases

def talk(url, steps, *options):
    common.run([os.path.join(HERE, "talk"), *options, url, *steps])


def leave(url, why, code):
    """The server has to have seen our code and reason."""
    reason = "%s %d, \u00e9" % (why, code)
    talk(url, ["text:5", "close:%d %s" % (code, reason)])
    talk(url, ["ask:/seen %d %s" % (code, reason), "close:1000"])


def pass_through(report, url, *options):
    """Frames, closes and the handshake; once polled, once blocking."""
    how = options[0] if options else "polled"

    def case(name, steps, *more):
        report.run("%s, %s" % (name, how), talk, url, steps, *options, *more)
    for title, steps in common.sessions():
        case(title, steps + ["close:1000 done"])
    for code in CODES:
        report.run("close %d" % code, leave, url, how, code)
        case("closed with %d" % code, [
            "say:/close %d because, \u00e9" % code,
            "closed:%d because, \u00e9" % code])
    case("closed without a code", ["say:/close", "closed:1005"])
    case("pings from the server", [
        "say:/ping hello", "expect:pong hello", "close:1000"])
    case("the server drops the connection", [
        "text:5", "say:/abort", "lost:WSOCK_CONNECTION_LOST"])
    case("50 connections side by side", [
        "text:100", "binary:65536", "ping:4", "many:5/1000", "close:1000"],
        "--count", "50")
    case("a subprotocol", ["protocol:superchat", "close:1000"],
         "--subprotocol", "else", "--subprotocol", "superchat")
    case("a client that leaves", ["text:5", "leave:",
                                  "lost:WSOCK_ABORTED"])
    report.run("path and query, " + how, talk, url + "chat/room?a=b",
               ["say:/request", "expect:/chat/room a=b 127.0.0.1",
                "close:1000"], *options)


def idle(report, url):
    """It cuts what is idle; a keepalive ping in time is not idle."""
    cases = []
    for how in ((), ("--blocking",)):
        name = how[0] if how else "polled"
        cases.append(("cut when idle, " + name, talk, url,
                      ["text:5", "lost:WSOCK_CONNECTION_LOST"], *how))
        cases.append(("alive by pings, " + name, talk, url,
                      ["say:/pinged 12", "expect:pinged", "text:5",
                       "close:1000"],
                      "--keepalive", "250", *how))
    report.together(cases)


def nobody(report, kind, url):
    for how in ((), ("--blocking",)):
        report.run("nobody behind it, " + (how[0] if how else "polled"),
                   talk, url, [NOBODY[kind]], *how)


def chat(report, url):
    """The chat's page and two who talk."""
    def page():
        address = url.replace("ws:", "http:", 1)
        with urllib.request.urlopen(address, timeout=60) as got:
            text = got.read().decode()
        if got.status != 200 or "wsock chat" not in text:
            raise common.Failure("the page", "%d %.200s" % (got.status, text))

    def two():
        first = common.start([os.path.join(HERE, "wscat"), url + "chat"],
                             stdin=subprocess.PIPE)
        first.stdin.write("Ann\n")
        first.stdin.flush()
        try:
            for wanted in ("you", "join\t[0-9]+\tAnn"):
                hear(first, wanted)
            talk(url + "chat", ["say:Ben", "say:hello all", "close:1000"])
            for wanted in ("join\t[0-9]+\tBen",
                           "says\t[0-9]+\tBen\thello all",
                           "left\t[0-9]+\tBen"):
                hear(first, wanted)
        finally:
            first.stdin.close()
            first.stdin = None
            common.finish(first, said="closed with 1000")
    report.run("the chat's page", page)
    report.run("the chat", two)


def hear(process, pattern):
    line = common.read_line(process, pattern)
    if not re.match(pattern, line):
        raise common.Failure(pattern, line)


def stopped(report, kind, port):
    """The proxy ends in the middle of a connection."""
    def case(number, *how):
        with proxy(kind, (port, "")) as (process, (url,)):
            client = common.start(
                [os.path.join(HERE, "talk"), *how, url, "text:5",
                 "tell:open", "lost:WSOCK_CONNECTION_LOST"])
            common.read_line(client, "open")
            process.send_signal(number)
            common.finish(client)
    report.run("stopped, polled", case, signal.SIGTERM)
    report.run("stopped, blocking", case, signal.SIGTERM, "--blocking")


def python_peer(report, python, url):
    script = os.path.join(PEERS, "python", "peer.py")
    done = subprocess.run([python, script, "client", url],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          universal_newlines=True, timeout=240)
    numbers = re.search(r"(\d+) passed, (\d+) failed", done.stdout)
    if not numbers:
        report.run("python websockets", fail, done.stdout[-600:])
        return
    report.passed += int(numbers.group(1))
    report.failed += int(numbers.group(2))
    for line in done.stdout.splitlines()[:-1]:
        print("%s: %s" % (report.title, line))


def fail(observed):
    raise common.Failure("counts", observed)


def cases(report, kind, python):
    with contextlib.ExitStack() as stack:
        def port(name):
            url = stack.enter_context(common.server(
                os.path.join(HERE, name), "--port", "0"))
            return common.port_of(url)
        obey, room, echo = port("obey"), port("chat"), port("plain_server")
        # Bound, and nobody listens.
        unused = stack.enter_context(socket.socket())
        unused.bind(("127.0.0.1", 0))
        empty = unused.getsockname()[1]
        with proxy(kind, (obey, ""), (obey, IDLE[kind]), (empty, ""),
                   (room, ""), (echo, "")) as (_, urls):
            pass_through(report, urls[0])
            pass_through(report, urls[0], "--blocking")
            idle(report, urls[1])
            nobody(report, kind, urls[2])
            chat(report, urls[3])
            if python:
                python_peer(report, python, urls[4])
        stopped(report, kind, obey)


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5) or sys.argv[1] not in IDLE:
        sys.exit(__doc__)
    HERE, WORK = sys.argv[2:4]
    sys.exit(common.Report(sys.argv[1] + " in front of our servers").all(
        cases, sys.argv[1], sys.argv[4] if len(sys.argv) == 5 else None))
