"""What the scripts share that run programs with steps (see steps.h): the
programs, servers, ports and counts.  Nothing here looks at a time but to end
what hangs."""
import contextlib
import queue
import re
import socket
import subprocess
import threading

PATIENCE = 60
ENOUGH = 10  # failures, each of which may have taken half a minute
SIZES = (0, 1, 125, 126, 65535, 65536, 1 << 20)


class Failure(Exception):
    def __init__(self, expected, observed):
        super().__init__("expected %s; observed %s" % (expected, observed))


# ---------------------------------------------------------------- programs

def start(command, **more):
    settings = dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE, universal_newlines=True)
    settings.update(more)
    return subprocess.Popen(command, **settings)


def finish(process, wanted=0, said=""):
    """It has to end with status `wanted` and nothing on standard error but
    what holds `said`."""
    try:
        _, errors = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        _, errors = process.communicate()
        raise Failure("an end", "none in %d s; %s" % (PATIENCE, errors))
    good = said in errors if said else not errors
    if process.returncode != wanted or not good:
        raise Failure("exit status %d %s" % (wanted, said), "%d, %s" % (
            process.returncode, errors.strip()[-600:]))


def run(command, **more):
    finish(start(command, **more))


def read_line(process, wanted):
    """The next line of its output."""
    lines = queue.Queue()
    threading.Thread(target=lambda: lines.put(process.stdout.readline()),
                     daemon=True).start()
    try:
        line = lines.get(timeout=PATIENCE)
    except queue.Empty:
        line = ""
    if not line:
        process.kill()
        raise Failure(wanted, "none; " + process.stderr.read()[-600:])
    return line.strip()


@contextlib.contextmanager
def server(*command):
    """A program that prints its URL.  It has to end well when it is told."""
    process = start(list(command))
    try:
        line = read_line(process, "an address")
        yield re.search(r"\w+://[^ ]*", line).group()
        process.terminate()
        finish(process)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def port_of(url):
    return int(re.search(r":(\d+)", url).group(1))


# ------------------------------------ servers that do not tell their port

def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), PATIENCE).close()
        return True
    except OSError:
        return False


def start_on_ports(count, command, log):
    """`command` makes a command of `count` ports.  One that was free may have
    been taken meanwhile: then the program ends and others are tried."""
    for _ in range(5):
        ports = [free_port() for _ in range(count)]
        with open(log, "wb") as out:
            process = start(command(*ports), stdout=out, stderr=out)
        pause = threading.Event()
        for _ in range(PATIENCE * 50):
            if process.poll() is not None:
                break
            if all(accepts(port) for port in ports):
                return process, ports
            pause.wait(0.02)
        end(process)
    with open(log) as text:
        raise Failure("a server", "none; " + text.read()[-600:])


def end(process):
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


# ------------------------------------------------------------------- steps

def both(size):
    return ["text:%d" % size, "binary:%d" % size]


def sessions():
    """What every pair of peers can do; each ends with close: or closed:."""
    yield "messages of every size", [
        step for size in SIZES for step in both(size)]
    for part in (1, 100, 1000, 65536):
        yield "fragments of %d" % part, [
            "textparts:%d/%d" % (9000 + part, part),
            "binaryparts:%d/%d" % (9000 + part, part)]
    yield "empty fragments", ["emptyparts:"]
    yield "a ping between fragments", ["between:", "text:5"]
    yield "pings", ["ping:0", "ping:1", "ping:124", "ping:125", "unasked:",
                    "text:5"]
    yield "messages that are not waited for", ["many:40/100000"]
    yield "many small ones", ["many:2000/10"]


class Report:
    def __init__(self, title):
        self.title, self.passed, self.failed = title, 0, 0
        self.lock = threading.Lock()

    def run(self, name, call, *arguments):
        if self.failed >= ENOUGH:
            return
        try:
            call(*arguments)
            error = None
        except Exception as e:
            error = e
        with self.lock:
            if error is None:
                self.passed += 1
                return
            self.failed += 1
            print("FAIL %s: %s: %s %s" % (
                self.title, name, type(error).__name__, error), flush=True)

    def together(self, cases):
        """(name, call, argument...) side by side."""
        threads = [threading.Thread(target=self.run, args=case)
                   for case in cases]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def all(self, call, *arguments):
        """The cases that `call` runs; and its servers have to end well."""
        self.run("servers", call, self, *arguments)
        if self.failed >= ENOUGH:
            print("FAIL %s: the cases behind these were not run" % self.title)
        print("%s: %d passed, %d failed, 0 skipped" % (
            self.title, self.passed, self.failed))
        return 1 if self.failed or not self.passed else 0
