#!/usr/bin/env python3
"""libwebsockets as the peer, both ways.

    run.py DIRECTORY

DIRECTORY holds talk, obey, plain_client and plain_server, which are ours,
and lws_talk and lws_serve.  Prints a line for each case that fails, and last
how many did.
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "steps"))
import common

# libwebsockets 4.1 answers 1012, 1013 and 1014 with 1002.
CODES = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999,
         4000, 4999)
HERE = None


def ours(name):
    return os.path.join(HERE, name)


class Side:
    """A client program, and the address of its server."""
    def __init__(self, program, *options, address, why):
        self.program, self.options = ours(program), options
        self.address, self.why, self.count = address, why, 0

    def talk(self, steps, *options):
        common.run([self.program, *self.options, *options, self.address,
                    *steps])

    def leave(self, code, reason=None):
        """Close; the server has to have seen code and reason."""
        self.count += 1
        if reason is None:
            reason = "%s %d, \u00e9" % (self.why, self.count)
        self.talk(["text:5", "close:%d %s" % (code, reason)])
        self.talk(["ask:/seen %d %s" % (code, reason), "close:1000"])

    def left(self, code):
        """The server closes."""
        self.talk(["text:5", "say:/close %d because, \u00e9" % code,
                   "closed:%d because, \u00e9" % code])

    def split(self):
        for part in (1, 100, 65535):
            self.talk(["say:/split %d" % part, "text:9000", "binary:9000",
                       "binary:0", "close:1000"])

    def pinged(self):
        self.talk(["say:/ping hello", "expect:pong hello",
                   "say:/ping " + "x" * 125, "expect:pong " + "x" * 125,
                   "close:1000"])


def client_cases(report, side, words):
    """A client against a server that does what it is told."""
    name = side.why
    for title, steps in common.sessions():
        report.run("%s: %s" % (name, title), side.talk,
                   steps + ["close:1000 done"])
    for code in CODES:
        report.run("%s: close %d" % (name, code), side.leave, code)
        report.run("%s: closed with %d" % (name, code), side.left, code)
    report.run(name + ": a reason of 123 bytes", side.leave, 4000,
               side.why[:1] * 123)
    report.run(name + ": closed with a reason of 123 bytes", side.talk,
               ["say:/close 4000 " + "x" * 123, "closed:4000 " + "x" * 123])
    # Without a code the server of libwebsockets ends without a Close.
    report.run(name + ": the server closes without a code", side.talk,
               ["say:/close", words["no code"]])
    report.run(name + ": fragments from the server", side.split)
    report.run(name + ": pings from the server", side.pinged)
    report.run(name + ": the server drops the connection", side.talk,
               ["text:5", "say:/abort", "lost:" + words["lost"]])
    report.run(name + ": no subprotocol", side.talk,
               ["protocol:", "text:5", "close:1000"])
    report.run(name + ": the first subprotocol", side.talk,
               ["protocol:chat", "text:5", "close:1000"],
               *words["first"])
    report.run(name + ": the one that the server speaks", side.talk,
               ["protocol:superchat", "text:5", "close:1000"],
               *words["second"])
    report.run(name + ": 50 connections side by side", side.talk,
               ["text:100", "binary:65536", "ping:4", "close:1000"],
               "--count", "50")


def as_server(steps):
    """libwebsockets begins; its client is the example."""
    process = common.start([ours("lws_talk"), "--listen", *steps])
    url = common.read_line(process, "an address").split()[-1]
    client = common.start([ours("plain_client"), url])
    common.finish(process)
    common.finish(client)


def server_cases(report):
    name = "as the server of echo_client: "
    for title, steps in common.sessions():
        # As a server libwebsockets does not tell its program of a pong
        # without data.
        steps = [step for step in steps if step != "ping:0"]
        report.run(name + title, as_server, steps + ["close:1000 done"])
    for code in CODES:
        report.run(name + "close %d" % code, as_server,
                   ["text:5", "close:%d because, \u00e9" % code])


def cases(report):
    own = {"lost": "WSOCK_CONNECTION_LOST",
           "no code": "lost:WSOCK_CONNECTION_LOST",
           "first": ["--subprotocol", "chat", "--subprotocol", "superchat"],
           "second": ["--subprotocol", "else", "--subprotocol", "superchat"]}
    its = {"lost": "lost", "no code": "closed:1005",
           "first": ["--subprotocol", "chat,superchat"],
           "second": ["--subprotocol", "else,superchat"]}
    with common.server(ours("lws_serve")) as url:
        client_cases(report, Side("talk", address=url,
                                  why="our polled client"), own)
        client_cases(report, Side("talk", "--blocking", address=url,
                                  why="Our blocking client"), own)
    with common.server(ours("obey")) as url:
        port = "%d" % common.port_of(url)
        client_cases(report, Side("lws_talk", address=port,
                                  why="its client"), its)
    with common.server(ours("plain_server"), "--port", "0") as url:
        port = "%d" % common.port_of(url)
        side = Side("lws_talk", address=port, why="its client")
        for title, steps in common.sessions():
            report.run("its client and echo_server: " + title, side.talk,
                       steps + ["close:1000 done"])
        report.run("its client and echo_server: no subprotocol is taken",
                   side.talk, ["protocol:", "text:5", "close:1000"],
                   "--subprotocol", "chat")
    server_cases(report)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    HERE = sys.argv[1]
    sys.exit(common.Report("libwebsockets").all(cases))
