"""``llamasmith fit``: which settings of a model fit into the memory there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from .console import out

if TYPE_CHECKING:
    from rich.console import Console

    from ..fitting import Fit
    from ..options import ContextOptions

__all__ = ["fit"]

_MIB = 2**20


def fit(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Path of a GGUF file, or a name that `pull` knows.")],
    n_ctx: Annotated[
        int | None,
        typer.Option("--ctx", "-c", min=1, help="Room for tokens that you need.", show_default="the most that fits"),
    ] = None,
    n_ctx_min: Annotated[int, typer.Option("--min-ctx", min=1, help="... or what it may not be less than.")] = 4096,
    layers: Annotated[
        int | None, typer.Option("--gpu-layers", min=-1, help="Layers on GPUs, at most.", show_default="all")
    ] = None,
    margin: Annotated[int, typer.Option(min=0, help="MiB to leave free, of each device and of the host.")] = 1024,
    kv_type: Annotated[str, typer.Option("--kv-type", help="Type of the KV cache: f16, q8_0, ...")] = "f16",
    n_ubatch: Annotated[int, typer.Option("--ubatch", min=1, help="Tokens evaluated in one graph.")] = 512,
) -> None:
    """Show which context and how many layers on GPUs fit into memory, and what they take. Loads no weights."""
    from ..fitting import fit as fit_model
    from ..hub import resolve

    options: ContextOptions = {}
    if kv_type != "f16":
        options["type_k"] = options["type_v"] = kv_type
    if n_ubatch != 512:
        options["n_ubatch"] = n_ubatch
    found = fit_model(
        resolve(model), n_ctx=n_ctx, n_ctx_min=n_ctx_min, n_gpu_layers=layers, margin=margin * _MIB, **options
    )
    _print(found, out())


def _print(found: Fit, console: Console) -> None:
    console.print(Text(found.path.name, "bold"))
    console.print(_settings(found))
    console.print()
    console.print(_memory(found))
    console.print()
    console.print(Text(found.call), soft_wrap=True)


def _settings(found: Fit) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    layers = "all" if found.n_gpu_layers == -1 else str(found.n_gpu_layers)
    values = {"n_ctx": str(found.n_ctx), "n_gpu_layers": layers, "placement": "", "weights": "", "CPU": ""}
    for name, value in values.items():
        reason = found.reasons.get(name, "")
        if value or reason:
            grid.add_row(name, Text(": ".join(filter(None, (value, reason)))))
    return grid


def _memory(found: Fit) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("MiB", overflow="fold")
    for heading in ("in file", "weights", "context", "compute", "needed", "free", "margin"):
        table.add_column(heading, justify="right", no_wrap=True)
    for use in found.memory:
        sizes = (use.mapped, use.weights, use.context, use.compute, use.needed, use.available, use.margin)
        table.add_row(Text(use.name), *(f"{size / _MIB:.0f}" for size in sizes))
    return table
