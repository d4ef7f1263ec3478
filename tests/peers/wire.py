"""The wire of RFC 6455 as the conformance scripts speak it.

Nothing here is shared with the library under test: frames are built and read
by this file alone, from plain blocking sockets.  Every wait ends after
TIMEOUT seconds and then counts as a failure.
"""
import argparse
import base64
import hashlib
import os
import socket
import struct
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

TIMEOUT = 10.0
CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
NAMES = {0: "continuation", 1: "text", 2: "binary", 8: "Close", 9: "ping",
         10: "pong"}
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Failure(Exception):
    """What a case expected and what it observed."""

    def __init__(self, expected, observed):
        super().__init__("expected %s; observed %s" % (expected, observed))
        self.expected = expected


class Ended(Exception):
    """The stream ended where bytes were wanted."""


def show(data, limit=48):
    """Bytes for a line of output, cut where they get long."""
    data = bytes(data)
    if len(data) <= limit:
        return repr(data)
    return "%r... (%d bytes)" % (data[:limit], len(data))


def accept_value(key):
    """Sec-WebSocket-Accept for a key (RFC 6455 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + GUID).digest())


def masked(data, key):
    """XOR with the key; the big integer makes it quick."""
    size = len(data)
    pad = (key * (size // 4 + 1))[:size]
    value = int.from_bytes(data, "little") ^ int.from_bytes(pad, "little")
    return value.to_bytes(size, "little")


def build_frame(op, data=b"", fin=True, rsv=0, key=None, form=0, length=None):
    """One frame, right or wrong.

    key     4 bytes: masked with them; None: unmasked
    form    0: the shortest length field; 7, 16 or 64: this one
    length  what the length field says, if not the size of the data
    """
    size = len(data) if length is None else length
    if not form:
        form = 7 if size < 126 else 16 if size < 65536 else 64
    head = bytes([(0x80 if fin else 0) | rsv << 4 | op])
    bit = 0x80 if key is not None else 0
    if form == 7:
        head += bytes([bit | size])
    elif form == 16:
        head += bytes([bit | 126]) + struct.pack("!H", size)
    else:
        head += bytes([bit | 127]) + struct.pack("!Q", size)
    if key is None:
        return head + data
    return head + key + masked(data, key)


class Frame:
    def __init__(self, op, fin, data):
        self.op, self.fin, self.data = op, fin, data

    def __str__(self):
        name = NAMES[self.op]
        if self.op == CLOSE:
            if not self.data:
                return "Close without code"
            code = struct.unpack("!H", self.data[:2])[0]
            return "Close %d %s" % (code, show(self.data[2:]))
        return "%s%s %s" % (name, "" if self.fin else " (not the last part)",
                            show(self.data))


class Peer:
    """One end of a connection, played by the test.

    role is the role of the test: "client" (it masks what it sends and wants
    unmasked frames) or "server" (the other way round).
    """

    def __init__(self, sock, role, pending=b""):
        sock.settimeout(TIMEOUT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.role = role
        self.pending = bytearray(pending)
        self.pongs = []     # payloads of pongs that came and nobody claimed
        self.keys = []      # mask keys of the other side
        self.ended = False  # its stream has ended in order
        self.faulted = False  # it was made to fail the connection

    # ------------------------------------------------------------ sending

    def key(self):
        return os.urandom(4) if self.role == "client" else None

    def frame(self, op, data=b"", fin=True, rsv=0, **more):
        if "key" not in more:
            more["key"] = self.key()
        return build_frame(op, data, fin, rsv, **more)

    def close_frame(self, code=None, reason=b""):
        data = b"" if code is None else struct.pack("!H", code) + reason
        return self.frame(CLOSE, data)

    def fragments(self, op, parts, between=b""):
        """One message as a frame for each part."""
        out = []
        last = len(parts) - 1
        for i, part in enumerate(parts):
            out.append(self.frame(op if i == 0 else CONT, part, i == last))
            if i < last:
                out.append(between)
        return b"".join(out)

    def send(self, data, chop=0):
        """Send all, in writes of `chop` bytes if that is not 0."""
        try:
            if chop:
                for i in range(0, len(data), chop):
                    self.sock.sendall(data[i:i + chop])
            else:
                self.sock.sendall(data)
        except socket.timeout:
            raise Failure("that %d bytes are taken" % len(data),
                          "a send that got stuck")
        except OSError as e:
            raise Failure("that %d bytes are taken" % len(data), str(e))

    def put(self, op, data=b"", fin=True, rsv=0, **more):
        self.send(self.frame(op, data, fin, rsv, **more))

    # ---------------------------------------------------------- receiving

    def more(self, wanted):
        try:
            data = self.sock.recv(1 << 18)
        except socket.timeout:
            raise Failure(wanted, "nothing in %d s%s" % (
                self.sock.gettimeout(),
                " but " + show(self.pending) if self.pending else ""))
        except ConnectionResetError:
            raise Failure(wanted, "a reset")
        except OSError as e:
            raise Failure(wanted, str(e))
        if not data:
            raise Ended()
        self.pending += data

    def take(self, size, wanted):
        while len(self.pending) < size:
            try:
                self.more(wanted)
            except Ended:
                raise Failure(wanted, "the end of the stream" + (
                    " after " + show(self.pending) if self.pending else ""))
        data = bytes(self.pending[:size])
        del self.pending[:size]
        return data

    def read_frame(self, wanted):
        """The next frame; anything that RFC 6455 5.2 forbids is a failure."""
        head = self.take(2, wanted)
        fin, rsv, op = head[0] >> 7, head[0] >> 4 & 7, head[0] & 15
        size = head[1] & 127
        if rsv:
            raise Failure("reserved bits of 0", "%d" % rsv)
        if op not in NAMES:
            raise Failure("a known opcode", "%d" % op)
        if bool(head[1] & 128) != (self.role == "server"):
            raise Failure("frames that are %s" % (
                "masked" if self.role == "server" else "not masked"),
                "the opposite, in a %s frame" % NAMES[op])
        if op >= 8 and (size > 125 or not fin):
            raise Failure("whole control frames of at most 125 bytes",
                          "head %s" % head.hex())
        if size == 126:
            size = struct.unpack("!H", self.take(2, wanted))[0]
            if size < 126:
                raise Failure("the shortest length", "%d in 16 bits" % size)
        elif size == 127:
            size = struct.unpack("!Q", self.take(8, wanted))[0]
            if size < 65536:
                raise Failure("the shortest length", "%d in 64 bits" % size)
        key = None
        if self.role == "server":
            key = self.take(4, wanted)
            self.keys.append(key)
        data = self.take(size, wanted)
        return Frame(op, bool(fin), masked(data, key) if key else data)

    def read_message(self, wanted):
        """(opcode, data); pongs that come meanwhile go to self.pongs."""
        op, parts = None, []
        while True:
            f = self.read_frame(wanted)
            if f.op == PONG:
                self.pongs.append(f.data)
                continue
            if f.op >= 8 or (f.op == CONT) != (op is not None):
                raise Failure(wanted, str(f))
            if op is None:
                op = f.op
            parts.append(f.data)
            if f.fin:
                return op, b"".join(parts)

    def expect_message(self, op, data):
        wanted = "%s message %s" % (NAMES[op], show(data))
        got_op, got = self.read_message(wanted)
        if got_op != op or got != data:
            at = next((i for i, (a, b) in enumerate(zip(got, data))
                       if a != b), min(len(got), len(data)))
            raise Failure(wanted, "%s message %s, first difference at %d" % (
                NAMES[got_op], show(got), at))

    def expect_pong(self, data):
        wanted = "pong %s" % show(data)
        if self.pongs:
            got = self.pongs.pop(0)
            if got != data:
                raise Failure(wanted, "pong %s" % show(got))
            return
        f = self.read_frame(wanted)
        if f.op != PONG or f.data != data:
            raise Failure(wanted, str(f))

    def expect_end(self):
        """The end of the stream, with nothing before it.

        The server ends TCP first (RFC 6455 7.1.1), so a test that plays the
        server shuts its side before it waits.
        """
        wanted = "the end of the stream in order"
        if self.role == "server":
            try:
                self.sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass
        if not self.pending:
            try:
                self.more(wanted)
            except Ended:
                self.ended = True
                return
        raise Failure(wanted, "more bytes: " + show(self.pending))

    def expect_close(self, codes):
        """One Close frame with one of these codes (None: without code)."""
        codes = codes if isinstance(codes, tuple) else (codes,)
        wanted = " or ".join("Close without code" if c is None else
                             "Close %d" % c for c in codes)
        f = self.read_frame(wanted)
        while self.role == "server" and f.op < 8 and not f.fin:
            # A client that echoes in parts may have begun one.
            f = self.read_frame(wanted)
        if f.op != CLOSE:
            raise Failure(wanted, str(f))
        code = None
        if f.data:
            if len(f.data) == 1:
                raise Failure(wanted, "a Close payload of one byte")
            code = struct.unpack("!H", f.data[:2])[0]
            try:
                f.data[2:].decode("utf-8")
            except UnicodeDecodeError:
                raise Failure("a reason that is UTF-8", show(f.data[2:]))
        if code not in codes:
            raise Failure(wanted, str(f))

    # --------------------------------------------------- whole exchanges

    def expect_failure(self, code):
        """Exactly one Close frame with this code, then an orderly end."""
        self.faulted = True
        self.expect_close(code)
        self.expect_end()

    def expect_closed(self, codes):
        """The answer to a Close of ours, then an orderly end."""
        self.expect_close(codes)
        self.expect_end()

    def finish(self):
        """Close in order from our side."""
        self.send(self.close_frame(1000, b"done"))
        self.expect_closed(1000)

    def echo(self, op, data):
        self.put(op, data)
        self.expect_message(op, data)


class Background:
    """Sends from a thread, so that the case can read at the same time."""

    def __init__(self, sock, pieces):
        self.sent = 0
        self.error = None
        self.done = threading.Event()
        self.sock = sock
        self.pieces = pieces
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        try:
            for piece in self.pieces:
                self.sock.sendall(piece)
                self.sent += len(piece)
        except OSError as e:
            self.error = e
        self.done.set()

    def wait_until_stuck(self):
        """Return once nothing more is taken (or all was)."""
        before = -1
        while before != self.sent and not self.done.is_set():
            before = self.sent
            self.done.wait(0.2)

    def finish(self):
        if not self.done.wait(TIMEOUT):
            raise Failure("that all bytes are taken", "a send that got stuck")
        if self.error:
            raise Failure("that all bytes are taken", str(self.error))


# ------------------------------------------------------------------- HTTP

class Head:
    """An HTTP head, read strictly."""

    def __init__(self, raw):
        lines = raw.split(b"\r\n")
        if any(b"\n" in l or b"\r" in l or b"\0" in l for l in lines):
            raise Failure("lines that end with CR LF", show(raw, 200))
        self.first = lines[0].decode("latin-1")
        self.headers = []
        for line in lines[1:]:
            name, colon, value = line.partition(b":")
            if not colon or not name or name.strip() != name:
                raise Failure("a header line", show(line))
            self.headers.append((name.decode("latin-1").lower(),
                                 value.decode("latin-1").strip(" \t")))

    def all(self, name):
        return [v for n, v in self.headers if n == name.lower()]

    def one(self, name):
        values = self.all(name)
        if len(values) != 1:
            raise Failure("one %s header" % name, "%r" % values)
        return values[0]

    def tokens(self, name):
        return [t.strip().lower() for v in self.all(name)
                for t in v.split(",")]


def read_head(peer, wanted):
    """Take an HTTP head off the peer's stream."""
    while True:
        at = peer.pending.find(b"\r\n\r\n")
        if at >= 0:
            raw = bytes(peer.pending[:at])
            del peer.pending[:at + 4]
            return Head(raw)
        try:
            peer.more(wanted)
        except Ended:
            raise Failure(wanted, "the end of the stream after %s" %
                          show(peer.pending))


# ---------------------------------------------------------------- running

class Case:
    """run(peer) for a session case, run() for one that connects itself."""

    def __init__(self, name, clause, run, weight=1):
        self.name, self.clause, self.run = name, clause, run
        self.weight = weight  # above 1: not beside others of its kind


def arguments(description, title, target):
    """What a conformance script is told."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--only")
    options.add_argument("--jobs", type=int, default=8)
    options.add_argument("--fast", action="store_true")
    options.add_argument("--verbose", action="store_true")
    options.add_argument("--title", default=title)
    options.add_argument(target, nargs="+")
    return options.parse_args()


class Runner:
    """Runs cases side by side and prints one line for each that fails."""

    def __init__(self, options):
        self.title, self.only = options.title, options.only
        self.verbose, self.jobs = options.verbose, options.jobs
        self.passed = self.failed = 0
        self.lock = threading.Lock()
        self.heavy = threading.Lock()
        sys.setswitchinterval(0.001)

    def one(self, case, call):
        began = time.monotonic()
        try:
            if case.weight > 1:
                with self.heavy:
                    call(case)
            else:
                call(case)
            line = None
        except Failure as e:
            line = str(e)
        except Ended:
            line = "the stream ended too early"
        # A fault of the script must not pass, nor a server that is none.
        except (Exception, SystemExit) as e:
            line = "%s: %s" % (type(e).__name__, e)
        with self.lock:
            if line is None:
                self.passed += 1
                if self.verbose:
                    print("ok   %s (%s) %.2f s" % (
                        case.name, case.clause, time.monotonic() - began))
            else:
                self.failed += 1
                print("FAIL %s (%s): %s" % (case.name, case.clause, line))
            sys.stdout.flush()

    def run(self, cases, call):
        """call(case) for each of them."""
        names = [case.name for case in cases]
        for name in sorted({n for n in names if names.count(n) > 1}):
            with self.lock:
                self.failed += 1
                print("FAIL two cases are called %r" % name)
        if self.only:
            cases = [c for c in cases if self.only in c.name]
        # The long ones first, so that none of them is left for the end.
        cases = sorted(cases, key=lambda c: -c.weight)
        with ThreadPoolExecutor(self.jobs) as pool:
            for case in cases:
                pool.submit(self.one, case, call)

    def run_beside(self, cases, call, others):
        """The same; those that wait for a time-out run beside all others, and
        beside what others() runs."""
        slow = threading.Thread(target=self.run, args=(
            [c for c in cases if c.weight < 1], call))
        slow.start()
        self.run([c for c in cases if c.weight >= 1], call)
        others()
        slow.join()

    def end(self):
        print("%s: %d passed, %d failed, 0 skipped" % (
            self.title, self.passed, self.failed))
        return 1 if self.failed or not self.passed else 0
