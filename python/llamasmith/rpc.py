"""Backend ``rpc``, llama.cpp's own distributed engine: addresses of servers, and being a server.

llama.cpp says of it: experimental, not secure, never to be exposed to an open network.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, SupportsIndex

from ._check import integer
from ._native import _core
from .backends import Device, devices, load_backend
from .engine import load_engine
from .errors import InvalidOption, RpcError
from .pool import thread_count

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DEFAULT_PORT", "LOOPBACK", "RpcServer", "endpoints"]

LOOPBACK = "127.0.0.1"
DEFAULT_PORT = 50052
MAX_SERVERS = 16  # llama.cpp's GGML_RPC_MAX_SERVERS


def load_rpc() -> None:
    """Loads the engine, and the backend ``rpc`` if it is not loaded yet. Raises EngineError."""
    load_engine()
    load_backend("rpc")


def _resolve(host: str, port: int, what: str) -> str:
    """The IPv4 address of a host. Raises InvalidOption for what is no name, RpcError for one that nobody knows."""
    if ":" in host or host.startswith("["):
        raise InvalidOption(f"{what} names the IPv6 address {host}: llama.cpp's RPC speaks IPv4 only.")
    if not host or any(c.isspace() or not c.isprintable() or c == "/" for c in host):
        raise InvalidOption(f"{what} names the host {host!r}, which is none. Give a name or an IPv4 address.")
    try:
        found = socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RpcError(f"{what} names the host {host!r}, which has no IPv4 address: {reason}.") from None
    return str(found[0][4][0])


def _endpoint(text: str) -> str:
    if not isinstance(text, str):
        raise TypeError(f"An address in rpc must be a str, not {type(text).__name__}.")
    what = f"rpc={text!r}"
    host, colon, port = text.strip().rpartition(":")
    if not colon:
        raise InvalidOption(f"{what} has no port. Write host:port, such as 192.168.0.2:{DEFAULT_PORT}.")
    if not (port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= 65535):
        raise InvalidOption(f"{what} has the port {port!r}. Allowed: 1 to 65535, as in 192.168.0.2:{DEFAULT_PORT}.")
    return f"{_resolve(host, int(port), what)}:{int(port)}"


def endpoints(rpc: str | Sequence[str]) -> list[str]:
    """Addresses of servers as the extension wants them: IPv4 numbers and a port, each once.

    Args:
        rpc: ``host:port`` words; or one text with commas between them, as llama.cpp's tools take it.

    Raises InvalidOption for a word that is no address, RpcError for a host that nobody knows.
    """
    words = [word for word in rpc.split(",") if word.strip()] if isinstance(rpc, str) else list(rpc)
    if len(words) > MAX_SERVERS:
        raise InvalidOption(f"rpc names {len(words)} servers. Allowed: at most {MAX_SERVERS}.")
    found: dict[str, str] = {}
    for word in words:
        address = _endpoint(word)
        if address in found:
            raise InvalidOption(f"rpc names the server at {address} twice: {found[address]} and {word}. Name it once.")
        found[address] = word
    return list(found)


@dataclass(frozen=True)
class RpcServer:
    """A server that is about to serve: `open()` checks all that can be checked before."""

    address: str
    port: int
    threads: int
    cache: Path | None
    devices: tuple[Device, ...]
    """Those that it lends: the GPUs of this machine, or its CPU if it has none."""

    @property
    def endpoint(self) -> str:
        """What a client gives as ``rpc``."""
        return f"{self.address}:{self.port}"

    @property
    def exposed(self) -> bool:
        """Whether others than this machine can reach it."""
        return not ipaddress.ip_address(self.address).is_loopback

    @classmethod
    def open(
        cls,
        host: str = LOOPBACK,
        port: SupportsIndex = DEFAULT_PORT,
        *,
        threads: int | None = None,
        cache: str | os.PathLike[str] | None = None,
    ) -> RpcServer:
        """Loads the backend, and makes sure that the address can be listened at.

        Args:
            host: name or IPv4 address of this machine; ``0.0.0.0`` for all it has. By default nobody else gets in.
            port: 0 for any that is free.
            threads: compute threads; by default what this process may really use.
            cache: a folder for weights of 10 MiB and more, so that they need not be sent again; made if missing.

        Raises InvalidOption, RpcError (port in use, address of another machine), EngineError (no such backend).
        """
        number = integer("port", port, 0, 65535, " (0 for any that is free)")
        n_threads = thread_count(threads)
        address = _resolve(host, number, f"host={host!r}")
        number = _claim(address, number)
        folder = None if cache is None else Path(cache).absolute()
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InvalidOption(f"cache={os.fspath(folder)!r} is no folder: {error.strerror}.") from None
            if not os.access(folder, os.W_OK | os.X_OK):
                raise InvalidOption(f"cache={os.fspath(folder)!r} cannot be written to. Give another folder.")
        load_rpc()
        found = devices()
        gpus = tuple(device for device in found if device.type in ("gpu", "igpu"))
        cpus = tuple(device for device in found if device.type == "cpu")
        return cls(address, number, n_threads, folder, gpus or cpus[:1])

    def serve(self) -> None:
        """Serves one client after another, for ever, without the GIL. Raises RpcError if it cannot listen after all.

        Nothing but the end of the process ends it. llama.cpp writes on standard output when a client comes and goes.
        """
        cache = "" if self.cache is None else os.fspath(self.cache)
        _core.rpc_serve(self.endpoint, cache=cache, n_threads=self.threads)


def _claim(address: str, port: int) -> int:
    """The port, after having listened there for a moment: llama.cpp itself does not say why it cannot."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as llama.cpp does
        try:
            trial.bind((address, port))
            trial.listen(1)
        except OSError as error:
            hint = " Another server runs there; choose another --port." if error.errno == errno.EADDRINUSE else ""
            raise RpcError(f"Cannot listen at {address}:{port}: {error.strerror}.{hint}") from None
        return int(trial.getsockname()[1])
