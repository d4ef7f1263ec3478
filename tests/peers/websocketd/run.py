#!/usr/bin/env python3
"""websocketd in front of small programs, as the server of our clients.

    run.py DIRECTORY WORK

DIRECTORY holds talk, wscat and plain_client; logs go to WORK.  Prints a line
for each case that fails, and last how many did.
"""
import contextlib
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "steps"))
import common

HERE = WORK = None
GOT = """while read -r line; do
    echo "got $line"
    [ "$line" = bye ] && exit 0
done"""
ASKED = 'read -r x; echo "$PATH_INFO $QUERY_STRING $HTTP_X_TEST"; cat'


@contextlib.contextmanager
def websocketd(name, *arguments):
    def command(port):
        return ["websocketd", "--address=127.0.0.1", "--port=%d" % port,
                "--loglevel=error", *arguments]
    log = os.path.join(WORK, "websocketd_%s.log" % name)
    process, ports = common.start_on_ports(1, command, log)
    try:
        yield "ws://127.0.0.1:%d/" % ports[0]
    finally:
        common.end(process)


def talk(url, steps, *options):
    common.run([os.path.join(HERE, "talk"), *options, url, *steps])


def with_handle(report, name, url, steps, *options):
    for title, more in (("polled", ()), ("blocking", ("--blocking",))):
        report.run("%s, %s" % (name, title), talk, url, steps,
                   *options, *more)


def lines(report):
    with websocketd("lines", "sh", "-c", GOT) as url:
        def case(name, steps, *options):
            with_handle(report, name, url, steps, *options)
        case("lines and close", [
            "say:hello", "expect:got hello", "say:", "expect:got ",
            "say:a b  c", "expect:got a b  c", "close:1000"])
        case("pings", ["ping:0", "ping:125", "unasked:", "say:x",
                       "expect:got x", "close:1000"])
        # The dropped connection is how websocketd tells of the end.
        case("the program ends", [
            "say:bye", "expect:got bye", "lost:WSOCK_CONNECTION_LOST"])
        for code in (1001, 3000, 4999):
            case("close %d" % code, ["say:x", "expect:got x",
                                     "close:%d because, \u00e9" % code])
        report.run("wscat", wscat, url)


def wscat(url):
    """Every line is answered; the end of the input is a Close."""
    process = common.start([os.path.join(HERE, "wscat"), url],
                           stdin=subprocess.PIPE)
    for line in ("hello", "how are you", ""):
        process.stdin.write(line + "\n")
        process.stdin.flush()
        got = common.read_line(process, "an answer to %r" % line)
        if got != ("got " + line).strip():
            raise common.Failure("got " + line, got)
    process.stdin.close()
    process.stdin = None
    common.finish(process, said="closed with 1000")


def echo(report):
    with websocketd("echo", "cat") as url:
        def case(name, steps, *options):
            with_handle(report, name, url, steps, *options)
        case("text of every size", ["text:%d" % n for n in common.SIZES]
             + ["close:1000 done"])
        case("fragments", ["textparts:9001/1", "textparts:9001/1000",
                           "text:5", "close:1000"])
        case("20 side by side", ["text:100", "text:65536", "close:1000"],
             "--count", "20")


def binary(report):
    # Larger than what fits its two pipes, a message that comes back at once
    # lets websocketd and `cat` wait for each other.
    with websocketd("binary", "--binary", "cat") as url:
        with_handle(report, "binary of every size", url,
                    ["bytes:%d" % n for n in common.SIZES if 0 < n <= 65536]
                    + ["close:1000 done"])


def handshake(report):
    with websocketd("asked", "sh", "-c", ASKED) as url:
        with_handle(report, "path, query and a header", url + "a/b?c=d", [
            "say:", "expect:/a/b c=d yes", "close:1000"],
            "--header", "X-Test: yes")
        with_handle(report, "what is not offered is not agreed on", url,
                    ["protocol:", "close:1000"])
    with websocketd("origin", "--origin=example.com", "cat") as url:
        with_handle(report, "refused with 403", url, ["refused:403"],
                    "--header", "Origin: http://else.example")
        with_handle(report, "an Origin that is let in", url,
                    ["text:5", "close:1000"],
                    "--header", "Origin: http://example.com")


def echo_client(report):
    """The example sends all back; the program sees its lines."""
    script = 'echo one; read -r x; echo "$x"; read -r y; echo "$x $y" >&2'
    with websocketd("client", "sh", "-c", script) as url:
        report.run("echo_client", lambda: common.finish(common.start(
            [os.path.join(HERE, "plain_client"), url]), 1,
            "without a Close frame"))


def cases(report):
    for part in (lines, echo, binary, handshake, echo_client):
        part(report)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    HERE, WORK = sys.argv[1:]
    sys.exit(common.Report("websocketd").all(cases))
