#!/usr/bin/env python3
"""Maltreats a server and measures what it costs the server.

    abuse.py [options] PROGRAM

PROGRAM is abuse_server.c.  Each abuse is one test with a server of its own,
and holds only if

- the memory of the server, counted by its own allocator, never went above
  the bound that the test computes from the server's options,
- a well-behaved client that was there before, and others that come while the
  abuse goes on, get their echoes,
- afterwards the server holds no more than when it was idle before, but for
  what it keeps for the connections to come, and ends in order on SIGTERM
  with nothing left.

    --only TEXT    just the tests whose names contain it
    --small        a tenth of the connections and no test that needs many
    --verbose      also a line for each test that passed

Prints a table of what was measured (RSS is for information), one line for
each test that fails, and last how many did.
"""
import argparse
import collections
import errno
import itertools
import os
import resource
import select
import signal
import socket
import struct
import sys
import time

from conformance_server import Server, check_101, request
from wire import (BINARY, CLOSE, CONT, PING, PONG, TEXT, TIMEOUT, Ended,
                  Failure, Peer, build_frame, read_head, show)

KIB = 1024
MIB = 1024 * KIB

# What a connection may cost: with nothing in hand; with a head or the state
# of a frame in hand; with a send queue too, whose first piece has room for
# some messages.
IDLE = 192
HAND = KIB
QUEUE = 8 * KIB
# What a server may keep when all have left, for those to come: the structs
# of as many connections as there were at once, 64 of each small piece, and
# one buffer of a large message.
KEPT_EACH = IDLE
KEPT = 64 * (HAND + QUEUE)
KEPT_LARGE = MIB
SLACK = 64 * KIB  # for the guests

KEY = b"\x11\x22\x33\x44"  # of frames that are sent very often


def frame(op, data=b"", fin=True, **more):
    return build_frame(op, data, fin, key=KEY, **more)


# --------------------------------------------------------------- connections

SOURCES = itertools.cycle(range(2, 34))  # 127.0.0.x


def dial(server, room=0):
    """A TCP connection.  They come from several addresses, so that the
    ports of those that were dropped are not missed.  `room` is the size of
    the buffer in which the kernel receives for us."""
    sock = socket.socket()
    try:
        sock.settimeout(TIMEOUT)
        if room:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        sock.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
        sock.bind(("127.0.0.%d" % next(SOURCES), 0))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect(server.address)
    except OSError as e:
        sock.close()
        raise Failure("a TCP connection", str(e))
    return sock


class Client(Peer):
    """One that answers pings, as a test may take long."""

    def __init__(self, sock):
        super().__init__(sock, "client")

    def read_frame(self, wanted):
        while True:
            f = super().read_frame(wanted)
            if f.op != PING:
                return f
            self.put(PONG, f.data)


def shaken(peer):
    check_101(read_head(peer, "a 101 response"))
    return peer


def visit(server, room=0):
    """An open connection."""
    peer = Client(dial(server, room))
    peer.send(request())
    return shaken(peer)


def visits(server, count, room=0):
    """Many, whose handshakes go on at the same time."""
    peers = [Client(dial(server, room)) for _ in range(count)]
    for p in peers:
        p.send(request())
    for p in peers:
        shaken(p)
    return peers


def reset(sock):
    """Close with RST instead of FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                    struct.pack("ii", 1, 0))
    sock.close()


def taken(sock, data):
    """Send what the kernel takes now: bytes taken, or None: it is over."""
    try:
        return sock.send(data)
    except BlockingIOError:
        return 0
    except OSError as e:
        if e.errno in (errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED):
            return None
        raise


def come(sock):
    """What has come: bytes, b"" for nothing, None: it is over."""
    try:
        return sock.recv(65536) or None
    except BlockingIOError:
        return b""
    except OSError as e:
        if e.errno in (errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED):
            return None
        raise


# --------------------------------------------------------------- the server

class Victim(Server):
    """abuse_server, with its counters."""

    def __init__(self, program, options, files=0):
        command = [program] + [str(o) for o in options]
        if files:
            command = ["sh", "-c", 'ulimit -n %d && exec "$@"' % files,
                       "sh"] + command
        super().__init__(command)
        self.pid = self.process.pid

    def state(self, number=signal.SIGUSR1):
        self.check_alive()
        self.process.send_signal(number)
        ready, _, _ = select.select([self.process.stdout], [], [], TIMEOUT)
        line = self.process.stdout.readline().split() if ready else []
        if not line:
            self.check_alive()
            raise Failure("the counters", "a server that is stuck")
        words = [w.decode() for w in line]
        return collections.Counter(
            {words[i]: int(words[i + 1]) for i in range(0, len(words), 2)})

    def until(self, wanted, holds):
        """Wait for a state, which is returned."""
        end = time.monotonic() + TIMEOUT
        while True:
            state = self.state()
            if holds(state):
                return state
            if time.monotonic() > end:
                raise Failure(wanted, ", ".join(
                    "%s %d" % pair for pair in state.items()))
            time.sleep(0.01)

    def files(self):
        return len(os.listdir("/proc/%d/fd" % self.pid))

    def cpu(self):
        """Seconds of CPU that it has used."""
        with open("/proc/%d/stat" % self.pid) as f:
            fields = f.read().rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def most_rss(self):
        with open("/proc/%d/status" % self.pid) as f:
            for line in f:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * KIB
        return 0


# -------------------------------------------------------------------- tests

class Test:
    """What an abuse has at hand."""

    def __init__(self, abuse, program, small):
        self.small = small
        # The server inherits it; it and this program need one each.
        self.limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.sockets = []
        self.ends = time.monotonic() + 4 * TIMEOUT
        self.server = Victim(program, abuse.options, abuse.files)
        self.broadcast = "--broadcast" in abuse.options
        self.connections = 0
        self.note = None
        self.first = None

    def n(self, count):
        """So many connections, fewer with --small, or where there are not
        as many descriptors."""
        if self.small:
            count = max(count // 10, 8)
        return min(count, self.limit - 64)

    def hold(self, what):
        """Close these sockets or peers in the end."""
        for one in what if isinstance(what, list) else [what]:
            self.sockets.append(one.sock if isinstance(one, Peer) else one)
        return what

    def abusers(self, count, room=0):
        return self.hold(visits(self.server, count, room))

    def dials(self, count, room=0):
        socks = self.hold([dial(self.server, room) for _ in range(count)])
        for s in socks:
            s.setblocking(False)
        return socks

    def check_time(self, wanted):
        if time.monotonic() > self.ends:
            raise Failure(wanted, "that it goes on")

    def rise(self, connections, each, once=None, rest=0, large=False):
        """So many connections, `once` of them at the same time, may cost
        `each` bytes and `rest` for all; with large messages one buffer is
        kept even when they have left."""
        once = connections if once is None else once
        self.connections = connections
        self.most = self.idle + SLACK + once * each + rest
        self.kept = (self.idle + KEPT + once * KEPT_EACH +
                     (KEPT_LARGE if large else 0))

    def rise_to(self, connections, most):
        """The same with a limit for all that the server has."""
        self.rise(connections, 0, large=True)
        self.most = most

    # ------------------------------------------- the well-behaved clients

    def settle(self):
        """Idle, then the one that is there before."""
        p = visit(self.server)
        p.echo(TEXT, b"warm up")
        p.finish()
        p.sock.close()
        self.server.until("an idle server", lambda s: s["count"] == 0)
        self.idle = self.server.state(signal.SIGUSR2)["bytes"]
        self.files = self.server.files()
        self.first = visit(self.server)
        self.first.echo(TEXT, b"before")

    def served(self):
        self.first.echo(TEXT, b"still there")
        self.first.echo(BINARY, b"\0" * 3000)
        p = visit(self.server)
        p.echo(TEXT, b"just come")
        if self.broadcast:
            self.first.expect_message(TEXT, b"just come")
        p.finish()
        p.sock.close()

    def drop(self):
        for s in self.sockets:
            s.close()
        self.sockets = []

    def leave(self):
        """All leave; what is left is to be what there was before."""
        self.drop()
        self.server.until("that all but the guest have left",
                          lambda s: s["count"] == bool(self.first))
        if not self.first:
            self.first = visit(self.server)
        self.served()
        self.first.finish()
        self.first.sock.close()
        self.server.until(
            "no connection and %d bytes at most" % self.kept,
            lambda s: s["count"] == 0 and s["bytes"] <= self.kept)
        if self.server.files() != self.files:
            raise Failure("%d descriptors" % self.files,
                          "%d" % self.server.files())

    def stop(self):
        """The server ends in order, with nothing allocated."""
        state = self.server.state()
        self.peak, self.after = state["peak"], state["bytes"]
        self.rss = self.server.most_rss()
        try:
            self.server.stop()
        finally:
            server, self.server = self.server, None
            if server.process.poll() is None:
                server.process.kill()
        if self.first:
            self.first.sock.close()


class Abuse:
    def __init__(self, name, run, options, files, many):
        self.name, self.run, self.options = name, run, options
        self.files, self.many = files, many


ABUSES = []


def abuse(name, *options, files=0, many=False):
    """A test: the command line of its server, the limit of its descriptors,
    whether it makes no sense with few connections."""
    def add(run):
        ABUSES.append(Abuse(name, run, options, files, many))
        return run
    return add


# ------------------------------------------------------- handshakes that drag

DRAGGING = request()[:-2] + b"X-Slow: "


def drag(t, socks, each_round):
    """One byte at a time on each, a head that never ends.  Yields each
    connection that has ended, with what came on it."""
    got = {s: b"" for s in socks}
    at = 0
    while got:
        t.check_time("the end of %d heads" % len(got))
        byte = DRAGGING[at:at + 1] or b"a"
        at += 1
        for s in list(got):
            data = come(s) if taken(s, byte) is not None else None
            got[s] += data or b""
            if data is None:
                yield got.pop(s)
        each_round(at)


@abuse("slowloris, ended by handshake_timeout", "--handshake-timeout", 400)
def _(t):
    n = t.n(500)
    t.rise(n, HAND + QUEUE)

    def each_round(at):
        if at % 20 == 1:
            t.served()
    socks = t.dials(n)
    for answer in drag(t, socks, each_round):
        if not answer.startswith(b"HTTP/1.1 408 "):
            raise Failure("HTTP/1.1 408", show(answer))


@abuse("slowloris, all of it within max_handshakes", "--handshake-timeout",
       60000, "--max-handshakes", 50)
def _(t):
    n = t.n(1000)
    t.rise(n, HAND + QUEUE, once=60)
    most = [0]

    def each_round(at):
        if at % 10 == 1:
            t.served()
            most[0] = max(most[0], t.server.state()["count"])
    # In groups, so that those of one are read before the next ones come.
    for _ in range(0, n, 25):
        group = t.dials(25)
        for s in group:
            taken(s, DRAGGING)
        t.served()
        most[0] = max(most[0], t.server.state()["count"])
    if most[0] > 52:
        raise Failure("50 handshakes and two guests", "%d" % most[0])
    # The oldest have given way: they end, though no time is up.
    old, young = t.sockets[:n - 50], t.sockets[n - 50:]
    for _ in drag(t, old, each_round):
        pass
    alive = 0
    for s in young:
        alive += come(s) is not None
    if alive < 40:
        raise Failure("that the youngest go on", "%d of 50 that do" % alive)


# --------------------------------------------------------- opened and dropped

def opened(stage, end):
    def run(t):
        n = t.n(2000)
        # A guest every 100 waits until those before it are served.
        large = stage in ("in a frame", "with an echo on its way")
        t.rise(n, HAND + QUEUE + (64 * KIB if large else 0), once=110,
               large=large)
        head = request()
        message = frame(BINARY, b"x" * 60000)
        for i in range(n):
            sock = dial(t.server)
            if stage == "in the head":
                sock.sendall(head[:40 + i % 80])
            elif stage != "before the head":
                sock.sendall(head)
            if stage == "behind the handshake":
                sock.recv(4096)
            elif stage == "in a frame":
                sock.recv(4096)
                sock.sendall(message[:1 + i % 5000])
            elif stage == "with an echo on its way":
                sock.recv(4096)
                sock.sendall(message)
            if end == "RST":
                reset(sock)
            else:
                sock.close()
            if i % 100 == 50:
                t.served()
    return run


for stage, end in itertools.product(
        ("before the head", "in the head", "before the answer",
         "behind the handshake", "in a frame", "with an echo on its way"),
        ("FIN", "RST")):
    abuse("dropped %s by %s" % (stage, end))(opened(stage, end))


# --------------------------------------------------- floods that nobody reads

def flood(t, socks, data, each_round, over=None):
    """Send without ever reading.  Ends when each of them was ended by the
    other side, or took nothing more for a while when over says so."""
    at = {s: 0 for s in socks}
    poll = select.poll()
    for s in socks:
        poll.register(s, select.POLLOUT)
    sent, quiet = 0, 0
    by_number = {s.fileno(): s for s in socks}
    while at:
        t.check_time("the end of %d floods" % len(at))
        ready = poll.poll(50)
        quiet = 0 if ready else quiet + 1
        for number, _ in ready:
            s = by_number[number]
            size = taken(s, memoryview(data)[at[s]:])
            if size is None:
                poll.unregister(s)
                del at[s]
            else:
                at[s] = (at[s] + size) % len(data)
                sent += size
        each_round(len(at))
        if over and over(quiet, sent):
            break
    return sent


def now_and_then(call, every=0.05):
    last = [time.monotonic()]

    def each_round(_):
        if time.monotonic() - last[0] > every:
            call()
            last[0] = time.monotonic()
    return each_round


def stalled(t, n):
    """All of them were ended because they took nothing."""
    return t.server.until(
        "that %d connections are ended by stall_timeout" % n,
        lambda s: s["WSOCK_TIMED_OUT"] == n)


SMALL = 4096  # room of those who do not read
LIMIT = 64 * KIB  # options.send_limit,
QUEUED = LIMIT + LIMIT // 4 + QUEUE  # and a queue that is full to it
WINDOW = 64 * KIB  # options.receive_buffer


@abuse("pings whose pongs are never read", "--stall-timeout", 500)
def _(t):
    n = t.n(20)
    t.rise(n, HAND + QUEUE)
    socks = [p.sock for p in t.abusers(n, SMALL)]
    for s in socks:
        s.setblocking(False)
    flood(t, socks, frame(PING, b"p" * 125) * 500, now_and_then(t.served))
    stalled(t, n)


def unread(size, copies):
    def run(t):
        n = t.n(40)
        # What is queued, the window that was read when the queue became
        # full, the message whose echo did it, and one before it of which
        # the rest is queued still.
        t.rise(n, QUEUED + WINDOW + HAND + 9 * size // 4, large=True)
        socks = [p.sock for p in t.abusers(n, SMALL)]
        for s in socks:
            s.setblocking(False)
        flood(t, socks, frame(BINARY, b"m" * size) * copies,
              now_and_then(t.served))
        state = stalled(t, n)
        if state["refused"] or state["failed"]:
            raise Failure("no echo that is lost", "%d" % state["refused"])
    return run


for size, copies in ((0, 10000), (1, 10000), (100, 2000), (1000, 200),
                     (60000, 4), (1000000, 1)):
    abuse("echoes of %d bytes that are never read" % size, "--stall-timeout",
          500, "--send-limit", LIMIT)(unread(size, copies))


@abuse("echoes that are read late", "--send-limit", LIMIT)
def _(t):
    """Held back for a while, then all is there."""
    n = t.n(20)
    t.rise(n, QUEUED + WINDOW + HAND, large=True)
    peers = t.abusers(n, SMALL)
    socks = [p.sock for p in peers]
    for s in socks:
        s.setblocking(False)
    data = b"".join(frame(BINARY, struct.pack("!I", i) * 250)
                    for i in range(20000))
    at = dict.fromkeys(socks, 0)
    full = 0
    while full < 20:  # times in a row that nobody took anything
        t.check_time("that the server stops reading")
        full += 1
        for s in socks:
            size = taken(s, data[at[s]:at[s] + 200000])
            if size is None:
                raise Failure("a connection that is held", "its end")
            at[s] += size
            if size:
                full = 0
            if at[s] == len(data):
                raise Failure("that the server stops reading", "no end of it")
        if full:
            time.sleep(0.01)
    t.served()
    size = len(frame(BINARY, b"x" * 1000))
    for p in peers:
        p.sock.settimeout(TIMEOUT)
        count, rest = divmod(at[p.sock], size)
        for i in range(count):
            p.expect_message(BINARY, struct.pack("!I", i) * 250)
        if rest:
            p.send(data[at[p.sock]:(count + 1) * size])
            p.expect_message(BINARY, struct.pack("!I", count) * 250)
        p.finish()


@abuse("a broadcast to those who do not read", "--broadcast", "--send-limit",
       LIMIT, "--stall-timeout", 500)
def _(t):
    """The message is shared, so a hundred queues cost what one does."""
    n = t.n(50)
    t.rise(n, HAND + QUEUE, rest=4 * LIMIT, large=True)
    t.abusers(n, SMALL)
    data = os.urandom(8000)
    while True:
        state = t.server.state()
        if state["WSOCK_TIMED_OUT"] == n:
            break
        t.check_time("that %d connections are ended by stall_timeout" % n)
        for _ in range(20):
            t.first.put(BINARY, data)
            t.first.expect_message(BINARY, data)
    if not state["skipped"]:
        raise Failure("readers that are skipped", "none")


# ------------------------------------------------------ sizes that are absurd

def announced(wanted, code, *pieces):
    """Frames that announce what they cannot hold are refused at once."""
    def run(t):
        n = t.n(200)
        t.rise(n, HAND + QUEUE)
        for p in t.abusers(n):
            for piece in pieces:
                p.send(piece)
            p.expect_failure(code)
        t.served()
    abuse("%s is refused" % wanted)(run)


announced("a frame of 2^40 bytes", 1009, frame(BINARY, length=1 << 40))
announced("a frame of 2^63 bytes", 1002, frame(BINARY, length=1 << 63))
announced("a frame of 2^63 - 1 bytes", 1009,
          frame(TEXT, length=(1 << 63) - 1))
announced("a fragment of 2^63 - 1 bytes behind another", 1009,
          frame(BINARY, b"begun", fin=False),
          frame(CONT, length=(1 << 63) - 1))


@abuse("a frame of 2^40 bytes without max_message", "--max-message",
       (1 << 64) - 1, "--max-memory", 16 * MIB)
def _(t):
    """A header alone claims nothing; what follows it is bounded by
    max_memory."""
    n = t.n(100)
    t.rise_to(n, 16 * MIB)
    peers = t.abusers(n)
    for p in peers:
        p.send(frame(BINARY, b"x", length=1 << 40))
    t.served()
    peak = t.server.state()["peak"]
    if peak > t.idle + SLACK + n * (64 * KIB + HAND):
        raise Failure("64 KiB for each header", "%d" % peak)
    data = os.urandom(MIB)
    p = peers[0]
    p.sock.setblocking(False)
    while not select.select([p.sock], [], [], 0)[0]:
        t.check_time("the end of a message that is too large")
        if not taken(p.sock, data):
            select.select([p.sock], [p.sock], [], TIMEOUT)
    p.sock.settimeout(TIMEOUT)
    told(p, "a message that is too large")


@abuse("a frame of 2^40 bytes in parts", "--parts", "--send-limit", LIMIT)
def _(t):
    """Legal, and echoed for as long as it lasts."""
    n = t.n(10)
    t.rise(n, QUEUED + 2 * WINDOW + HAND, large=True)
    data = os.urandom(MIB)
    for p in t.abusers(n):
        p.send(frame(BINARY, length=1 << 40))
        p.sock.setblocking(False)
        sent, back, end = 0, 0, 4 * len(data)
        while back < end:
            t.check_time("echoes of a large frame")
            select.select([p.sock], [p.sock] if sent < end else [], [],
                          TIMEOUT)
            if sent < end:
                sent += taken(p.sock, data) or 0
            back += len(come(p.sock) or b"")
        t.served()


# ------------------------------------------------------- heads without an end

def endless(name, status, first, more, limit, room):
    """A head that is too large: `first`, then `more` again and again, in
    pieces of `room` bytes."""
    def run(t):
        n = t.n(50)
        t.rise(n, 4 * limit + HAND + QUEUE)
        socks = t.dials(n)
        left = {s: b"" for s in socks}
        data = first + more * (2 * max(limit, room) // len(more))
        at = 0
        while left:
            t.check_time("the end of %d heads" % len(left))
            if at + room > len(data):
                at = len(first)
            for s in list(left):
                end = taken(s, data[at:at + room]) is None
                came = come(s)
                left[s] += came or b""
                if came is None or end:
                    answer = left.pop(s)
                    if not answer.startswith(b"HTTP/1.1 %d " % status):
                        raise Failure("HTTP/1.1 %d" % status, show(answer))
            at += room
        t.served()
    abuse(name, "--max-header", limit, "--handshake-timeout", 60000)(run)


for kind, status, start, again in (
        ("headers without end", 431, request()[:-2], b"X-More: 12345678\r\n"),
        ("a header without end", 431, request()[:-2] + b"X-More: ", b"1"),
        ("a request line without end", 414, b"GET /", b"a")):
    endless(kind, status, start, again, 16 * KIB, 5000)
    endless(kind + ", byte by byte", status, start, again, 1 * KIB, 1)


@abuse("a head that goes on behind its refusal", "--max-header", 1024)
def _(t):
    """Nothing of it is kept, and it is over soon whether or not anybody
    reads the answer."""
    n = t.n(20)
    t.rise(n, HAND + QUEUE)
    socks = t.dials(n, SMALL)
    flood(t, socks, b"GET /" + b"a" * 200000, now_and_then(t.served))


@abuse("frames behind a Close")
def _(t):
    """The same for one who closes and goes on sending."""
    n = t.n(20)
    t.rise(n, HAND + QUEUE)
    peers = t.abusers(n, SMALL)
    for p in peers:
        p.send(p.close_frame(1000))
        p.sock.setblocking(False)
    flood(t, [p.sock for p in peers], frame(BINARY, b"x" * 1000) * 200,
          now_and_then(t.served))


# ------------------------------------------------------------------ fragments

@abuse("empty fragments")
def _(t):
    n = t.n(20)
    t.rise(n, HAND + QUEUE)
    for p in t.abusers(n):
        p.send(frame(TEXT, b"", fin=False) +
               frame(CONT, b"", fin=False) * 20000 + frame(CONT, b""))
        p.expect_message(TEXT, b"")
    t.served()


@abuse("empty fragments without end")
def _(t):
    n = t.n(20)
    t.rise(n, HAND + QUEUE)
    peers = t.abusers(n)
    for p in peers:
        p.send(frame(BINARY, b"", fin=False))
        p.sock.setblocking(False)
    flood(t, [p.sock for p in peers], frame(CONT, b"", fin=False) * 5000,
          now_and_then(t.served), lambda quiet, sent: sent > 20 * MIB)
    t.served()


@abuse("a message of a million fragments")
def _(t):
    count = 100000 if t.small else 1000000
    # While the buffer grows to four times what has come, the one before it
    # is there too; then the echo is queued.
    t.rise(1, 6 * count, large=True)
    p = t.abusers(1)[0]
    half = frame(CONT, b"y", fin=False) * (count // 2 - 1)
    p.send(frame(BINARY, b"x", fin=False) + half)
    t.served()
    p.send(half + frame(CONT, b"z"))
    p.expect_message(BINARY, b"x" + b"y" * (count - 2) + b"z")
    p.finish()


# ----------------------------------------------------- messages half received

@abuse("large messages byte by byte")
def _(t):
    """A message of more than 64 KiB is given 64 KiB at first."""
    n = t.n(200)
    t.rise(n, 64 * KIB + HAND + QUEUE, large=True)
    peers = t.abusers(n)
    data = frame(BINARY, b"d" * 100, length=1 << 20)
    for i in range(len(data)):
        for p in peers:
            p.send(data[i:i + 1])
        if i % 20 == 0:
            t.served()


MOST = 8 * MIB


def told(peer, what):
    """Frames up to a Close that says that it is too much: its code; or the
    messages that came instead: 0."""
    while True:
        try:
            f = peer.read_frame(what)
        except Ended:
            raise Failure("a Close frame for " + what, "the end alone")
        if f.op == CLOSE:
            code = struct.unpack("!H", f.data[:2])[0] if f.data else 1005
            if code not in (1009, 1011, 1013):
                raise Failure("1009, 1011 or 1013 for " + what, str(f))
            return code
        if f.fin:
            return 0


def short(t):
    """While memory is out a guest gets an echo, or is told in order."""
    if t.first:
        try:
            t.first.put(BINARY, b"still there")
            if told(t.first, "a guest while memory is out"):
                t.first.expect_end()
                t.first = None
        except Ended:
            raise Failure("an echo, or Close for a guest", "the end alone")
    state = t.server.state()
    if state["peak"] > MOST:
        raise Failure("%d bytes at most" % MOST, "%d" % state["peak"])


@abuse("half messages beyond max_memory", "--max-memory", MOST,
       "--max-message", MIB)
def _(t):
    n = t.n(80)
    t.rise_to(n, MOST)
    peers = t.abusers(n)
    data = frame(BINARY, b"h" * MIB)
    for i in range(0, len(data) // 2, 32 * KIB):
        for p in peers:
            taken(p.sock, data[i:i + 32 * KIB])
        short(t)
    # Those for whom there was no room have been told; the others go on, and
    # get their echo or are told then.
    ended = [p for p in peers if select.select([p.sock], [], [], 0)[0]]
    for p in ended:
        if not told(p, "half a message"):
            raise Failure("a Close frame", "a message")
    if not ended or len(ended) == n:
        raise Failure("that some go on and some do not",
                      "%d of %d that have ended" % (len(ended), n))
    for p in peers:
        if p not in ended:
            p.send(data[len(data) // 2 // (32 * KIB) * 32 * KIB:])
            told(p, "a message while memory is out")
            short(t)


@abuse("unread echoes beyond max_memory", "--max-memory", MOST,
       "--send-limit", MIB, "--stall-timeout", 60000, "--close-timeout", 500)
def _(t):
    n = t.n(40)
    t.rise_to(n, MOST)
    peers = t.abusers(n, SMALL)
    for p in peers:
        p.sock.setblocking(False)
    flood(t, [p.sock for p in peers], frame(BINARY, b"m" * 10000) * 20,
          now_and_then(lambda: short(t)), lambda quiet, sent: quiet > 5)
    short(t)


@abuse("heads beyond max_memory", "--max-memory", MIB, "--max-header",
       16 * KIB)
def _(t):
    n = t.n(1000)
    t.rise_to(n, MIB)
    socks = t.dials(n)
    data = request()[:-2] + b"X-Long: " + b"l" * (14 * KIB)
    for i in range(0, len(data), 1024):
        for s in socks:
            taken(s, data[i:i + 1024])
        short(t)


@abuse("connections beyond max_memory", "--max-memory", 512 * KIB)
def _(t):
    n = t.n(3000)
    t.rise_to(n, 512 * KIB)
    socks = t.dials(n)
    for s in socks:
        taken(s, request())
    short(t)


# ------------------------------------------------- connections, descriptors

def answered(socks):
    """Those that have got a 101; the others have got nothing."""
    out = []
    for s in socks:
        data = come(s)
        if data:
            if not data.startswith(b"HTTP/1.1 101 "):
                raise Failure("HTTP/1.1 101", show(data))
            out.append(s)
        elif data is None:
            raise Failure("a connection that waits", "its end")
    return out


def crowd(t, most, full):
    """More come than there is room for: those who are in are served, and
    the others get in as soon as some have left."""
    n = 2 * most
    t.rise(n, HAND + QUEUE, once=most)
    socks = t.dials(n)
    for s in socks:
        taken(s, request())
    state = t.server.until("a server that is full", full)
    before, clock = t.server.cpu(), time.monotonic()
    inside = []
    while len(inside) < state["opens"] - 2:  # those of settle()
        t.check_time("that all who are in have their answer")
        inside += answered([s for s in socks if s not in inside])
    waiting = [s for s in socks if s not in inside]
    while time.monotonic() - clock < 0.5:
        t.first.echo(TEXT, b"served")
        for s in inside:
            s.settimeout(TIMEOUT)
            Client(s).echo(BINARY, b"served too")
        time.sleep(0.05)
    # Measured in its own CPU time, so a busy machine does not matter.
    if t.server.cpu() - before > 0.3 * (time.monotonic() - clock):
        raise Failure("a server that rests while it is full", "%.2f s of CPU "
                      "in %.2f s" % (t.server.cpu() - before,
                                     time.monotonic() - clock))
    if answered(waiting):
        raise Failure("that nobody else gets in", "one that did")
    for s in inside[:most // 2]:
        s.close()
    got = []
    while len(got) < most // 2:
        t.check_time("that those who wait get in: %d have" % len(got))
        got += answered([s for s in waiting if s not in got])
    for s in got:
        s.settimeout(TIMEOUT)
        Client(s).echo(TEXT, b"at last")
    t.first.echo(TEXT, b"served")


@abuse("more than max_connections", "--max-connections", 50)
def _(t):
    crowd(t, 50, lambda s: s["count"] == 50 and s["opens"] == 50 + 1)


@abuse("running out of descriptors", files=64)
def _(t):
    most = 64 - t.files - 1
    crowd(t, most, lambda s: t.server.files() == 64 and s["opens"] ==
          most + 2)


# ------------------------------------------------------------------- requests

PLAIN = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@abuse("requests that are answered too late", "--hold",
       "--handshake-timeout", 600)
def _(t):
    """Nothing is read behind them, and they end with the time-out; the
    program's answers find nobody then, and free what is left."""
    n = t.n(100)
    t.rise(n, WINDOW + 2 * HAND + QUEUE, large=True)
    socks = t.dials(n)
    for s in socks:
        taken(s, PLAIN + b"x" * 100000)
    for s in socks:
        poll = select.poll()
        poll.register(s, select.POLLIN)
        while not poll.poll(50):
            t.check_time("the end of %d requests" % n)
            taken(s, b"x" * 100000)
            t.served()
        answer = come(s) or b""
        if not answer.startswith(b"HTTP/1.1 503 "):
            raise Failure("HTTP/1.1 503", show(answer))
    flood(t, socks, b"x" * 100000, now_and_then(t.served))
    state = t.server.state(signal.SIGHUP)
    if state["late"] != n:
        raise Failure("WSOCK_CLOSED for %d late answers" % n,
                      "%d" % state["late"])


@abuse("requests whose senders leave", "--hold")
def _(t):
    """The same where it is the clients who have no patience."""
    n = t.n(2000)
    t.rise(n, HAND + QUEUE)
    for i in range(n):
        sock = dial(t.server)
        sock.sendall(PLAIN)
        if i % 2:
            reset(sock)
        else:
            sock.close()
        if i % 100 == 50:
            t.served()
    t.server.until("%d requests" % n, lambda s: s["held"] == n)
    t.server.state(signal.SIGHUP)


PAGE = 8 * MIB  # more than two kernels hold


@abuse("pages that are never read", "--page", PAGE, "--stall-timeout", 500)
def _(t):
    n = t.n(10)
    t.rise(n, PAGE + HAND + QUEUE, large=True)
    socks = t.dials(n, SMALL)
    for s in socks:
        taken(s, PLAIN)
    t.served()
    t.server.until("that all but one are ended by stall_timeout",
                   lambda s: s["count"] == 1)


# -------------------------------------------------------------------- the end

@abuse("the end of a server among abusers", "--close-timeout", 300,
       "--send-limit", LIMIT)
def _(t):
    """Nobody answers, and it ends all the same."""
    n = t.n(50)
    t.rise(4 * n, HAND + QUEUE, rest=n * (60000 + QUEUED + WINDOW))
    t.dials(n)
    for s in t.dials(n):
        taken(s, DRAGGING)
    for p in t.abusers(n):
        p.send(frame(BINARY, b"half", length=60000))
    peers = t.abusers(n, SMALL)
    for p in peers:
        p.sock.setblocking(False)
    flood(t, [p.sock for p in peers], frame(BINARY, b"m" * 1000) * 100,
          lambda left: None, lambda quiet, sent: quiet > 3)
    t.served()
    t.stop()


# ------------------------------------------------------------ many thousands

@abuse("as many connections as there are descriptors", many=True)
def _(t):
    """Held, half of them killed at once, the others still there."""
    n = t.n(20000)
    t.note = "%d connections with %d descriptors" % (n, t.limit)
    t.rise(n, IDLE, rest=500 * (HAND + QUEUE))
    peers = []
    while len(peers) < n:
        peers += t.abusers(min(500, n - len(peers)))
    state = t.server.until("%d connections" % (n + 1),
                           lambda s: s["count"] == n + 1)
    t.note += ", %.0f bytes each" % ((state["bytes"] - t.idle) / n)
    if state["bytes"] > t.kept:
        raise Failure("%d bytes for %d idle connections" % (t.kept, n),
                      "%d" % state["bytes"])

    def echoes(those):
        for p in those:
            p.put(TEXT, b"one of many")
        for p in those:
            p.expect_message(TEXT, b"one of many")
    echoes(peers)
    t.served()
    for p in peers[::2]:
        reset(p.sock)
    rest = peers[1::2]
    t.server.until("that half of them have gone",
                   lambda s: s["count"] == len(rest) + 1)
    if t.server.files() != t.files + len(rest) + 1:
        raise Failure("%d descriptors" % (t.files + len(rest) + 1),
                      "%d" % t.server.files())
    echoes(rest)
    for p in rest[::2]:
        p.put(CLOSE, b"\x03\xe8")
    for p in rest[::2]:
        p.expect_closed(1000)


# ----------------------------------------------------------------------- main

def run(abuse, options, rows):
    t = Test(abuse, options.program, options.small)
    try:
        t.settle()
        abuse.run(t)
        if t.server:
            t.leave()
            t.stop()
        rows.append((abuse.name, t.connections, t.peak, t.most, t.after,
                     t.rss))
        if t.peak > t.most:
            raise Failure("%d bytes at most" % t.most, "%d" % t.peak)
        return t.note
    finally:
        t.drop()
        if t.server and t.server.process.poll() is None:
            t.server.process.kill()


def main():
    parser = argparse.ArgumentParser(
        description="Maltreats a server and measures what it costs it.")
    parser.add_argument("--only")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--title", default="abuse")
    parser.add_argument("program")
    options = parser.parse_args()

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    passed, failed, rows = 0, 0, []
    for one in ABUSES:
        if (options.only and options.only not in one.name or
                options.small and one.many):
            continue
        began = time.monotonic()
        try:
            note = run(one, options, rows)
            passed += 1
            if options.verbose:
                print("ok   %s, %.1f s" % (one.name,
                                           time.monotonic() - began))
            if note:
                print("     %s: %s" % (one.name, note))
        # A fault of the script must not pass, nor a server that is none.
        except (Exception, SystemExit) as e:
            failed += 1
            print("FAIL %s: %s" % (one.name, e if isinstance(e, Failure)
                                   else "%s: %s" % (type(e).__name__, e)))
        sys.stdout.flush()
    print("\n%-52s %6s %10s %10s %9s %9s" % (
        "abuse", "conns", "peak", "bound", "after", "RSS"))
    for row in rows:
        print("%-52s %6d %10d %10d %9d %9d" % row)
    print("\n%s: %d passed, %d failed, 0 skipped" % (
        options.title, passed, failed))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
