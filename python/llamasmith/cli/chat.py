"""``llamasmith chat``: a conversation."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import load_model
from .generating import NCtx, RunModel, SamplingSeed, Temperature, ThreadCount

if TYPE_CHECKING:
    from ..generation import Generation, Stream

__all__ = ["chat"]


def chat(
    model: RunModel,
    system: Annotated[
        str | None, typer.Option(help="What the model is told before the conversation.", show_default=False)
    ] = None,
    n_predict: Annotated[int, typer.Option("--n-predict", "-n", min=1, help="The most tokens of an answer.")] = 512,
    temperature: Temperature = 0.8,
    seed: SamplingSeed = None,
    threads: ThreadCount = None,
    n_ctx: NCtx = None,
) -> None:
    """Chat with a model, line by line. Ctrl-C stops an answer, Ctrl-D ends the conversation."""
    from .. import Session, ThreadPool
    from ..hub import resolve

    path = resolve(model)
    messages: list[dict[str, Any]] = [] if system is None else [{"role": "system", "content": system}]
    with (
        closing(ThreadPool(threads)) as pool,
        load_model(path) as loaded,
        Session(loaded, n_ctx=n_ctx, pool=pool) as session,
    ):
        # A model that cannot chat says so before anything is typed.
        loaded.chat_prompt([{"role": "user", "content": ""}])
        while (line := _ask()) is not None:
            if line.strip():
                messages.append({"role": "user", "content": line})
                answer = _show(session.chat_stream(messages, max_tokens=n_predict, temperature=temperature, seed=seed))
                messages.append({"role": "assistant", "content": answer.text})


def _ask() -> str | None:
    """The next line; None at the end of the input. Ctrl-C at the prompt is an end, too."""
    person = sys.stdin.isatty()
    try:
        return input("> " if person else "")
    except (EOFError, KeyboardInterrupt):
        if person:
            typer.echo()
        return None


def _show(stream: Stream) -> Generation:
    try:
        for piece in stream:
            typer.echo(piece, nl=False)
    except KeyboardInterrupt:
        typer.echo(" [stopped]", nl=False)
    typer.echo()
    return stream.result
