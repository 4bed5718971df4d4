"""``llamasmith chat``: a conversation."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import load_model

if TYPE_CHECKING:
    from ..generation import Generation, Stream

__all__ = ["chat"]


def chat(
    model: Annotated[
        str, typer.Option("--model", "-m", help="Path of a GGUF file, or a name that `pull` knows.", show_default=False)
    ],
    system: Annotated[
        str | None, typer.Option(help="What the model is told before the conversation.", show_default=False)
    ] = None,
    n_predict: Annotated[int, typer.Option("--n-predict", "-n", min=1, help="The most tokens of an answer.")] = 512,
    temperature: Annotated[float, typer.Option(min=0.0, help="0: always the most likely token.")] = 0.8,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**32 - 1, help="For the same choice again.", show_default="random")
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", "-t", help="Compute threads.", show_default="the thread budget")
    ] = None,
    n_ctx: Annotated[
        int | None, typer.Option(help="Room for tokens.", show_default="the model's, at most 4096")
    ] = None,
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
        loaded.chat_prompt(
            [{"role": "user", "content": ""}]
        )  # a model that cannot chat says so before anything is typed
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
