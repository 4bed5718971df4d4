"""For the tests of backend rpc: servers, a proxy that cuts the line, and listeners that are something else."""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterator, Sequence

HELLO = 14  # of enum rpc_cmd, the same in every version
CAPS = 24  # bytes of capabilities in a greeting


@dataclass
class Server:
    """A ``llamasmith rpc-server`` in a process of its own."""

    process: subprocess.Popen[str]
    endpoint: str

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def wait_until_served(endpoint: str, seconds: float = 60) -> None:
    """Until somebody accepts connections there; each try is a client that goes away at once."""
    host, _, port = endpoint.rpartition(":")
    end = time.monotonic() + seconds
    while not is_served(host, int(port)):
        assert time.monotonic() < end, f"nobody listens at {endpoint}"
        time.sleep(0.01)


def is_served(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def server(*words: str, prefix: Sequence[str] = (), wait: bool = True) -> Iterator[Server]:
    """Runs a server with these words of the command line; killed at the end."""
    command = [*prefix, sys.executable, "-u", "-m", "llamasmith", "rpc-server", "--threads", "1", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=os.sep)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.match(r"RPC server at (\S+:\d+),", line)
        if found is None:
            process.kill()
            raise AssertionError(f"no server: {line}{process.communicate()[1]}")
        if wait:
            wait_until_served(found[1])
        yield Server(process, found[1])
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


@contextlib.contextmanager
def proxy(target: str, limit: int | None) -> Iterator[str]:
    """The address of a proxy that cuts all lines once so many bytes have gone to the server (None: never)."""
    host, _, port = target.rpartition(":")
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def forward() -> None:
        sent = 0
        while not ended.is_set():
            if not select.select([listener], [], [], 0.05)[0]:
                continue
            client, _address = listener.accept()
            with client, socket.create_connection((host, int(port))) as there:
                while not ended.is_set():
                    ready = select.select([client, there], [], [], 0.05)[0]
                    try:
                        data = {end: end.recv(4096) for end in ready}
                    except OSError:
                        break
                    if b"" in data.values():
                        break
                    up = data.get(client, b"")
                    room = len(up) if limit is None else min(len(up), limit - sent)
                    there.sendall(up[:room])
                    sent += room
                    client.sendall(data.get(there, b""))
                    if limit is not None and sent >= limit:
                        return listener.close()
        return None

    thread = threading.Thread(target=forward, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        ended.set()
        thread.join()
        listener.close()


@contextlib.contextmanager
def listener(answer: Callable[[socket.socket], Any]) -> Iterator[str]:
    """The address of something else: `answer` gets each connection."""
    listening = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def accept() -> None:
        while not ended.is_set():
            if select.select([listening], [], [], 0.05)[0]:
                connection, _address = listening.accept()
                connection.settimeout(30)
                with connection, contextlib.suppress(OSError):
                    answer(connection)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{listening.getsockname()[1]}"
    finally:
        ended.set()
        thread.join()
        listening.close()


def greet(connection: socket.socket, *version: int) -> None:
    """Answers a greeting as a server of that version does."""
    rest = 1 + 8 + CAPS
    while rest > 0:
        rest -= len(connection.recv(rest))
    answer = bytes(version) + bytes(1 + CAPS)
    connection.sendall(struct.pack("<Q", len(answer)) + answer)


def listen(connection: socket.socket) -> None:
    """Says nothing, until the other side has had enough."""
    while connection.recv(64):
        pass


def speak_http(connection: socket.socket) -> None:
    connection.recv(64)
    connection.sendall(b"HTTP/1.0 400 Bad Request\r\nConnection: close\r\n\r\n")


def interrupt(process: subprocess.Popen[str], number: signal.Signals) -> int:
    """The exit status after that signal."""
    process.send_signal(number)
    return process.wait(timeout=30)
