"""``llamasmith ab``: compares arms on this machine, and says in a table and a sentence what came out."""

from __future__ import annotations

from typing import Annotated

import typer

from ..errors import InvalidOption
from ..lab.keys import all_keys
from .measuring import measure, resume_file
from .options import (
    FlashAttn,
    HtmlFile,
    IdleSeconds,
    JsonFile,
    ModelName,
    Resume,
    Rounds,
    SampleSeconds,
    Seed,
    TextFile,
    Threads,
    Warmup,
)
from .planning import command_line, plan

__all__ = ["ab"]


def ab(
    model: ModelName = None,
    arm: Annotated[
        list[str] | None,
        typer.Option(
            help="ENGINE[,name=LABEL][,key=value...] or peer=NAME[,...], once per arm; the first is what the others "
            f"are compared with. Keys: {all_keys()}. By default every engine of this build."
        ),
    ] = None,
    threads: Threads = None,
    n_prompt: Annotated[int, typer.Option("--n-prompt", "-p", min=0, help="Tokens of a prompt, or 0.")] = 128,
    n_gen: Annotated[int, typer.Option("--n-gen", "-n", min=0, help="Tokens to generate, or 0.")] = 64,
    ttft: Annotated[int, typer.Option(min=0, help="Tokens of a prompt whose first answer is timed, or 0.")] = 0,
    rounds: Rounds = 10,
    warmup: Warmup = 2,
    neighbours: Annotated[int, typer.Option(help="Busy processes beside the arms.")] = 0,
    oversubscribe: Annotated[int, typer.Option(help="So many times the threads.")] = 1,
    quota: Annotated[float | None, typer.Option(help="CPUs that the arms may use, by a cgroup.")] = None,
    sessions: Annotated[int, typer.Option(help="Sessions of one process that work at once.")] = 1,
    text: TextFile = None,
    flash_attn: FlashAttn = "auto",
    seed: Seed = 0,
    aa: Annotated[
        bool, typer.Option("--aa/--no-aa", help="Measure the first arm a second time, as the noise floor.")
    ] = True,
    sample_seconds: SampleSeconds = 0.8,
    idle_seconds: IdleSeconds = 5.0,
    json_file: JsonFile = None,
    html_file: HtmlFile = None,
    resume: Resume = None,
) -> None:
    """Compare engines or settings on this machine: interleaved rounds, paired ratios, an honest verdict.

    Exit status: 0; 3 if arms generate different tokens that must not; 130 after Ctrl-C; 1 if an arm crashed, or for any
    other error.
    """
    from .. import lab

    if resume is not None:
        if model is not None or arm or json_file is not None:
            raise InvalidOption("--resume goes on as the record says: leave out -m, --arm and --json.")
        resume_file(resume, html_file, command_line())
    experiment = plan(
        model,
        arm,
        [lab.Metric(kind, n) for kind, n in (("pp", n_prompt), ("ttft", ttft), ("tg", n_gen)) if n],
        threads=threads,
        flash_attn=flash_attn,
        text=text,
        conditions=(lab.Condition(neighbours, oversubscribe, quota, sessions),),
        rounds=rounds,
        warmup=warmup,
        seed=seed,
        aa=aa,
        sample_seconds=sample_seconds,
        idle_seconds=idle_seconds,
    )
    measure(experiment, json_file, html_file)
