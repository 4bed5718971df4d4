"""``llamasmith generate``: continues a prompt."""

from __future__ import annotations

import json
import secrets
import sys
from contextlib import closing
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import load_model
from .generating import NCtx, RunModel, SamplingSeed, Temperature, ThreadCount

if TYPE_CHECKING:
    from ..generation import Generation, Stream

__all__ = ["FlashAttention", "generate"]

INTERRUPTED = 130


class FlashAttention(str, Enum):
    """Whether llama.cpp fuses the attention: as it sees fit, always, never."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


def generate(
    prompt: Annotated[str, typer.Argument(help="The text to continue; - reads it from stdin.", show_default=False)],
    model: RunModel,
    n_predict: Annotated[int, typer.Option("--n-predict", "-n", min=0, help="The most tokens to generate.")] = 128,
    temperature: Temperature = 0.8,
    top_k: Annotated[int, typer.Option(min=0, help="Choose among this many most likely tokens; 0: all.")] = 40,
    top_p: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Choose among the most likely with this sum of probabilities.")
    ] = 0.95,
    seed: SamplingSeed = None,
    stop: Annotated[
        list[str] | None, typer.Option(help="End before this text; may be given several times.", show_default=False)
    ] = None,
    threads: ThreadCount = None,
    n_ctx: NCtx = None,
    engine: Annotated[
        str | None, typer.Option(help="Engine to run; see `doctor`.", show_default="LLAMASMITH_ENGINE, or patched")
    ] = None,
    wait: Annotated[
        str | None,
        typer.Option(
            help="How threads wait: adaptive, spin, yield, park.", show_default="LLAMASMITH_WAIT, or adaptive"
        ),
    ] = None,
    flash_attn: Annotated[FlashAttention, typer.Option(help="Fused attention.")] = FlashAttention.AUTO,
    rpc: Annotated[
        str | None,
        typer.Option(help="RPC servers that take a part of the model: host:port,host:port.", show_default=False),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end instead.")] = False,
    stream: Annotated[bool, typer.Option("--stream/--no-stream", help="Print text as it comes.")] = True,
) -> None:
    """Continue a prompt. The text goes to stdout; Ctrl-C stops it, with exit status 130."""
    from .. import Session, ThreadPool, load_engine
    from ..hub import resolve

    text: str | bytes = sys.stdin.buffer.read().removesuffix(b"\n") if prompt == "-" else prompt
    chosen = secrets.randbits(32) if seed is None else seed
    path = resolve(model)
    running = load_engine(engine)
    # Before the model, which may take long to load only for a bad number of threads to be refused.
    with (
        closing(ThreadPool(threads, wait=wait)) as pool,
        load_model(path, rpc=rpc or "") as loaded,
        Session(loaded, n_ctx=n_ctx, pool=pool, flash_attn=flash_attn.value) as session,
    ):
        pieces = session.stream(
            text,
            max_tokens=n_predict,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=chosen,
            stop=stop or (),
        )
        interrupted = _follow(pieces, show=stream and not json_)
        if json_:
            facts = {"engine": running.name, "model": path.name, "n_threads": pool.n_threads, "wait": pool.wait}
            typer.echo(json.dumps({**_shape(pieces.result), "seed": chosen, **facts}))
        elif not stream:
            typer.echo(pieces.result.text)
    if interrupted:
        raise typer.Exit(INTERRUPTED)


def _follow(pieces: Stream, *, show: bool) -> bool:
    """Runs the generation to its end; whether Ctrl-C ended it, in which case what came so far stays."""
    last = ""
    try:
        for last in pieces:
            if show:
                typer.echo(last, nl=False)
    except KeyboardInterrupt:
        return True
    finally:
        if show and not last.endswith("\n"):
            typer.echo()
    return False


def _shape(result: Generation) -> dict[str, Any]:
    times = result.timings
    return {
        "text": result.text,
        "tokens": list(result.tokens),
        "stop_reason": result.stop_reason,
        "timings": {
            "prompt_tokens": times.prompt_tokens,
            "prompt_seconds": times.prompt_seconds,
            "generated_tokens": times.generated_tokens,
            "generate_seconds": times.generate_seconds,
        },
    }
