#!/usr/bin/python3
"""Bad networks: delay, loss, reordering, silence and resets between two
network namespaces, with wsock.h at both ends.

    network.py [--only TEXT] [--jobs N] [--title TITLE] PROGRAM

PROGRAM is peer.c, built.  Prints a line for each case that fails, and last
how many did.  Nothing measures how long something takes, but for a lower
bound that the network sets: what must end ends within PATIENCE or fails.
Time-outs that a case is not about are off, so that only the one that it
names can be what ended something.
"""
import argparse
import contextlib
import errno
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

sys.dont_write_bytecode = True

from link import (DROP, PASS, REJECT, TOO_BIG, UNREACHABLE, Link, Namespaces,
                  drop_all)

PATIENCE = 40  # seconds; what takes longer hangs
NEVER = -1
SOON = 1000    # ms; of time-outs that must not end what still goes well
SIZES = [8, 9, 100, 125, 126, 127, 1000, 1400, 1447, 1460, 1500, 4096, 4097,
         9, 16384, 30000, 8, 65535, 65536, 50]  # as in peer.c
MUCH = 4000000  # bytes that no buffers on the way can hold
OFF = dict(connect_timeout=NEVER, handshake_timeout=NEVER, send_timeout=NEVER,
           close_timeout=NEVER, keepalive_interval=NEVER, pong_timeout=NEVER,
           stall_timeout=NEVER)

PONG = "no Pong within options.pong_timeout"
STALL = "takes nothing: options.stall_timeout"
SEND = "did not take a message within options.send_timeout"
CLOSE = "did not answer our Close within options.close_timeout"
RESET = "Connection reset by peer"


class Failure(Exception):
    pass


def equal(what, observed, expected):
    if observed != expected:
        raise Failure("%s: expected %.300r; observed %.600r" % (
            what, expected, observed))


# ---------------------------------------------------------------- programs

class Peer:
    """A running peer.c; `lines` is what it has said."""

    def __init__(self, net, mode, url, echo=False, **options):
        words = [net.program, mode, url] + ["--echo"] * echo
        for name, value in {**OFF, **options}.items():
            words += ["--" + name.replace("_", "-"), str(value)]
        self.mode, self.lines, self.at = mode, [], 0
        self.got = {}       # connection: messages (number, size), as they came
        self.wanted = {}    # connection: what is to have come in the end
        self.changed = threading.Condition()
        self.ended = False
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True)
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        for line in self.process.stdout:
            words = line.split()
            with self.changed:
                if words[:1] == ["got"]:
                    self.got.setdefault(int(words[1]), []).append(
                        (int(words[2]), int(words[3])))
                else:
                    self.lines.append(line.rstrip("\n"))
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def do(self, command, *words):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(" ".join(map(str, (command,) + words)) +
                                     "\n")
            self.process.stdin.flush()
        return self

    def until(self, what, condition):
        with self.changed:
            self.changed.wait_for(lambda: condition() or self.ended, PATIENCE)
            if not condition():
                raise Failure("%s: expected %s; observed %s after %r and %s"
                              % (self.mode, what, "its end" if self.ended
                                 else "nothing", self.lines, self.progress()))

    def progress(self):
        return "messages %r" % {i: len(g) for i, g in self.got.items()}

    def wait(self, pattern):
        """The next line that matches; those before it are passed over."""
        found = []

        def look():
            while self.at < len(self.lines) and not found:
                match = re.match(pattern, self.lines[self.at])
                self.at += 1
                if match:
                    found.append(match)
            return found
        self.until(pattern, look)
        return found[0]

    def open(self, number=0):
        self.wait("open %d " % number)
        return self

    def messages(self, count, connection=0):
        """`count` of a push have come, each once and in order."""
        got = self.got.setdefault(connection, [])
        wanted = [(i, SIZES[i % len(SIZES)]) for i in range(count)]
        self.until("%d messages" % count, lambda: len(got) >= count)
        equal("messages", got, wanted)
        self.wanted[connection] = wanted
        return self

    def account(self, result, phase, operation, text, codes=(0,), id=0):
        """The connection's end, and its reason."""
        end = self.wait(r"end %d (\w+) (\S+) (\S+) (\d+) (\d+) (\d+) (.*)"
                        % id)
        equal(self.mode + "'s account", end.groups()[:3],
              ("WSOCK_" + result, phase, operation))
        if int(end.group(4)) not in codes or text not in end.group(7):
            raise Failure("%s: expected os_code in %r and %r; observed %r" % (
                self.mode, codes, text, end.group(0)))
        if result != "OK":
            equal("the code, and that received",
                  (end.group(5), end.group(6)), ("1006", "0"))
        return self

    def orderly(self, id=0):
        return self.account("OK", "-", "-", "no failure", id=id)

    def timed_out(self, operation, text, id=0):
        return self.account("TIMED_OUT", "WEBSOCKET", operation, text, id=id)

    def lost(self, operation, text=RESET, codes=(errno.ECONNRESET,), id=0):
        return self.account("CONNECTION_LOST", "WEBSOCKET", operation, text,
                            codes, id)

    def did(self, command, result="OK"):
        equal(command, self.wait(r"did %s WSOCK_(\w+)" % command).group(1),
              result)
        return self

    def idle(self):
        """It waits for what may come."""
        if self.mode in ("dial", "accept"):
            self.do("listen")
        return self

    def rtt(self):
        """After a Pong; a blocking peer looks for it while it receives."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if self.mode in ("dial", "accept"):
                self.do("receive", 1).did("receive", "TIMED_OUT")
            value = int(self.do("rtt").wait(r"rtt 0 (\S+)").group(1))
            if value >= 0:
                return value
            time.sleep(0.02)
        raise Failure("no Pong ever")

    def finish(self):
        """Its input ends, so it does."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        status = self.process.wait(PATIENCE)
        self.thread.join(PATIENCE)
        odd = [line for line in self.lines if not re.match(
            r"listening|open|sent|did|end|rtt|count|over", line)]
        equal("%s's status and complaints" % self.mode, (status, odd),
              (0, []))
        for connection, wanted in self.wanted.items():
            equal("messages in the end", self.got[connection], wanted)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.thread.join(PATIENCE)
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()


class Net:
    """The links and programs of one case."""

    def __init__(self, world):
        self.world, self.program = world, world.program
        self.links, self.peers = [], []

    def link(self, **settings):
        link = Link(self.world.namespaces, self.world.number())
        self.links.append(link)
        link.both(**settings)
        return link

    def server(self, mode="serve", **options):
        """On all links."""
        peer = Peer(self, mode, "ws://0.0.0.0:0/", **options)
        self.peers.append(peer)
        peer.port = peer.wait(r"listening (\d+)").group(1)
        return peer

    def client(self, mode, link, server, **options):
        url = "ws://%s:%s/" % (link.host, server.port)
        with self.world.namespaces.clients():
            peer = Peer(self, mode, url, **options)
        self.peers.append(peer)
        return peer

    def pair(self, modes, link, server=None, client=None, **options):
        """A server and a client that are open."""
        s = self.server(modes[0], **options, **(server or {}))
        c = self.client(modes[1], link, s, **options, **(client or {}))
        c.open()
        return s.open(), c

    def wait(self, link, condition):
        if not link.wait(condition, PATIENCE) or link.error:
            raise Failure("the network: %s; up %r, down %r" % (
                link.error or "what is waited for does not happen",
                vars(link.up), vars(link.down)))

    def other(self, server, number):
        """The server goes on serving, on a good network."""
        c = self.client("call", self.link(), server).open()
        server.open(number)
        c.do("push", 5)
        server.messages(5, number)
        c.do("close").orderly()
        server.orderly(number)

    def close(self, good):
        """End all; what the programs have to say about it counts only if
        nothing went wrong before."""
        try:
            if good:
                for peer in self.peers[::-1]:
                    peer.finish()
        finally:
            for peer in self.peers:
                peer.kill()
            for link in self.links:
                link.close()


def talk(s, c, count):
    """Both send and receive so many messages, at the same time."""
    for p in (s, c):
        p.do("both" if p.mode in ("dial", "accept") else "push", count)
    for p in (s, c):
        p.wait("sent 0 %d" % count)
        p.messages(count)


def part(s, c):
    """Close in order, from the client's side."""
    s.idle()
    c.do("close")
    c.orderly()
    if s.mode == "accept":
        s.did("listen").do("close")
    s.orderly()


def payload(verdict):
    """A rule for packets with data: TCP connects, then nothing passes."""
    return lambda packet: verdict if packet.tcp and packet.payload else PASS


# ------------------------------------------------------- delay, loss, order

def echo_far(net, modes):
    link = net.link(delay=0.1, jitter=0.05)
    s, c = net.pair(modes, link, dict(echo=True), keepalive_interval=300,
                    pong_timeout=60000, receive_timeout=1000)
    c.do("both" if modes[1] == "dial" else "push", 60)
    if modes[0] == "accept":
        s.do("receive", 60)
    s.messages(60), c.messages(60)
    for p in (s, c):
        if p.mode in ("dial", "accept"):
            p.did("both" if p is c else "receive")
        rtt = p.rtt()
        if rtt < 199:  # the clock ticks in ms
            raise Failure("a round-trip of 200 ms took %d ms" % rtt)
    if not link.up.reordered or not link.down.reordered:
        raise Failure("nothing was reordered")
    part(s, c)


def loss(net, modes):
    link = net.link(loss=0.1, delay=0.002)
    s, c = net.pair(modes, link, keepalive_interval=300, pong_timeout=60000)
    talk(s, c, 60)
    if not link.up.dropped or not link.down.dropped:
        raise Failure("nothing was lost")
    part(s, c)


# ----------------------------------------------------------------- silence

def silent_idle(net, modes):
    link = net.link()
    s, c = net.pair(modes, link, keepalive_interval=300, pong_timeout=SOON)
    talk(s, c, 5)
    s.idle(), c.idle()
    link.both(rule=drop_all)
    c.timed_out("RECEIVE", PONG)
    s.timed_out("RECEIVE", PONG)


def silent_sending(net, modes, sender, option, text):
    """In the middle of a message, whose receiver has nothing of it."""
    link = net.link()
    if sender == "server":
        ours, theirs, way = dict(client=dict(
            keepalive_interval=300, pong_timeout=SOON)), "server", link.down
    else:
        ours, theirs, way = dict(server=dict(
            keepalive_interval=300, pong_timeout=SOON)), "client", link.up
    ours[theirs] = {option: SOON}
    s, c = net.pair(modes, link, **ours)
    giver, taker = (s, c) if sender == "server" else (c, s)
    taker.idle()
    if text is STALL and giver.mode in ("dial", "accept"):
        giver.do("both", 500)  # a thread that receives looks at the time
    else:
        giver.do("big", MUCH)
    net.wait(link, lambda: way.bytes > 200000)
    link.both(rule=drop_all)
    giver.timed_out("SEND", text)
    taker.timed_out("RECEIVE", PONG)
    if text is SEND:
        giver.at = 0
        giver.did("big", "TIMED_OUT")
    got = [n for n, _ in taker.got.get(0, [])]
    equal("messages", got, list(range(len(got))))


def silent_close(net, modes, closer):
    link = net.link()
    s, c = net.pair(modes, link, close_timeout=500)
    link.both(rule=drop_all)
    p = c if closer == "client" else s
    p.do("close")
    if p.mode in ("dial", "accept"):
        p.did("close", "TIMED_OUT")
    p.timed_out("CLOSE", CLOSE)
    if p.mode == "serve":
        p.wait("over WSOCK_CLOSED")


def silent_close_queued(net):
    """The Close stands behind what nobody takes."""
    link = net.link()
    s, c = net.pair(("serve", "call"), link, close_timeout=500)
    link.both(rule=drop_all)
    c.do("big", MUCH).did("big").do("close")
    c.timed_out("CLOSE", "options.close_timeout")


def silent_connect(net, mode, way):
    link = net.link()
    getattr(link, way).rule = drop_all
    s = net.server()
    c = net.client(mode, link, s, connect_timeout=500)
    c.account("TIMED_OUT", "TCP", "CONNECT", "no connection to %s port %s "
              "within options.connect_timeout" % (link.host, s.port))
    net.other(s, 0)


def none_left(server):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if server.do("count").wait(r"count (\d+)").group(1) == "0":
            return
        time.sleep(0.05)
    raise Failure("the server never gives the connection up")


def silent_handshake(net, mode):
    link = net.link()
    link.up.rule = payload(DROP)
    s = net.server()
    c = net.client(mode, link, s, handshake_timeout=500)
    c.account("TIMED_OUT", "HTTP", "CONNECT", "the server did not answer "
              "within options.handshake_timeout")
    net.other(s, 0)


def silent_server_handshake(net):
    """The client waits for ever: the server does not."""
    link = net.link()
    link.up.rule = payload(DROP)
    s = net.server(handshake_timeout=SOON)
    c = net.client("call", link, s)
    net.wait(link, lambda: link.up.dropped)
    none_left(s)
    # Its answer comes before the request: 408, and the end.
    c.account("REFUSED", "HTTP", "CONNECT", "408")
    net.other(s, 0)


def silent_answer(net, mode):
    """The 101 is lost: the server is open, the client is not."""
    link = net.link()
    link.down.rule = payload(DROP)
    s = net.server()
    c = net.client(mode, link, s, handshake_timeout=500)
    c.account("TIMED_OUT", "HTTP", "CONNECT", "options.handshake_timeout")
    s.open().account("CONNECTION_LOST", "WEBSOCKET", "RECEIVE",
                     "without a Close frame")
    net.other(s, 1)


def back_again(net, modes):
    link = net.link()
    s, c = net.pair(modes, link, keepalive_interval=300, pong_timeout=60000,
                    stall_timeout=60000, send_timeout=60000)
    link.both(rule=drop_all)
    for p in (s, c):
        p.do("both" if p.mode in ("dial", "accept") else "push", 30)
    net.wait(link, lambda: min(link.up.dropped, link.down.dropped) > 12)
    link.both(rule=None)
    s.messages(30), c.messages(30)
    part(s, c)


# ----------------------------------------------------------- one direction

def one_way(net, modes, way):
    """Who hears nothing ends by its time-out, and the other one when it
    hears of that."""
    link = net.link()
    deaf = dict(keepalive_interval=300, pong_timeout=SOON)
    up = way == "up"
    s, c = net.pair(modes, link, server=deaf if up else None,
                    client=None if up else deaf)
    s.idle(), c.idle()
    getattr(link, way).rule = drop_all
    hears, deaf = (c, s) if up else (s, c)
    deaf.timed_out("RECEIVE", PONG)
    # TCP may keep the end back while nothing before it is acknowledged; and
    # a Pong that comes then is answered by a reset.
    link.both(rule=None)
    hears.lost("RECEIVE", "", (0, errno.ECONNRESET))


def one_way_sender(net, modes, way):
    """The receiver takes all, but its acknowledgements are lost, or the
    data are: it is the same to the sender."""
    link = net.link()
    s, c = net.pair(modes, link, client=dict(stall_timeout=SOON,
                                             send_timeout=SOON))
    getattr(link, way).rule = drop_all
    c.do("big", MUCH)
    c.timed_out("SEND", SEND if modes[1] == "dial" else STALL)
    net.other(s, 1)


# ------------------------------------------------------------------ resets

def reset_idle(net, modes):
    link = net.link()
    s, c = net.pair(modes, link)
    talk(s, c, 5)
    s.idle(), c.idle()
    link.reset()
    c.lost("RECEIVE"), s.lost("RECEIVE")
    if s.mode == "serve":
        net.other(s, 1)


def reset_found(net):
    """Sends are the first to find it: the reset was read, or the pipe is
    broken; later calls say the same."""
    link = net.link()
    s, c = net.pair(("serve", "dial"), link)
    link.reset()
    s.lost("RECEIVE")
    c.do("push", 1000)
    c.wait("did push WSOCK_CONNECTION_LOST")
    c.lost("SEND", "", (errno.ECONNRESET, errno.EPIPE))
    c.do("push", 1).wait("did push WSOCK_CONNECTION_LOST")
    c.do("close").wait("did close WSOCK_CONNECTION_LOST")


def reset_sending(net, modes):
    """In mid-message; another client of the server notices nothing."""
    link, good = net.link(), net.link()
    s, c = net.pair(modes, link)
    d = net.client("call", good, s).open() if modes[0] == "serve" else None
    if d:
        s.open(1)
        d.do("push", 20)
    s.idle()
    c.do("push", 20).wait("sent 0 20")
    s.messages(20)
    c.do("big", MUCH)
    net.wait(link, lambda: link.up.bytes > 500000)
    link.reset()
    # Whether a read or a write is first to meet it is not for us to say.
    end = c.wait(r"end 0 WSOCK_CONNECTION_LOST WEBSOCKET (SEND|RECEIVE) "
                 r"(\d+) 1006 0 ")
    if int(end.group(2)) not in (errno.ECONNRESET, errno.EPIPE):
        raise Failure("os_code of a reset: %s" % end.group(0))
    s.lost("RECEIVE").messages(20)
    if d:
        d.do("push", 20).wait("sent 0 40")
        s.messages(40, 1)
        d.do("close").orderly()
        s.orderly(1)


def reset_receiving(net, mode):
    """The server sends; the client has half a message."""
    link = net.link()
    s, c = net.pair(("serve", mode), link)
    c.idle()
    s.do("push", 20)
    c.messages(20)
    s.do("big", MUCH)
    net.wait(link, lambda: link.down.bytes > 500000)
    link.reset()
    c.lost("RECEIVE").messages(20)
    s.wait(r"end 0 WSOCK_CONNECTION_LOST WEBSOCKET (SEND|RECEIVE) (%d|%d) "
           % (errno.ECONNRESET, errno.EPIPE))
    net.other(s, 1)


def reset_connect(net, mode, verdict, code):
    link = net.link()
    link.up.rule = lambda packet: verdict
    s = net.server()
    c = net.client(mode, link, s)
    c.account("CONNECT_FAILED", "TCP", "CONNECT", "no connection to %s port "
              "%s: %s" % (link.host, s.port, os.strerror(code)), (code,))
    net.other(s, 0)


def reset_handshake(net, mode):
    link = net.link()
    link.up.rule = payload(REJECT)
    s = net.server()
    c = net.client(mode, link, s)
    c.account("CONNECTION_LOST", "HTTP", "CONNECT", RESET,
              (errno.ECONNRESET,))
    link.reset()
    none_left(s)
    net.other(s, 0)


def reset_answer(net, mode):
    """The 101 meets it: the server learns, and the client's time is up."""
    link = net.link()
    link.down.rule = payload(REJECT)
    s = net.server()
    c = net.client(mode, link, s, handshake_timeout=500)
    s.open().lost("RECEIVE")
    c.account("TIMED_OUT", "HTTP", "CONNECT", "options.handshake_timeout")
    net.other(s, 1)


def unreachable_for_now(net, modes):
    """ICMP errors on an open connection: TCP goes on, and so do we."""
    link = net.link()
    s, c = net.pair(modes, link)
    link.both(rule=lambda packet: UNREACHABLE)
    for p in (s, c):
        p.do("both" if p.mode in ("dial", "accept") else "push", 20)
    net.wait(link, lambda: min(link.up.answered, link.down.answered) > 3)
    link.both(rule=None)
    s.messages(20), c.messages(20)
    part(s, c)


# ------------------------------------------------------- rates and big ones

def broadcast_slow(net):
    """Broadcasts go at the speed of the fast client, and pass the slow one
    over while its queue is full."""
    slow, fast = net.link(), net.link()
    slow.both(rate=1000000)
    s = net.server(send_limit=65536, stall_timeout=20000)
    a = net.client("call", slow, s).open()
    s.open()
    b = net.client("call", fast, s).open()
    s.open(1)
    skipped = 0
    total, size = 60, 20000
    wanted = [(i, size) for i in range(total)]
    for i in range(total):
        s.do("broadcast", size)
        skipped += int(s.wait(r"did broadcast WSOCK_OK (\d+)").group(1))
        got = b.got.setdefault(0, [])
        b.until("broadcast %d" % i, lambda: len(got) > i)
    equal("the fast client's messages", got, wanted)
    if skipped == 0:
        raise Failure("the slow client was never passed over")
    got = a.got.setdefault(0, [])
    a.until("%d broadcasts" % (total - skipped),
            lambda: len(got) >= total - skipped)
    if sorted(set(got)) != got or not set(got) <= set(wanted):
        raise Failure("the slow client's messages: %r" % got)
    equal("their count", len(got), total - skipped)
    for p in (a, b):
        p.do("close").orderly()
        s.wait("end . WSOCK_OK")


def rate_both(net, modes):
    link = net.link(rate=1000000)
    s, c = net.pair(modes, link, keepalive_interval=300, pong_timeout=60000)
    talk(s, c, 20)
    part(s, c)


def bigger(verdict):
    """Only packets of up to 600 bytes pass."""
    return lambda packet: verdict if packet.size > 600 else PASS


def hole_sending(net, modes, sender):
    """Handshake and small messages pass.  A message that the socket's buffer
    cannot hold stalls its sender."""
    link = net.link(rule=bigger(DROP))
    options = {sender: dict(stall_timeout=SOON, send_timeout=SOON)}
    s, c = net.pair(modes, link, **options)
    talk(s, c, 6)
    giver = s if sender == "server" else c
    giver.do("big", MUCH)
    giver.timed_out("SEND", SEND if giver.mode in ("dial", "accept")
                    else STALL)


def hole_silent(net, modes):
    """The buffer holds the message, so nothing stalls: but no Pong comes, as
    the ping is stuck behind it."""
    link = net.link(rule=bigger(DROP))
    s, c = net.pair(modes, link, client=dict(
        keepalive_interval=300, pong_timeout=SOON, stall_timeout=60000))
    talk(s, c, 6)
    c.do("big", 10000).did("big")
    c.idle()
    c.timed_out("RECEIVE", PONG)
    equal("messages", len(s.got[0]), 6)


def hole_told(net, modes):
    """A router that says so: all gets through in smaller packets."""
    link = net.link(rule=bigger(TOO_BIG))
    s, c = net.pair(modes, link)
    talk(s, c, 20)
    if not link.up.answered or not link.down.answered:
        raise Failure("no packet was too big")
    part(s, c)


# ------------------------------------------------------------------- cases

POLLED, BLOCKING = ("serve", "call"), ("accept", "dial")
MIXED = ("serve", "dial")
BOTH = {"polled": POLLED, "blocking": BLOCKING}
ONE = {"polled": "call", "blocking": "dial"}


def each(name, case, ways, *arguments):
    return [("%s, %s" % (name, how), case, (way,) + arguments)
            for how, way in ways.items()]


CASES = [
    *each("100 ms, jitter, reordering", echo_far, BOTH),
    *each("10 % loss", loss, BOTH),
    *each("silence while idle", silent_idle,
          {**BOTH, "blocking client": MIXED, "blocking server":
           ("accept", "call")}),
    ("silence: polled client sends", silent_sending,
     (POLLED, "client", "stall_timeout", STALL)),
    ("silence: polled server sends", silent_sending,
     (POLLED, "server", "stall_timeout", STALL)),
    ("silence: blocking client sends", silent_sending,
     (MIXED, "client", "send_timeout", SEND)),
    ("silence: blocking server sends", silent_sending,
     (("accept", "call"), "server", "send_timeout", SEND)),
    ("silence: two threads of a client", silent_sending,
     (MIXED, "client", "stall_timeout", STALL)),
    ("silence: two threads of a server", silent_sending,
     (("accept", "call"), "server", "stall_timeout", STALL)),
    *each("silence: client closes", silent_close, BOTH, "client"),
    *each("silence: server closes", silent_close, BOTH, "server"),
    ("silence: Close behind a queue", silent_close_queued, ()),
    *each("silence: SYN", silent_connect, ONE, "up"),
    *each("silence: SYN-ACK", silent_connect, ONE, "down"),
    *each("silence: request", silent_handshake, ONE),
    ("silence: request, for the server", silent_server_handshake, ()),
    *each("silence: response", silent_answer, ONE),
    *each("back after a silence", back_again, BOTH),
    *each("only the server hears nothing", one_way, BOTH, "up"),
    *each("only the client hears nothing", one_way, BOTH, "down"),
    *each("data are lost", one_way_sender,
          {"polled": POLLED, "blocking": MIXED}, "up"),
    *each("acknowledgements are lost", one_way_sender,
          {"polled": POLLED, "blocking": MIXED}, "down"),
    *each("reset while idle", reset_idle, {**BOTH, "mixed": MIXED}),
    ("reset found by sends", reset_found, ()),
    *each("reset while the client sends", reset_sending,
          {**BOTH, "mixed": MIXED}),
    *each("reset while the server sends", reset_receiving, ONE),
    *each("SYN refused", reset_connect, ONE, REJECT, errno.ECONNREFUSED),
    *each("SYN: host unreachable", reset_connect, ONE, UNREACHABLE,
          errno.EHOSTUNREACH),
    *each("reset for the request", reset_handshake, ONE),
    *each("reset for the response", reset_answer, ONE),
    *each("unreachable for a while", unreachable_for_now, BOTH),
    ("1 Mbit/s: broadcasts", broadcast_slow, ()),
    *each("1 Mbit/s: both ways", rate_both, BOTH),
    *each("black hole: client sends", hole_sending, BOTH, "client"),
    *each("black hole: server sends", hole_sending, BOTH, "server"),
    *each("black hole: no Pong", hole_silent, BOTH),
    *each("a small MTU that is told", hole_told, BOTH),
]


class World:
    """All cases: the namespaces, the program, the counts."""

    def __init__(self, options, namespaces):
        self.program = os.path.abspath(options.program)
        self.namespaces = namespaces
        self.verbose = options.verbose
        self.links = self.passed = self.failed = 0
        self.lock = threading.Lock()

    def number(self):
        with self.lock:
            self.links += 1
            return self.links

    def attempt(self, case, arguments):
        net, good = Net(self), False
        try:
            case(net, *arguments)
            good = True
        finally:
            net.close(good)

    def run(self, name, case, arguments):
        began = time.monotonic()
        try:
            self.attempt(case, arguments)
            line = "ok   %s: %.1f s" % (name, time.monotonic() - began)
        except Exception as e:
            line = "FAIL %s: %s: %s" % (name, type(e).__name__, e)
        with self.lock:
            self.passed += line.startswith("ok")
            self.failed += line.startswith("FAIL")
            if self.verbose or line.startswith("FAIL"):
                print(line, flush=True)


def arguments():
    options = argparse.ArgumentParser(description="Bad networks.")
    options.add_argument("--only", default="")
    options.add_argument("--jobs", type=int, default=8)
    options.add_argument("--verbose", action="store_true")
    options.add_argument("--title", default="network")
    options.add_argument("--inside", action="store_true")
    options.add_argument("program")
    return options.parse_args()


def skip(title, why, count):
    print("SKIP %s: %s" % (title, why))
    print("%s: 0 passed, 0 failed, %d skipped" % (title, count))
    return 0


def enter():
    """Start again in namespaces of our own; why not, if that cannot be."""
    for tool, package in (("unshare", "util-linux"), ("ip", "iproute2")):
        if not shutil.which(tool):
            return "no %s (install %s)" % (tool, package)
    if not os.path.exists("/dev/net/tun"):
        return "no /dev/net/tun"
    for flags in ("-n", "-Unr"):
        if subprocess.run(["unshare", flags, "true"],
                          stderr=subprocess.DEVNULL).returncode == 0:
            sys.stdout.flush()
            os.execvp("unshare", ["unshare", flags, sys.executable, __file__,
                                  "--inside", *sys.argv[1:]])
    return "not root, and namespaces are not permitted"


def main():
    options = arguments()
    cases = [c for c in CASES if options.only in c[0]]
    if not options.inside:
        return skip(options.title, enter(), len(cases))
    try:
        namespaces = Namespaces()
        Link(namespaces, 250).close()
    except (OSError, subprocess.CalledProcessError) as e:
        return skip(options.title, "no network of its own: %s" % e,
                    len(cases))
    world = World(options, namespaces)
    with ThreadPoolExecutor(options.jobs) as pool:
        for case in cases:
            pool.submit(world.run, *case)
    print("%s: %d passed, %d failed, 0 skipped" % (
        options.title, world.passed, world.failed))
    return 1 if world.failed or not world.passed else 0


if __name__ == "__main__":
    sys.exit(main())
