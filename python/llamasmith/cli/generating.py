"""Options that the commands have in common which generate."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["NCtx", "RunModel", "SamplingSeed", "Temperature", "ThreadCount"]

RunModel = Annotated[
    str, typer.Option("--model", "-m", help="Path of a GGUF file, or a name that `pull` knows.", show_default=False)
]
Temperature = Annotated[float, typer.Option(min=0.0, help="0: always the most likely token.")]
SamplingSeed = Annotated[
    int | None, typer.Option("--seed", min=0, max=2**32 - 1, help="For the same choice again.", show_default="random")
]
ThreadCount = Annotated[
    int | None, typer.Option("--threads", "-t", help="Compute threads.", show_default="the thread budget")
]
NCtx = Annotated[int | None, typer.Option(help="Room for tokens.", show_default="the model's, at most 4096")]
