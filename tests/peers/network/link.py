"""A bad network between two namespaces.

Each link is a TUN device in the namespace of the servers, one in that of the
clients, and a thread that carries packets between them as badly as it is
told.  Both namespaces belong to this process and have no names, so that
nothing is left of them when it ends, however that happens.
"""
import contextlib
import ctypes
import errno
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import threading
import time

CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000
FIN, SYN, RST, ACK = 1, 2, 4, 16
MTU = 1500
LIBC = ctypes.CDLL(None, use_errno=True)


# -------------------------------------------------------------- namespaces

def system_call(result):
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def ip(*words):
    subprocess.run(["ip", *words], check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def settle_namespace():
    """Small socket buffers, so that it is known what fits into them."""
    ip("link", "set", "lo", "up")
    for name, value in (("tcp_wmem", "4096 16384 131072"),
                        ("tcp_rmem", "4096 65536 131072"),
                        ("tcp_mtu_probing", "0")):
        with open("/proc/sys/net/ipv4/" + name, "w") as f:
            f.write(value)


class Namespaces:
    """This process's own, for the servers, and another for the clients."""

    def __init__(self):
        self.ours = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        settle_namespace()
        system_call(LIBC.unshare(CLONE_NEWNET))
        self.theirs = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            settle_namespace()
        finally:
            system_call(LIBC.setns(self.ours, CLONE_NEWNET))

    @contextlib.contextmanager
    def clients(self):
        """What this thread does and starts meanwhile is on their side."""
        system_call(LIBC.setns(self.theirs, CLONE_NEWNET))
        try:
            yield
        finally:
            system_call(LIBC.setns(self.ours, CLONE_NEWNET))


def tun(name, address):
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, TUNSETIFF, struct.pack(
            "16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
        ip("addr", "add", address + "/24", "dev", name)
        ip("link", "set", "dev", name, "mtu", str(MTU), "up")
    except BaseException:
        os.close(fd)
        raise
    return fd


# ----------------------------------------------------------------- packets

def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip_packet(source, target, protocol, payload):
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0, 0, 64,
                       protocol, 0, source, target)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


class Packet:
    """A TCP packet over IPv4; anything else has no `tcp`."""

    def __init__(self, data):
        self.data, self.size = data, len(data)
        self.tcp = len(data) >= 40 and data[0] >> 4 == 4 and data[9] == 6
        if not self.tcp:
            return
        at = (data[0] & 15) * 4
        self.source, self.target = data[12:16], data[16:20]
        self.ports = struct.unpack_from("!HH", data, at)
        self.seq, self.ack, offset, self.flags = struct.unpack_from(
            "!IIBB", data, at + 4)
        self.payload = len(data) - at - (offset >> 4) * 4
        self.next = (self.seq + self.payload + bool(self.flags & SYN) +
                     bool(self.flags & FIN)) & 0xFFFFFFFF

    def reset(self):
        """What a firewall answers in the name of the receiver."""
        if self.flags & ACK:
            numbers, flags = (self.ack, 0), RST
        else:
            numbers, flags = (0, self.next), RST | ACK
        tcp = struct.pack("!HHIIBBHHH", self.ports[1], self.ports[0],
                          *numbers, 0x50, flags, 0, 0, 0)
        pseudo = self.target + self.source + struct.pack("!HH", 6, len(tcp))
        tcp = tcp[:16] + struct.pack("!H", checksum(pseudo + tcp)) + tcp[18:]
        return ip_packet(self.target, self.source, 6, tcp)

    def unreachable(self, code, mtu=0):
        """An ICMP destination unreachable, 1: host, 4: too big."""
        icmp = struct.pack("!BBHHH", 3, code, 0, 0, mtu) + self.data[:28]
        icmp = icmp[:2] + struct.pack("!H", checksum(icmp)) + icmp[4:]
        return ip_packet(self.target, self.source, 1, icmp)


# What a rule answers: a function that gets a packet and says what becomes of
# it, besides the loss that befalls all.
PASS, DROP, REJECT, UNREACHABLE, TOO_BIG = range(5)


def drop_all(packet):
    return DROP


class Way:
    """One direction."""

    def __init__(self, seed):
        self.delay = self.jitter = self.loss = 0.0
        self.rate = 0           # bits a second, 0: no limit
        self.hold = 0.5         # seconds of traffic that wait at that rate
        self.mtu = 400          # what TOO_BIG says
        self.rule = None
        self.passed = self.dropped = self.answered = self.bytes = 0
        self.reordered = 0
        self.free = 0.0         # when what waits has left
        self.order = self.latest = 0
        self.waiting = []       # (due, order, data)
        self.last = {}          # the last packet of each flow, by its ports
        self.random = random.Random(seed)

    def admit(self, data, now):
        """Take a packet; what goes back to its sender, or None."""
        packet = Packet(data)
        if data[0] >> 4 != 4:
            return None         # IPv6 looks for routers
        verdict = self.rule(packet) if self.rule else PASS
        if verdict == PASS and self.loss and self.random.random() < self.loss:
            verdict = DROP
        if verdict == DROP:
            self.dropped += 1
        if verdict == PASS:
            self.keep(packet, now)
        if verdict < REJECT or not packet.tcp or packet.flags & RST:
            return None
        self.answered += 1
        if verdict == REJECT:
            return packet.reset()
        return packet.unreachable(4 if verdict == TOO_BIG else 1, self.mtu)

    def keep(self, packet, now):
        if self.rate:
            self.free = max(self.free, now)
            if self.free - now > self.hold:
                self.dropped += 1
                return
            self.free += packet.size * 8 / self.rate
            now = self.free
        if packet.tcp:
            self.last[packet.ports] = packet
        now += self.delay + self.random.random() * self.jitter
        self.order += 1
        heapq.heappush(self.waiting, (now, self.order, packet.data))

    def due(self, now):
        while self.waiting and self.waiting[0][0] <= now:
            _, order, data = heapq.heappop(self.waiting)
            self.reordered += order < self.latest
            self.latest = max(self.latest, order)
            self.passed += 1
            self.bytes += len(data)
            yield data


class Link:
    """`up` leads from the client to the server, `down` back."""

    def __init__(self, namespaces, number):
        self.host = "10.77.%d.1" % number
        self.up, self.down = Way(2 * number), Way(2 * number + 1)
        self.server = tun("s%d" % number, self.host)
        try:
            with namespaces.clients():
                self.client = tun("c%d" % number, "10.77.%d.2" % number)
        except BaseException:
            os.close(self.server)
            raise
        self.changed = threading.Condition()
        self.error = None
        self.stop_read, self.stop_write = os.pipe()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def close(self):
        os.close(self.stop_write)
        self.thread.join()
        for fd in (self.stop_read, self.server, self.client):
            os.close(fd)

    def both(self, **settings):
        """Set it for both directions."""
        with self.changed:
            for name, value in settings.items():
                setattr(self.up, name, value)
                setattr(self.down, name, value)

    def wait(self, condition, patience):
        """Until it holds; it is looked at after each packet."""
        with self.changed:
            return self.changed.wait_for(
                lambda: self.error or condition(), patience)

    def reset(self, port=None):
        """End all TCP connections, or that of a port, at both ends, and
        reject what else they send."""
        def rule(packet):
            ours = packet.tcp and (port is None or port in packet.ports)
            return REJECT if ours else PASS
        with self.changed:
            for way, back, fd in ((self.up, self.down, self.client),
                                  (self.down, self.up, self.server)):
                way.rule = rule
                for ports, packet in way.last.items():
                    other = back.last.get(ports[::-1])
                    if other is None or rule(packet) != REJECT:
                        continue
                    # Exactly what the receiver of the reset expects next.
                    packet.ack = other.next
                    self.write(fd, packet.reset())

    # ------------------------------------------------------------ carrying

    def write(self, fd, data):
        try:
            os.write(fd, data)
        except OSError as e:
            # A full device loses packets, as any does.
            if e.errno not in (errno.EAGAIN, errno.ENOBUFS):
                raise

    def read(self, fd, way, now):
        for _ in range(64):
            try:
                data = os.read(fd, 2048)
            except BlockingIOError:
                return
            answer = way.admit(data, now)
            if answer:
                self.write(fd, answer)

    def turn(self):
        """Carry what there is; returns how long there is nothing to do."""
        with self.changed:
            now = time.monotonic()
            self.read(self.client, self.up, now)
            self.read(self.server, self.down, now)
            for way, fd in ((self.up, self.server), (self.down, self.client)):
                for data in way.due(now):
                    self.write(fd, data)
            self.changed.notify_all()
            due = [way.waiting[0][0] for way in (self.up, self.down)
                   if way.waiting]
            return max(0, min(due) - time.monotonic()) if due else None

    def run(self):
        fds = [self.stop_read, self.client, self.server]
        try:
            while True:
                pause = self.turn()
                ready, _, _ = select.select(fds, [], [], pause)
                if self.stop_read in ready:
                    return
        except Exception as e:
            with self.changed:
                self.error = e
                self.changed.notify_all()
