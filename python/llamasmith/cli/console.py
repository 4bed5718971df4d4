"""What every command prints with: results to stdout, all else to stderr."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, ProgressColumn, TaskProgressColumn, TextColumn
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..model import Model

__all__ = ["err", "load_model", "out", "print_error", "progress_bar"]

# A bar that is gone at once only flickers.
_PATIENCE_SECONDS = 1.0


def out() -> Console:
    """For results. Made anew each time, since stdout and NO_COLOR may have changed."""
    return Console(highlight=False)


def err() -> Console:
    """For progress and complaints."""
    return Console(stderr=True, highlight=False)


def print_error(message: str) -> None:
    """One red paragraph on stderr; not broken into lines, so that paths and commands can be copied."""
    err().print(Text.assemble(("Error: ", "bold red"), (message, "red")), soft_wrap=True)


@contextmanager
def progress_bar(
    *, in_bytes: bool = False, patience: float = _PATIENCE_SECONDS, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[str, float, float], None]]:
    """A bar on stderr, for what takes longer than `patience` seconds; nothing where stderr is no terminal.

    Yields a function to call with what is done now, how much of it is done, and how much there is in all (0: unknown).
    """
    console = err()
    amount: ProgressColumn = DownloadColumn() if in_bytes else TaskProgressColumn()
    bar = Progress(TextColumn("{task.description}"), BarColumn(24), amount, console=console, transient=True)
    task = bar.add_task("", total=None)
    start = clock()
    shown = False

    def show(what: str, done: float, total: float) -> None:
        nonlocal shown
        bar.update(task, description=what, completed=done, total=total or None)
        if not shown and console.is_terminal and clock() - start >= patience:
            shown = True
            bar.start()

    try:
        yield show
    finally:
        if shown:
            bar.stop()


def load_model(path: str | os.PathLike[str], **options: Any) -> Model:
    """The model at the path, with a bar while it loads."""
    from .. import Model

    with progress_bar() as show:
        return Model(os.fspath(path), progress=lambda fraction: show("Loading the model", fraction, 1.0), **options)
