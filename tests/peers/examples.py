#!/usr/bin/python3
"""Runs the example programs against the Python package `websockets`, and
against peers that do what no good peer does.

    examples.py DIRECTORY

DIRECTORY holds the built examples.  Prints a line for each case that fails
or is skipped, and last how many did.  No case looks at a time: where a
program must not wait, what it did meanwhile is counted.
"""
import asyncio
import contextlib
import fcntl
import http
import logging
import os
import pty
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

try:
    import websockets
except ImportError:
    websockets = None

sys.dont_write_bytecode = True

from wire import TEXT, Failure, Peer, accept_value, read_head, show

PATIENCE = 60  # a program that takes longer hangs
BUILT = None   # the directory
NAMESERVER = "127.0.0.1"
DEAD4, DEAD6 = "10.254.0.1", "2001:db8:254::1"


class Skip(Exception):
    pass


def expect(condition, expected, observed):
    if not condition:
        raise Failure(expected, observed)


def equal(what, observed, expected):
    if observed != expected:
        raise Failure("%s %.300r" % (what, expected), "%.600r" % (observed,))


# ---------------------------------------------------------------- programs

def program(name):
    path = os.path.join(BUILT, name)
    if not os.access(path, os.X_OK):
        if name == "loop_libuv":
            raise Skip("not built: no libuv (install libuv1-dev)")
        raise Failure("the program %s" % path, "none")
    return path


class Result:
    def __init__(self, out, err, status):
        self.out, self.err, self.status = out, err.decode(), status

    def ended(self, status):
        equal("exit status", (self.status, self.err), (status, self.err))
        return self

    def said(self, text):
        expect(text in self.err, "%r on stderr" % text, repr(self.err))
        return self


def finish(process, data=None):
    try:
        out, err = process.communicate(data, PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise Failure("an end", "none in %d s; stdout %s, stderr %s" % (
            PATIENCE, show(out or b"", 400), show(err or b"", 400)))
    return Result(out, err, process.returncode)


def start(name, *arguments, **more):
    settings = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE)
    settings.update(more)
    return subprocess.Popen([program(name), *arguments], **settings)


def run(name, *arguments, data=b"", **more):
    return finish(start(name, *arguments, **more), data)


def run_idle(name, *arguments, **more):
    """With an input that stays open and has nothing to say."""
    reading, writing = os.pipe()
    try:
        return finish(start(name, *arguments, stdin=reading, **more))
    finally:
        os.close(reading)
        os.close(writing)


def converse(name, *arguments, data, size):
    """Its input ends when `size` bytes of output have come, as the other
    side may have no answers for one that closes first."""
    with running(name, *arguments) as p:
        def write():
            with contextlib.suppress(OSError):
                p.stdin.write(data)
                p.stdin.flush()
        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        out = b""
        while len(out) < size:
            ready, _, _ = select.select([p.stdout], [], [], PATIENCE)
            more = os.read(p.stdout.fileno(), 1 << 20) if ready else b""
            if not more:
                p.kill()
                raise Failure("%d bytes" % size, "%s; stderr %s" % (
                    show(out), show(p.stderr.read(), 400)))
            out += more
        writer.join(PATIENCE)
        r = finish(p)
        r.out = out + r.out
        return r


@contextlib.contextmanager
def running(name, *arguments, **more):
    process = start(name, *arguments, **more)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe and not pipe.closed:
                pipe.close()
        process.wait()


def read_until(fd, pattern, seen=b""):
    """Bytes of a program up to what is waited for."""
    while not re.search(pattern, seen):
        ready, _, _ = select.select([fd], [], [], PATIENCE)
        try:
            data = os.read(fd, 65536) if ready else b""
        except OSError:  # the end of a terminal
            data = b""
        if not data:
            raise Failure("%r in the output" % pattern, repr(seen))
        seen += data
    return seen


def cpu_ticks(process):
    with open("/proc/%d/stat" % process.pid) as f:
        fields = f.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def rests(process):
    """A program that waits for something uses no CPU: a loop that spins
    takes a hundred ticks in this second, or what the machine has left."""
    before = cpu_ticks(process)
    time.sleep(1)
    used = cpu_ticks(process) - before
    expect(used < 20, "a program that rests", "%d ticks in a second" % used)


# ------------------------------------------------------------------- sites

class Background:
    """asyncio in a thread, so that the cases are straight-line code."""
    loop = None
    lock = threading.Lock()

    @classmethod
    def call(cls, coroutine):
        with cls.lock:
            if cls.loop is None:
                cls.loop = asyncio.new_event_loop()
                threading.Thread(target=cls.loop.run_forever,
                                 daemon=True).start()
        return asyncio.run_coroutine_threadsafe(
            coroutine, cls.loop).result(PATIENCE)


class Site:
    """A server of `websockets`.  `closed` gets what each client's Close
    said; an exception in the handler fails the case."""

    def __init__(self, handler, host="127.0.0.1", **settings):
        self.handler, self.settings, self.host = handler, settings, host
        self.closed, self.errors, self.clients = [], [], 0

    async def serve(self, ws):
        self.clients += 1
        try:
            await self.handler(ws)
            await ws.wait_closed()
        except websockets.ConnectionClosed:
            pass
        except Exception as e:
            self.errors.append(e)
            raise
        finally:
            got = ws.close_rcvd
            self.closed.append((got.code, got.reason) if got else None)

    async def begin(self):
        options = dict(compression=None, ping_interval=None,
                       max_size=32 << 20, close_timeout=PATIENCE)
        options.update(self.settings)
        self.server = await websockets.serve(self.serve, self.host, 0,
                                             **options)
        self.port = self.server.sockets[0].getsockname()[1]

    async def end(self):
        self.server.close()
        await self.server.wait_closed()

    def __enter__(self):
        Background.call(self.begin())
        self.url = "ws://%s:%d/" % (self.host, self.port)
        return self

    def __exit__(self, kind, value, trace):
        Background.call(self.end())
        if self.errors and kind is None:
            raise self.errors[0]


async def echo(ws):
    async for message in ws:
        await ws.send(message)


class RawSite:
    """A server by hand: `behave` gets each connection after its 101."""

    def __init__(self, behave, small=False):
        self.behave, self.errors, self.peers = behave, [], []
        self.sock = socket.socket()
        if small:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.listen(16)
        self.url = "ws://127.0.0.1:%d/" % self.sock.getsockname()[1]
        self.thread = threading.Thread(target=self.accept, daemon=True)

    def accept(self):
        while True:
            try:
                sock, _ = self.sock.accept()
            except OSError:
                return
            peer = Peer(sock, "server")
            self.peers.append(peer)
            try:
                key = read_head(peer, "a request").one("Sec-WebSocket-Key")
                peer.send(b"HTTP/1.1 101 Switching Protocols\r\n"
                          b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
                          b"Sec-WebSocket-Accept: " +
                          accept_value(key.encode()) + b"\r\n\r\n")
                self.behave(peer)
            except Exception as e:
                self.errors.append(e)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, value, trace):
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        self.thread.join(PATIENCE)
        for peer in self.peers:
            peer.sock.close()
        if self.errors and kind is None:
            raise self.errors[0]


class FullBacklog:
    """An address that drops every SYN, as a dead host does: a listening
    socket that nobody accepts from, with no room left."""

    def __enter__(self):
        self.sockets = [socket.socket()]
        self.sockets[0].bind(("127.0.0.1", 0))
        self.sockets[0].listen(0)
        address = self.sockets[0].getsockname()
        self.url = "ws://127.0.0.1:%d/" % address[1]
        for _ in range(64):
            s = socket.socket()
            self.sockets.append(s)
            s.settimeout(0.5)
            try:
                s.connect(address)
            except socket.timeout:
                return self
        raise Skip("the system takes every connection here")

    def __exit__(self, kind, value, trace):
        for s in self.sockets:
            s.close()


def nobody():
    """A URL where nothing listens."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return "ws://127.0.0.1:%d/" % s.getsockname()[1]


# ------------------------------------------------------------------- wscat

def wscat_lines():
    lines = b"hello\n\nw\xc3\xb6rld\nlast\n"
    with Site(echo) as site:
        r = converse("wscat", site.url, data=lines, size=len(lines)).ended(0)
        equal("stdout", r.out, lines)
        r.said("closed with 1000")
    equal("closes", site.closed, [(1000, "")])


def wscat_pipe():
    """All that stood in the pipe is answered before the Close."""
    def behave(peer):
        for line in (b"one", b"", b"last"):
            peer.expect_message(TEXT, line)
            peer.put(TEXT, line)
        peer.expect_close(1000)
        peer.send(peer.close_frame(1000))
        peer.expect_end()
    with RawSite(behave) as site:
        r = run("wscat", site.url, data=b"one\n\nlast").ended(0)
        equal("stdout", r.out, b"one\n\nlast\n")


def wscat_wait():
    """With --wait the first Close is the server's here, with its code."""
    def behave(peer):
        for _ in range(2):
            peer.expect_message(TEXT, b"ask")
        for _ in range(100):
            peer.put(TEXT, b"answer")
        peer.send(peer.close_frame(4000, b"answered"))
        peer.expect_close(4000)
        peer.expect_end()
    with RawSite(behave) as site:
        r = run("wscat", "--wait", "600", site.url, data=b"ask\nask")
        equal("stdout", r.ended(0).out, b"answer\n" * 100)
    with Site(echo) as site:
        run("wscat", site.url, "--wait", "1").ended(0)
    equal("closes", site.closed, [(1000, "")])


def wscat_nothing():
    with Site(echo) as site:
        equal("stdout", run("wscat", site.url).ended(0).out, b"")
    equal("closes", site.closed, [(1000, "")])


def wscat_after_close():
    """What comes between our Close and the peer's is printed."""
    lines = [b"number %d" % i for i in range(3000)]

    def behave(peer):
        peer.expect_message(TEXT, b"ask")
        peer.expect_close(1000)
        peer.send(b"".join(peer.frame(TEXT, line) for line in lines))
        peer.send(peer.close_frame(1000, b"all said"))
        peer.expect_end()
    with RawSite(behave) as site:
        r = run("wscat", site.url, data=b"ask\n").ended(0)
        r.said('closed with 1000 "all said"')
        equal("stdout", r.out, b"\n".join(lines) + b"\n")


def wscat_long_lines():
    """Longer than its buffer, exactly as long, twice as long, and cut in
    the middle of characters."""
    lines = [("é€\U0001f600z" * (size // 10 + 1)).encode()[:size]
             for size in (65530, 65540, 131070, 200000)]
    lines = [line.decode(errors="ignore").encode() for line in lines]
    lines += [b"a" * 65535, b"b" * 65536, b"c" * 65537, b"/" + b"d" * 70000,
              b"e" * 131072]
    with Site(echo) as site:
        r = converse("wscat", site.url, data=b"\n".join(lines) + b"\n",
                     size=sum(map(len, lines)) + len(lines)).ended(0)
        equal("sizes", [len(x) for x in r.out.split(b"\n")],
              [len(x) for x in lines] + [0])
        expect(r.out.split(b"\n")[:-1] == lines, "the same lines", "others")


def wscat_much():
    """More than the queues hold: nothing is lost, nothing gets stuck."""
    data = b"".join(b"%07d %s\n" % (i, b"x" * 1000) for i in range(12000))
    with Site(echo) as site:
        r = converse("wscat", site.url, data=data,
                     size=len(data)).ended(0)
        expect(r.out == data, "%d bytes, the same" % len(data),
               "%d bytes" % len(r.out))


def wscat_held_back():
    """A server that reads nothing for a while: lines wait in the pipe when
    the send queue is full, and none is lost."""
    count, line = 20000, b"x" * 992
    stuck = threading.Event()

    def behave(peer):
        stuck.wait(PATIENCE)
        for i in range(count):
            got = peer.read_message("line %d" % i)
            expect(got == (TEXT, b"%07d " % i + line), "line %d" % i,
                   show(got[1]))
        peer.expect_close(1000)
        peer.send(peer.close_frame(1000))
        peer.expect_end()
    with RawSite(behave, small=True) as site:
        with running("wscat", site.url) as p:
            sent = [0]

            def write():
                with contextlib.suppress(OSError):
                    for i in range(count):
                        p.stdin.write(b"%07d %s\n" % (i, line))
                        sent[0] += 1
            writer = threading.Thread(target=write, daemon=True)
            writer.start()
            before = -1
            while before != sent[0]:
                before = sent[0]
                writer.join(0.3)
            taken = sent[0]
            stuck.set()
            writer.join(PATIENCE)
            finish(p).ended(0)
            expect(taken < count, "a pipe that is held back", "none")


def wscat_commands():
    got = []

    async def handler(ws):
        async for message in ws:
            got.append(message)
    lines = (b"/ping are you there\n//slash\n///two\n/nonsense\n/close 5\n"
             b"/close 99999999999\n/close x\n/ping " + b"x" * 126 + b"\n/" +
             b"y" * 300 + b"\n/ping\n/close 4001 so long\nunsent\n")
    with Site(handler) as site:
        r = run("wscat", site.url, data=lines).ended(0)
    equal("messages", got, ["/slash", "//two"])
    equal("closes", site.closed, [(4001, "so long")])
    r.said('pong "are you there"').said('pong ""').said('with 4001 "so long"')
    r.said("/ping [text], /close").said("this command is too long")
    equal("complaints", r.err.count("a close code is"), 4)


def wscat_close_without_reason():
    for line, code in ((b"/close", 1000), (b"/close 3000", 3000)):
        with Site(echo) as site:
            run("wscat", site.url, data=line).ended(0)
        equal("closes", site.closed, [(code, "")])


def wscat_binary():
    raw = bytes(range(256)) + b"\n"
    got = []

    async def handler(ws):
        got.append(await ws.recv())
        await ws.send(raw)
        await ws.send("text")
    with Site(handler) as site:
        wanted = raw.hex().encode() + b"\ntext\n"
        r = converse("wscat", site.url, data=b"line\n",
                     size=len(wanted)).ended(0)
        equal("stdout", r.out, wanted)
        wanted = raw + b"text\n"
        r = converse("wscat", "--binary", site.url, data=b"li\xff\0ne\n",
                     size=len(wanted)).ended(0)
        equal("stdout", r.out, wanted)
    equal("messages", got, ["line", b"li\xff\0ne"])


def wscat_request():
    seen = []

    async def handler(ws):
        h = ws.request_headers
        seen.append((h.get("X-One"), h.get("X-Two"), h.get("Origin"),
                     ws.subprotocol, ws.path))
    with Site(handler, subprotocols=["b", "c"]) as site:
        r = run("wscat", "--header", "X-One: 1", "--subprotocol", "a",
                "--header", "X-Two: 2", "--subprotocol", "b", "--origin",
                "http://example.com", site.url + "path?x=y").ended(0)
    equal("request", seen, [("1", "2", "http://example.com", "b",
                             "/path?x=y")])
    r.said("subprotocol b")


def wscat_failures():
    async def refuse(path, headers):
        return http.HTTPStatus.FORBIDDEN, [], b"go away\n"

    async def cut(ws):
        await ws.send("half")
        ws.transport.abort()
    with Site(echo, process_request=refuse) as site:
        equal("stdout", run("wscat", site.url).ended(1).said("403").out, b"")
    with Site(cut) as site:
        r = run_idle("wscat", site.url).ended(1)
        equal("stdout", r.out, b"half\n")
        expect("closed with" not in r.err and r.err.count("wscat:") == 2,
               "a line that names the failure", repr(r.err))
    for url in (nobody(), "http://127.0.0.1/", "ws://127.0.0.1:99999/"):
        r = run("wscat", url).ended(1)
        expect(r.err.startswith("wscat: ") and not r.out, "a reason", r.err)
    run("wscat").ended(2).said("usage:")
    run("wscat", "--header").ended(2)
    run("wscat", "ws://a/", "ws://b/").ended(2)
    expect(b"usage:" in run("wscat", "--help").ended(0).out, "help", "none")


def wscat_output_fails():
    async def handler(ws):
        await ws.send("more than there is room for")
        await ws.close(1000, "")
    with Site(handler) as site, open("/dev/full", "w") as full:
        run_idle("wscat", site.url, stdout=full).ended(1).said(
            "standard output")


def wscat_server_closes():
    """While nothing is typed."""
    async def handler(ws):
        await ws.send("bye")
        await ws.close(1011, "oops")
    with Site(handler) as site:
        r = run_idle("wscat", site.url).ended(0)
        r.said('closed with 1011 "oops"')
        equal("stdout", r.out, b"bye\n")


def wscat_terminal():
    """Messages come while nothing is typed; control characters do not
    reach the terminal; Ctrl-D closes."""
    typed = threading.Event()

    async def handler(ws):
        await ws.send("\x1b[31mred\x07 caf\u00e9 \u009b2J \u00bf")
        equal("message", await ws.recv(), "typed")
        typed.set()
        await ws.send("heard")
    with Site(handler) as site:
        master, slave = pty.openpty()
        try:
            with running("wscat", site.url, stdin=slave, stdout=slave,
                         stderr=slave) as p:
                os.close(slave)
                seen = read_until(master, rb"\\x1b\[31mred.*\n")
                expect("\\x1b[31mred\\x07 caf\u00e9 \\x9b2J \u00bf\r\n"
                       .encode() in seen, "escapes", repr(seen))
                expect(b"\x1b" not in seen, "no escape byte", repr(seen))
                rests(p)
                os.write(master, b"typed\n")
                seen = read_until(master, rb"heard\r\n", seen)
                expect(typed.is_set(), "what was typed", repr(seen))
                os.write(master, b"\x04")
                read_until(master, rb"closed with 1000", seen)
                equal("exit status", p.wait(PATIENCE), 0)
        finally:
            os.close(master)
    equal("closes", site.closed, [(1000, "")])


# ------------------------------------------------------------- game_client

class Game:
    pattern = re.compile(
        r"frames: (?P<frames>\d+); waiting (?P<waiting>\d+), "
        r"connecting (?P<connecting>\d+), open (?P<open>\d+), "
        r"closing (?P<closing>\d+)\n"
        r"connections: (?P<tried>\d+) tried, (?P<opened>\d+) opened\n"
        r"messages: (?P<sent>\d+) sent, (?P<skipped>\d+) skipped, "
        r"(?P<received>\d+) received\n"
        r"round trip: (?P<rtt>\d+ ms|unknown)\n"
        r"longest frame: (?P<longest>\d+\.\d{3}) ms in the library\n$")

    def __init__(self, what, *arguments, status=0, **more):
        self.result = run("game_client", *arguments, **more).ended(status)
        match = self.pattern.match(self.result.out.decode())
        expect(match, "a report", repr(self.result.out))
        for name, value in match.groupdict().items():
            setattr(self, name, int(value) if value.isdigit() else value)
        print("# game_client, %s: longest frame %s ms" % (what, self.longest))
        equal("sum of the frames", self.waiting + self.connecting +
              self.open + self.closing, self.frames)


def game_play():
    states = []

    async def handler(ws):
        async for message in ws:
            states.append(message)
            await ws.send(message)
    with Site(handler) as site:
        g = Game("an echo server", site.url, "--seconds", "3")
    equal("frames", g.frames, 180)
    equal("connections", (g.tried, g.opened), (1, 1))
    equal("a send for each open frame", g.sent + g.skipped, g.open)
    expect(g.open > 90, "an open connection most of the time", g.open)
    expect(0 < g.received <= g.sent, "answers", g.received)
    expect(g.rtt != "unknown", "a round-trip time", g.rtt)
    numbers = [struct.unpack("<I", s[:4])[0] for s in states]
    expect({len(s) for s in states} == {12} and numbers ==
           sorted(set(numbers)), "states in order", numbers[:10])
    equal("states that came", len(states), g.sent)
    equal("closes", site.closed, [(1001, "the player leaves")])


def game_reconnect():
    async def handler(ws):
        for _ in range(5):
            await ws.recv()
        await ws.close(1012, "restart")
    with Site(handler) as site:
        g = Game("a server that restarts", site.url, "--seconds", "4")
    equal("frames", g.frames, 240)
    expect(g.opened >= 2 and g.opened == site.clients,
           "several connections", "%d, %d" % (g.opened, site.clients))
    expect(g.waiting > 0, "waits between them", "none")


def game_refused():
    g = Game("a refused connection", nobody(), "--seconds", "3")
    equal("frames", g.frames, 180)
    expect(g.tried >= 2 and g.opened == 0, "several attempts", g.tried)
    expect(g.result.err, "the reason", "nothing")


def game_wrong_url():
    g = Game("a wrong URL", "http://127.0.0.1/", "--seconds", "600",
             status=1)
    equal("attempts", g.tried, 1)
    run("game_client").ended(2)
    run("game_client", "ws://127.0.0.1/", "--bytes", "5").ended(2)


def never_blocked(g, seconds):
    """Nothing ends the wait for such a peer but the end of the game, so a
    call that waited for it would have come back with its failure, or after
    it, and few frames would have seen a connection under way."""
    equal("frames", g.frames, seconds * 60)
    equal("connections opened", g.opened, 0)
    expect(g.connecting > g.frames // 2, "frames while connecting",
           "%d of %d; %s" % (g.connecting, g.frames, g.result.err))


def game_dead_host():
    with FullBacklog() as site:
        never_blocked(Game("a host that drops SYNs", site.url, "--seconds",
                           "2"), 2)


def game_stalled():
    """A server that shakes hands, and never reads again."""
    with RawSite(lambda peer: None, small=True) as site:
        g = Game("a stalled server", site.url, "--seconds", "2", "--bytes",
                 "65536")
    equal("frames", g.frames, 120)
    equal("connections", (g.tried, g.opened), (1, 1))
    equal("a try for each open frame", g.sent + g.skipped, g.open)
    expect(g.skipped > g.sent, "most states skipped", "%d skipped, %d sent" %
           (g.skipped, g.sent))


# ----------------------------------------------------------- echo servers

@contextlib.contextmanager
def echo_server(name, *arguments):
    with running(name, *arguments, stdin=subprocess.DEVNULL) as p:
        seen = read_until(p.stdout.fileno(), rb"\n").decode()
        match = re.search(r"ws://\S+", seen)
        expect(match, "a line with a URL", seen)
        yield p, match.group()


def connect(url, **more):
    return websockets.connect(url, compression=None, ping_interval=None,
                              max_size=32 << 20, close_timeout=PATIENCE,
                              **more)


def server_echoes(*command):
    async def talk(url, number):
        async with connect(url) as ws:
            for size in (0, 1, 125, 126, 65535, 65536, 1 << 20):
                for whole in ("%d" % number * size, os.urandom(size)):
                    await ws.send(whole)
                    expect(await ws.recv() == whole, "an echo", "another")
        equal("close code", ws.close_code, 1000)

    async def all_of_them(url):
        await asyncio.gather(*(talk(url, n) for n in range(8)))

    def case():
        with echo_server(*command) as (p, url):
            Background.call(all_of_them(url))
    return case


def kernel_keeps():
    """Bytes that the kernel keeps at most for one side of a connection."""
    most = 0
    for name in "tcp_rmem", "tcp_wmem":
        with open("/proc/sys/net/ipv4/" + name) as f:
            most += int(f.read().split()[2])
    return most


def server_slow_reader(*command):
    """A client that writes for a long time before it reads: the server must
    stop reading, and go on later."""
    data = os.urandom(65536)
    # More than all buffers between the two hold: the server's in the kernel,
    # its queue, the client's two, 32 messages in `websockets`.
    own = 256 << 10
    count = (kernel_keeps() + 4 * own + (4 << 20)) // len(data) + 32

    async def talk(url, sock):
        async with connect(url, sock=sock) as ws:
            async def write():
                for _ in range(count):
                    await ws.send(data)
            writer = asyncio.ensure_future(write())
            await asyncio.wait({writer}, timeout=1) # the buffers fill
            held = not writer.done()
            for _ in range(count):
                expect(await ws.recv() == data, "an echo", "another")
            await writer
        expect(held, "a server that is held back", "none")

    def case():
        with echo_server(*command) as (p, url), socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, own)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, own)
            host, port = url.split("/")[2].split(":")
            sock.connect((host, int(port)))
            Background.call(talk(url, sock))
    return case


def server_rests_and_ends(*command):
    async def talk(p, url):
        loop = asyncio.get_running_loop()
        clients = [await connect(url) for _ in range(3)]
        await clients[0].send("x")
        equal("echo", await clients[0].recv(), "x")
        await loop.run_in_executor(None, rests, p)
        p.send_signal(signal.SIGTERM)
        for ws in clients:
            await ws.wait_closed()
            equal("close code", ws.close_code, 1001)

    def case():
        with echo_server(*command) as (p, url):
            Background.call(talk(p, url))
            equal("stderr", finish(p).ended(0).err, "")
    return case


def server_port_taken(*command):
    def case():
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            s.listen(1)
            port = str(s.getsockname()[1])
            r = run(*command, port, stdin=subprocess.DEVNULL, data=None)
            expect(r.ended(1).err, "a reason", "none")
    return case


# -------------------------------------------------------------- loop_libuv

def libuv_echo():
    with Site(echo) as site:
        r = run("loop_libuv", site.url, "4").ended(0)
    equal("stdout", r.out, b"tick 1\ntick 2\ntick 3\ntick 4\n")
    equal("closes", site.closed, [(1000, "enough")])


def libuv_name():
    """localhost has two addresses, of which one is refused."""
    with Site(echo) as site:
        r = run("loop_libuv", "ws://localhost:%d/" % site.port, "2").ended(0)
    equal("stdout", r.out, b"tick 1\ntick 2\n")


def libuv_server_closes():
    async def handler(ws):
        await ws.send("bye")
        await ws.close(1012, "")
    with Site(handler) as site:
        equal("stdout", run("loop_libuv", site.url).ended(0).out, b"bye\n")


def libuv_failures():
    async def cut(ws):
        await ws.recv()
        ws.transport.abort()
    for url in (nobody(), "http://127.0.0.1/"):
        r = run("loop_libuv", url).ended(1)
        expect(r.err, "a reason", "none")
    with Site(cut) as site:
        expect(run("loop_libuv", site.url).ended(1).err, "a reason", "none")
    run("loop_libuv").ended(2)


def libuv_rests():
    """While its connection is under way, and nothing happens."""
    with FullBacklog() as site:
        with running("loop_libuv", site.url) as p:
            rests(p)


# ------------------------------------------------------- the older clients

def client_hello():
    async def handler(ws):
        equal("message", await ws.recv(), "hello")
        await ws.send("hello yourself")
    with Site(handler) as site:
        r = run("client_hello", site.url).ended(0)
    equal("stdout", r.out, b"hello yourself\n")
    equal("closes", site.closed, [(1000, "bye")])
    expect(run("client_hello", nobody()).ended(1).err, "a reason", "none")


def echo_client():
    async def handler(ws):
        for message in ("text", b"binary", "", "x" * 100000):
            await ws.send(message)
            equal("echo", await ws.recv(), message)
        await ws.close(1000, "done")
    with Site(handler) as site:
        run("echo_client", site.url).ended(0)


# -------------------------------------------------- in a network of its own

class Network:
    """Loopback, a device that swallows all that is sent through it, a name
    server that never answers, and a name with a dead address before a live
    one.  It lives in namespaces of its own: see isolated()."""

    def __init__(self):
        def tool(*command):
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        tool("ip", "link", "set", "lo", "up")
        device, self.no_void = "void0", None
        try:
            self.tun = os.open("/dev/net/tun", os.O_RDWR)
            fcntl.ioctl(self.tun, 0x400454ca,  # TUNSETIFF; TUN, NO_PI
                        struct.pack("16sH22x", b"void0", 0x1001))
            tool("ip", "link", "set", "void0", "up")
            tool("ip", "-6", "addr", "add", "2001:db8:254::2/64", "dev",
                 "void0", "nodad")
        except (OSError, subprocess.CalledProcessError) as e:
            device, self.no_void = "lo", "no TUN device: %s" % e
        # getaddrinfo() may ask nobody when loopback is all there is.
        tool("ip", "addr", "add", "10.254.0.2/24", "dev", device)
        self.files = tempfile.mkdtemp()
        for path, text in (
                ("/etc/resolv.conf", "nameserver %s\n" % NAMESERVER),
                ("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"
                 "%s raced.test\n127.0.0.1 raced.test\n" % DEAD6),
                ("/etc/nsswitch.conf", "hosts: files dns\n")):
            mine = os.path.join(self.files, os.path.basename(path))
            with open(mine, "w") as f:
                f.write(text)
            if os.path.exists(path):
                tool("mount", "--bind", mine, path)
        self.resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.resolver.bind((NAMESERVER, 53))
        self.resolver.setblocking(False)

    def need_void(self):
        if self.no_void:
            raise Skip(self.no_void)

    def questions(self):
        count = 0
        try:
            while self.resolver.recv(4096):
                count += 1
        except BlockingIOError:
            return count


def game_silent_names(network):
    """A look-up that waited here would last for minutes, then fail."""
    slow = dict(os.environ, RES_OPTIONS="timeout:30 attempts:5")
    network.questions()
    g = Game("a name server that never answers", "ws://nobody.example/",
             "--seconds", "2", env=slow)
    never_blocked(g, 2)
    expect(network.questions() > 0, "questions to the name server", "none")


def game_dead_address(network):
    network.need_void()
    for host in (DEAD4, "[%s]" % DEAD6):
        never_blocked(Game("the dead host " + host, "ws://%s/" % host,
                           "--seconds", "2"), 2)


def game_raced(network):
    network.need_void()
    with Site(echo) as site:
        g = Game("a dead address before a live one",
                 "ws://raced.test:%d/" % site.port, "--seconds", "2")
    equal("frames", g.frames, 120)
    equal("connections", (g.tried, g.opened), (1, 1))
    expect(g.received > 0, "answers", "none")


def libuv_raced(network):
    """Two sockets at a time, one of which is closed without a result."""
    network.need_void()
    with Site(echo) as site:
        r = run("loop_libuv", "ws://raced.test:%d/" % site.port,
                "2").ended(0)
    equal("stdout", r.out, b"tick 1\ntick 2\n")


def wscat_raced(network):
    network.need_void()
    with Site(echo) as site:
        r = converse("wscat", "ws://raced.test:%d/" % site.port,
                     data=b"raced\n", size=6).ended(0)
    equal("stdout", r.out, b"raced\n")


def libuv_silent_names(network):
    with running("loop_libuv", "ws://nobody.example/", env=dict(
            os.environ, RES_OPTIONS="timeout:30 attempts:5")) as p:
        rests(p)


ISOLATED = [
    ("game_client: silent name server", game_silent_names),
    ("game_client: dead addresses", game_dead_address),
    ("game_client: raced addresses", game_raced),
    ("wscat: raced addresses", wscat_raced),
    ("loop_libuv: raced addresses", libuv_raced),
    ("loop_libuv: rests during a look-up", libuv_silent_names),
]


def isolated(report):
    """Run the cases of ISOLATED in a process with its own network and
    mounts, as root here or in a user namespace."""
    if not shutil.which("unshare") or not shutil.which("ip"):
        return report.skip(ISOLATED, "no unshare or ip")
    for flags in ("-mn", "-Umnr"):
        if subprocess.run(["unshare", flags, "true"],
                          stderr=subprocess.DEVNULL).returncode == 0:
            break
    else:
        return report.skip(ISOLATED, "namespaces are not permitted")
    child = subprocess.Popen(
        ["unshare", flags, sys.executable, __file__, "--isolated", BUILT],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    out = child.communicate()[0].decode()
    lines = out.splitlines()
    match = re.match(r"(\d+) passed, (\d+) failed, (\d+) skipped$",
                     lines[-1] if lines else "")
    if not match:
        return report.add("a network of its own", Failure("results", out))
    print("\n".join(lines[:-1]))
    report.passed += int(match.group(1))
    report.failed += int(match.group(2))
    report.skipped += int(match.group(3))


# ------------------------------------------------------------------ report

CASES = [
    ("wscat: lines", wscat_lines),
    ("wscat: a pipe", wscat_pipe),
    ("wscat: --wait", wscat_wait),
    ("wscat: no input", wscat_nothing),
    ("wscat: messages after its Close", wscat_after_close),
    ("wscat: long lines", wscat_long_lines),
    ("wscat: more than the queues hold", wscat_much),
    ("wscat: held back", wscat_held_back),
    ("wscat: commands", wscat_commands),
    ("wscat: /close without a reason", wscat_close_without_reason),
    ("wscat: binary messages", wscat_binary),
    ("wscat: headers, origin, subprotocol", wscat_request),
    ("wscat: failures", wscat_failures),
    ("wscat: the output fails", wscat_output_fails),
    ("wscat: the server closes", wscat_server_closes),
    ("wscat: a terminal", wscat_terminal),
    ("game_client: play", game_play),
    ("game_client: reconnect", game_reconnect),
    ("game_client: refused", game_refused),
    ("game_client: wrong URL and options", game_wrong_url),
    ("game_client: dead host", game_dead_host),
    ("game_client: stalled server", game_stalled),
    ("loop_epoll: echo", server_echoes("loop_epoll", "0")),
    ("loop_epoll: slow reader", server_slow_reader("loop_epoll", "0")),
    ("loop_epoll: rest and end", server_rests_and_ends("loop_epoll", "0")),
    ("loop_epoll: port taken", server_port_taken("loop_epoll")),
    ("loop_libuv: echo", libuv_echo),
    ("loop_libuv: two addresses", libuv_name),
    ("loop_libuv: the server closes", libuv_server_closes),
    ("loop_libuv: failures", libuv_failures),
    ("loop_libuv: rests while connecting", libuv_rests),
    ("client_hello", client_hello),
    ("echo_client", echo_client),
    ("echo_server: echo", server_echoes("echo_server", "--port", "0")),
    ("echo_server: slow reader",
     server_slow_reader("echo_server", "--port", "0")),
    ("echo_server: rest and end",
     server_rests_and_ends("echo_server", "--port", "0")),
    ("echo_server: port taken", server_port_taken("echo_server", "--port")),
]


class Report:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def skip(self, cases, why):
        for name, _ in cases:
            print("SKIP %s: %s" % (name, why))
            self.skipped += 1

    def add(self, name, error):
        if error is None:
            self.passed += 1
        elif isinstance(error, Skip):
            self.skip([(name, None)], error)
        else:
            self.failed += 1
            print("FAIL %s: %s: %s" % (name, type(error).__name__, error))

    def run(self, cases, side_by_side, *arguments):
        """Most of a case is waiting."""
        with ThreadPoolExecutor(side_by_side) as pool:
            ends = [pool.submit(case, *arguments) for _, case in cases]
            for (name, _), end in zip(cases, ends):
                self.add(name, end.exception())
                sys.stdout.flush()

    def end(self):
        print("%d passed, %d failed, %d skipped" % (
            self.passed, self.failed, self.skipped))
        return 1 if self.failed else 0


def main():
    global BUILT
    report = Report()
    inside = sys.argv[1:2] == ["--isolated"]
    if len(sys.argv) != 2 + inside:
        print(__doc__, file=sys.stderr)
        return 2
    BUILT = os.path.abspath(sys.argv[-1])
    logging.disable(logging.CRITICAL)
    if websockets is None:
        report.skip(CASES + ISOLATED, "no Python package websockets")
    elif inside:
        try:
            network = Network()
        except (OSError, subprocess.CalledProcessError) as e:
            report.skip(ISOLATED, "no network of its own: %s" % e)
        else:
            report.run(ISOLATED, 1, network)
    else:
        # game_client's longest frame is no other case's.
        frames = [c for c in CASES if c[0].startswith("game_client")]
        report.run(frames, 1)
        report.run([c for c in CASES if c not in frames], 4)
        isolated(report)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
