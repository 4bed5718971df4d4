"""``llamasmith lab``: experiments with a name, and what to do with their records."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from ..errors import InvalidOption
from .console import err, out
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

__all__ = ["app"]

app = typer.Typer(
    name="lab", no_args_is_help=True, help="Experiments with a name: list and run them; show, compare, export records."
)

Record = Annotated[Path, typer.Argument(help="A record: what --json has written.", dir_okay=False)]


@app.command("list")
def list_() -> None:
    """Show the experiments, and which of them cannot run here."""
    from ..lab.experiments import Here, load_all

    here = Here.look()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("experiment", no_wrap=True)
    table.add_column("question", overflow="fold")
    for definition in load_all().values():
        reason = definition.needs(here)
        words = (
            Text(definition.question) if reason is None else Text(f"{definition.question} Not here: {reason}", "dim")
        )
        table.add_row(Text(definition.name), words)
    out().print(table)
    out().print("\nllamasmith lab run NAME -m MODEL runs one; so does a file of your own: lab run my_experiment.py")


@app.command()
def run(
    name: Annotated[str | None, typer.Argument(help="One that `lab list` shows, or a Python file NAME.py.")] = None,
    model: ModelName = None,
    threads: Threads = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(
            help="Instead of the experiment's own: idle, or neighbours=N,oversubscribe=K,quota=CPUS,sessions=N,nice=N,"
            "every=SECONDS"
        ),
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="Instead of the experiment's own: ppN, tgN or ttftN, such as tg64.")
    ] = None,
    rounds: Rounds = 10,
    warmup: Warmup = 2,
    text: TextFile = None,
    flash_attn: FlashAttn = "auto",
    seed: Seed = 0,
    sample_seconds: SampleSeconds = 0.8,
    limit_seconds: Annotated[
        float, typer.Option(help="Seconds after which a sample of an arm that is much slower ends early.")
    ] = 10.0,
    idle_seconds: IdleSeconds = 5.0,
    json_file: JsonFile = None,
    html_file: HtmlFile = None,
    resume: Resume = None,
) -> None:
    """Run an experiment: all its arms under all its conditions. Exit status as of `ab`."""
    from .. import lab
    from ..lab.experiments import Here, find

    if resume is not None:
        if name is not None or model is not None or json_file is not None:
            raise InvalidOption("--resume goes on as the record says: leave out the name, -m and --json.")
        resume_file(resume, html_file, command_line())
    if name is None:
        raise InvalidOption("Which experiment? `llamasmith lab list` shows them.")
    definition = find(name)
    conditions = tuple(lab.parse_condition(one) for one in condition or definition.conditions)
    experiment = plan(
        model,
        definition.arms_here(Here.look()),
        [lab.parse_metric(one) for one in metric or definition.metrics],
        threads=threads,
        flash_attn=flash_attn,
        text=text,
        conditions=conditions,
        only=definition.only_under(conditions),
        rounds=rounds,
        warmup=warmup,
        seed=seed,
        sample_seconds=sample_seconds,
        limit_seconds=limit_seconds,
        idle_seconds=idle_seconds,
        name=definition.name,
        question=definition.question,
    )
    if definition.quality and text is None:
        err().print("The arms compute differently: with --text FILE, perplexity and KL divergence are compared too.")
    measure(experiment, json_file, html_file)


@app.command()
def show(record: Record) -> None:
    """Print a record as the run has printed it."""
    from ..lab import read_record
    from .tables import print_record

    print_record(read_record(record), out())


@app.command()
def required(record: Record) -> None:
    """Hold a record against what its experiment's figures must reach. Exit status 1 if none of them was measured."""
    from ..lab import read_record
    from .required import print_required

    if not print_required(read_record(record), out()):
        raise typer.Exit(1)


@app.command()
def compare(
    records: Annotated[list[Path], typer.Argument(help="Two records or more.", dir_okay=False)],
) -> None:
    """Put records side by side, by their ratios to the first arm, which all must have.

    Refused, with the list of differences, where they differ in more than the arms: machine, build, model, plan.
    """
    from ..lab import read_record
    from ..lab.contrast import contrast
    from .tables import print_contrast

    for table in contrast([read_record(record) for record in records]):
        print_contrast(table, out())


class Form(str, Enum):
    """What a record can become."""

    markdown = "markdown"
    csv = "csv"
    html = "html"


@app.command()
def export(
    record: Record,
    form: Annotated[Form, typer.Option("--to", help="The form.")] = Form.markdown,
    file: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to; by default standard output.", dir_okay=False)
    ] = None,
) -> None:
    """Turn a record into Markdown tables, into CSV with every raw value, or into the HTML report."""
    from ..lab import check_writable, read_record
    from ..lab.export import to_csv, to_markdown
    from ..lab.report import render

    if file is not None:
        check_writable(file)
    text = {Form.markdown: to_markdown, Form.csv: to_csv, Form.html: render}[form](read_record(record))
    if file is None:
        typer.echo(text, nl=False)
    else:
        file.write_text(text, encoding="utf-8")
