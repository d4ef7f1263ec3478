#!/usr/bin/env python3
"""The Python package `websockets` as the peer of the echo programs.

    peer.py client ws://HOST:PORT/       against an echo server
    peer.py server PROGRAM [ARGUMENT...] against an echo client

An echo client is started once for each case and must exit with status 0 once
the server has closed.  Prints one line for each case that fails, and last how
many did.
"""
import asyncio
import logging
import random
import sys

import websockets

TIMEOUT = 10
SIZES = (0, 1, 2, 124, 125, 126, 127, 128, 1000, 4095, 4096, 16383, 16384,
         16385, 65534, 65535, 65536, 65537, 100000, 262144, 1048575, 1048576)
CODES = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013,
         1014, 3000, 3999, 4000, 4999)
SETTINGS = dict(max_size=32 << 20, compression=None, ping_interval=None,
                close_timeout=TIMEOUT)


class Failure(Exception):
    def __init__(self, expected, observed):
        super().__init__("expected %s; observed %s" % (expected, observed))


def show(data):
    return "%.60r (%d)" % (data, len(data))


def binary(size):
    return random.Random(size).randbytes(size)


def text(size):
    """UTF-8 of exactly `size` bytes, with characters of every length."""
    unit = "aé€\U0001f600z~ü漢"
    bytes_ = len(unit.encode())
    return unit * (size // bytes_) + "." * (size % bytes_)


async def within(awaitable, what, patience=TIMEOUT):
    try:
        return await asyncio.wait_for(awaitable, patience)
    except asyncio.TimeoutError:
        raise Failure(what, "nothing in %d s" % patience)


async def receive(ws, data):
    got = await within(ws.recv(), show(data))
    if got != data:  # str and bytes are never equal: the type is checked
        raise Failure(show(data), show(got))


async def echo(ws, data):
    await within(ws.send(data), "that a message is taken")
    await receive(ws, data)


async def bye(ws, code=1000, reason="done"):
    await within(ws.close(code, reason), "an end")
    await within(ws.wait_closed(), "an end")
    if ws.close_code != code:
        raise Failure("close code %d" % code, "%r" % ws.close_code)


# ------------------------------------------- what both ends have in common

async def texts(ws):
    for size in SIZES:
        await echo(ws, text(size))
    await bye(ws)


async def binaries(ws):
    for size in SIZES:
        await echo(ws, binary(size))
    await bye(ws)


async def in_advance(ws):
    async def send():
        for size in SIZES:
            await ws.send(text(size))
            await ws.send(binary(size))
    task = asyncio.ensure_future(send())
    for size in SIZES:
        await receive(ws, text(size))
        await receive(ws, binary(size))
    await task
    await bye(ws)


def fragments(part):
    async def run(ws):
        for whole in (text(9000), binary(9000 + part)):
            # Characters, not bytes, for text.
            parts = [whole[i:i + part] for i in range(0, len(whole), part)]
            await within(ws.send(parts), "that fragments are taken")
            await receive(ws, whole)
        await bye(ws)
    return run


async def empty_fragments(ws):
    await within(ws.send(["", "middle", ""]), "that fragments are taken")
    await receive(ws, "middle")
    await within(ws.send([b"", b""]), "that fragments are taken")
    await receive(ws, b"")
    await bye(ws)


async def ping_between(ws):
    async def parts():
        yield "one"
        await within(await ws.ping(b"between"), "a pong")
        yield "two"
        await ws.pong(b"unasked")
        yield ""
    await ws.send(parts())
    await receive(ws, "onetwo")
    await bye(ws)


async def pings(ws):
    for size in (0, 1, 4, 124, 125):
        await within(await ws.ping(binary(size)), "a pong of %d" % size)
    waiters = [await ws.ping(b"ping %d" % i) for i in range(10)]
    for i, waiter in enumerate(waiters):
        await within(waiter, "pong %d" % i)
    await ws.pong(b"unasked")
    await echo(ws, "after")
    await bye(ws)


def closing(code, reason):
    return lambda ws: bye(ws, code, reason)


async def round_trips(ws):
    for i in range(1000):
        await echo(ws, "message %d" % i)
    await bye(ws)


def sessions():
    yield "text of every size", texts
    yield "binary of every size", binaries
    yield "messages that are not waited for", in_advance
    for part in (1, 100, 1000, 8192):
        yield "fragments of %d" % part, fragments(part)
    yield "empty fragments", empty_fragments
    yield "a ping between fragments", ping_between
    yield "pings", pings
    for code in CODES:
        yield "close %d" % code, closing(code, "because, \u00e9")
    yield "close with a reason of 123 bytes", closing(4000, "x" * 123)
    yield "1,000 round trips", round_trips


# ------------------------------------------------------------------ client

async def client_cases(report, url):
    async def session(run):
        async with websockets.connect(url, **SETTINGS) as ws:
            await run(ws)
    for name, run in sessions():
        await report.run(name, session(run))

    async def many():
        async def one(i):
            async with websockets.connect(url, **SETTINGS) as ws:
                for turn in range(5):
                    await echo(ws, "%d %d" % (i, turn))
                    await echo(ws, binary(i * 50 + turn))
                await bye(ws)
        await asyncio.gather(*(one(i) for i in range(100)))
    await report.run("100 connections side by side", many())

    async def deflate():
        settings = dict(SETTINGS, compression="deflate")
        async with websockets.connect(url, **settings) as ws:
            await echo(ws, "not compressed " * 1000)
            await bye(ws)
            if getattr(ws, "extensions", None):
                raise Failure("no extension", "%r" % ws.extensions)
    await report.run("permessage-deflate is offered, not accepted", deflate())

    async def subprotocols():
        settings = dict(SETTINGS, subprotocols=["chat", "superchat"])
        async with websockets.connect(url, **settings) as ws:
            if ws.subprotocol is not None:
                raise Failure("no subprotocol", ws.subprotocol)
            await echo(ws, "hello")
            await bye(ws)
    await report.run("subprotocols are offered, none is taken",
                     subprotocols())

    async def too_big():
        async with websockets.connect(url, **SETTINGS) as ws:
            try:
                await ws.send(bytes((16 << 20) + 1))
            except websockets.ConnectionClosed:
                pass  # the refusal came before all was sent
            await within(ws.wait_closed(), "an end")
            if ws.close_code != 1009:
                raise Failure("close code 1009", "%r" % ws.close_code)
    await report.run("16 MiB and one byte are 1009", too_big())


# ------------------------------------------------------------------ server

async def expect_exit(process, status):
    _, errors = await within(process.communicate(), "an exit")
    if process.returncode != status or (errors if not status
                                        else not errors):
        raise Failure("exit status %d" % status, "%d, %r" % (
            process.returncode, errors))


async def server_cases(report, command):
    async def serve(run, clients=1, status=0, settings=SETTINGS):
        done = asyncio.Queue()

        async def handler(ws, *_):
            try:
                await run(ws)
            except BaseException as e:
                done.put_nowait(e)
                raise
            done.put_nowait(None)
        processes = []
        async with websockets.serve(handler, "127.0.0.1", 0,
                                    **settings) as server:
            port = server.sockets[0].getsockname()[1]
            try:
                for _ in range(clients):
                    processes.append(await asyncio.create_subprocess_exec(
                        *command, "ws://127.0.0.1:%d/" % port,
                        stdin=asyncio.subprocess.DEVNULL,
                        stdout=asyncio.subprocess.DEVNULL,
                        stderr=asyncio.subprocess.PIPE))
                for _ in range(clients):
                    # A session has many waits, each with a limit of its own.
                    error = await within(done.get(), "a session", 6 * TIMEOUT)
                    if error:
                        raise error
                for process in processes:
                    await expect_exit(process, status)
            finally:
                for process in processes:
                    if process.returncode is None:
                        process.kill()
    for name, run in sessions():
        await report.run(name, serve(run))

    async def small(ws):
        for turn in range(20):
            await echo(ws, "message %d" % turn)
        await bye(ws)
    await report.run("20 clients side by side", serve(small, 20))

    async def no_extension(ws):
        if getattr(ws, "extensions", None):
            raise Failure("no extension", "%r" % ws.extensions)
        await echo(ws, "not compressed " * 1000)
        await bye(ws)
    await report.run("a server that can compress", serve(
        no_extension, settings=dict(SETTINGS, compression="deflate")))

    async def cut(ws):
        await echo(ws, "hello")
        ws.transport.abort()
    await report.run("a server that cuts the connection", serve(cut, 1, 1))


class Report:
    def __init__(self, title):
        self.title, self.passed, self.failed = title, 0, 0

    async def run(self, name, call):
        try:
            await call
            self.passed += 1
        except Exception as e:
            self.failed += 1
            print("FAIL %s: %s: %s %s" % (
                self.title, name, type(e).__name__, e))

    def end(self):
        print("%s: %d passed, %d failed, 0 skipped" % (
            self.title, self.passed, self.failed))
        return 1 if self.failed or not self.passed else 0


async def main():
    logging.disable(logging.CRITICAL)
    report = Report("python websockets as the " + sys.argv[1])
    if sys.argv[1] == "client":
        await client_cases(report, sys.argv[2])
    else:
        await server_cases(report, sys.argv[2:])
    return report.end()


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in ("client", "server"):
        sys.exit(__doc__)
    sys.exit(asyncio.run(main()))
