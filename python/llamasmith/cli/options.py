"""Options that several commands of the lab have: one text and one check for each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "FlashAttn",
    "HtmlFile",
    "IdleSeconds",
    "JsonFile",
    "ModelName",
    "Resume",
    "Rounds",
    "SampleSeconds",
    "Seed",
    "TextFile",
    "Threads",
    "Warmup",
]

ModelName = Annotated[
    str | None, typer.Option("--model", "-m", help="Path of a GGUF file, or a name that `pull` knows.")
]
Threads = Annotated[
    int | None, typer.Option("--threads", "-t", min=1, help="Threads per arm; by default the thread budget.")
]
Rounds = Annotated[int, typer.Option(help="Samples per arm that count.")]
Warmup = Annotated[int, typer.Option(help="Samples per arm before those; kept in the record, not counted.")]
TextFile = Annotated[
    Path | None,
    typer.Option("--text", help="A text over which the arms' token distributions are compared.", dir_okay=False),
]
FlashAttn = Annotated[str, typer.Option(help="auto, on or off.")]
Seed = Annotated[int, typer.Option(help="Of the prompt's pseudo-random tokens.")]
SampleSeconds = Annotated[float, typer.Option(help="What a sample lasts at least.")]
IdleSeconds = Annotated[float, typer.Option(min=0, help="How long arms are watched doing nothing, or 0.")]
JsonFile = Annotated[
    Path | None, typer.Option("--json", help="Write the record here, after every round.", dir_okay=False)
]
HtmlFile = Annotated[
    Path | None, typer.Option("--html", help="Write a report here, one file that opens offline.", dir_okay=False)
]
Resume = Annotated[Path | None, typer.Option(help="Go on with the record of an interrupted run; takes no other arms.")]
