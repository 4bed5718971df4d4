"""``llamasmith rpc-server``: lends this machine's devices to models that are loaded elsewhere."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["rpc_server"]

_LOOPBACK = "127.0.0.1"
_WARNING = """
WARNING: other machines can reach this server.
llama.cpp says of it: "This is an experimental feature and is not secure!
Never expose the RPC server to an open network!" There is no password and no
encryption, and who gets in can end this process or make it do worse. Let only
machines that you trust reach the port (a firewall, a VPN, a private network).
"""


def rpc_server(
    host: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0: all of this machine's. Beyond loopback: only if given.")
    ] = _LOOPBACK,
    port: Annotated[int, typer.Option("--port", "-p", min=0, max=65535, help="0: any that is free.")] = 50052,
    threads: Annotated[
        int | None, typer.Option("--threads", "-t", help="Compute threads.", show_default="the thread budget")
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder that keeps weights, so that they need not be sent again.", show_default="none"),
    ] = None,
) -> None:
    """Lend this machine's GPUs (or its CPU) to models that are loaded elsewhere with rpc=["host:port"].

    Serves one client at a time, until Ctrl-C or SIGTERM ends it at once.
    """
    from ..rpc import RpcServer

    server = RpcServer.open(host, port, threads=threads, cache=cache)
    if server.exposed:
        typer.secho(_WARNING, fg=typer.colors.YELLOW, err=True)
    typer.echo(f"RPC server at {server.endpoint}, {server.threads} threads. Ctrl-C ends it.")
    for device in server.devices:
        free, total = (size / 2**20 for size in (device.memory_free, device.memory_total))
        typer.echo(f"Lends {device.name}: {device.description.strip()}, {free:.0f} of {total:.0f} MiB free")
    if server.cache is not None:
        typer.echo(f"Keeps weights in {server.cache}")
    typer.echo(f'Use it with: Model(path, rpc=["{server.endpoint}"]), or llamasmith generate --rpc {server.endpoint}')
    sys.stdout.flush()
    # llama.cpp's loop has no end. By the default action, the kernel ends the process in whatever it computes.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    server.serve()
