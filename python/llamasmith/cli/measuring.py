"""Runs an experiment for the commands ``ab`` and ``lab run``: checks, progress, files, exit status."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

from .tables import print_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ..lab import Event, Experiment, Results

__all__ = ["measure", "resume_file"]

OUTPUTS_DIFFER = 3
INTERRUPTED = 130

_STAGES = {
    "hash": "Reading the model file",
    "roofline": "Measuring memory bandwidth",
    "start": "Loading",
    "outputs": "Comparing outputs",
    "calibrate": "Calibrating",
    "measure": "Measuring",
    "idle": "Watching idle arms",
}


def measure(experiment: Experiment, json_file: Path | None, html_file: Path | None) -> None:
    """Runs and prints it. Raises typer.Exit with what `ab --help` says."""
    from .. import lab
    from ..lab import machine

    _check(json_file, html_file)
    with _progress() as show:
        try:
            facts = machine.facts(
                experiment.model, os.environ, on_bytes=lambda done, total: show("hash", done, total, "", None)
            )
            show("roofline", 0, 1, "", None)
            facts["roofline"] = machine.read_bandwidth(facts["machine"])
        except KeyboardInterrupt:
            Console(stderr=True).print("Interrupted before anything was measured.")
            raise typer.Exit(INTERRUPTED) from None
        _warn_if_busy(facts)
        results = lab.run(experiment, facts=facts, on_event=lambda event: _follow(event, show), save=_saver(json_file))
    _finish(results, json_file, html_file)


def resume_file(json_file: Path, html_file: Path | None, command: tuple[str, ...]) -> None:
    """Goes on with an experiment that was interrupted. Raises LabError where this is another machine or build."""
    from .. import lab
    from ..hub import resolve
    from ..lab import machine

    record = lab.read_record(json_file)
    experiment = lab.Experiment.from_plan(record["plan"], resolve, record["command"] or command)
    _check(json_file, html_file)
    results = lab.restore_results(record, experiment)
    if results.complete:
        Console(stderr=True).print(Text(f"{json_file} is complete: there is nothing to go on with."))
    else:
        with _progress() as show:
            now = machine.facts(
                experiment.model, os.environ, on_bytes=lambda done, total: show("hash", done, total, "", None)
            )
            lab.check_same_facts(record["facts"], now)
            _warn_if_busy(now)
            results = lab.resume(results, on_event=lambda event: _follow(event, show), save=_saver(json_file))
    _finish(results, json_file, html_file)


def _warn_if_busy(facts: dict[str, Any]) -> None:
    """Before minutes are spent on figures that nobody can trust."""
    from ..lab.diagnose import busy_machine

    if warning := busy_machine(facts):
        Console(stderr=True).print(Text(f"warning: {warning} (Ctrl-C ends this.)", "yellow"))


def _check(json_file: Path | None, html_file: Path | None) -> None:
    """What would be found out too late."""
    from .. import lab

    lab.check_dependencies()
    for file in (json_file, html_file):
        if file is not None:
            lab.check_writable(file)


def _saver(json_file: Path | None) -> Callable[[Results], None]:
    from .. import lab

    def save(results: Results) -> None:
        if json_file is not None:
            lab.write_record(json_file, lab.build_record(results, under_way=True))

    return save


def _finish(results: Results, json_file: Path | None, html_file: Path | None) -> None:
    from .. import lab

    if results.interrupted and not results.has_samples:
        Console(stderr=True).print("Interrupted before anything was measured.")
        raise typer.Exit(INTERRUPTED)
    record = lab.build_record(results)
    if json_file is not None:
        lab.write_record(json_file, record)
    console = Console(highlight=False)
    print_record(record, console)
    if html_file is not None:
        from ..lab.report import write_report

        write_report(html_file, record)
        console.print(Text(f"Report: {html_file}"))
    if json_file is not None:
        console.print(Text(f"Record: {json_file}"))
    raise typer.Exit(_status(record))


def _status(record: dict[str, Any]) -> int:
    if record["interrupted"]:
        return INTERRUPTED
    if record["outputs_equal"] is False:
        return OUTPUTS_DIFFER
    return 0 if record["complete"] else 1


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int, str, float | None], None]]:
    """A bar on stderr, drawn only when a step ends: a bar that moves by itself would disturb what is measured."""
    console = Console(stderr=True)
    what, note = (TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[note]}"))
    quiet = not console.is_terminal
    with Bar(what, BarColumn(24), note, console=console, transient=True, auto_refresh=False, disable=quiet) as bar:
        task = bar.add_task("", note="")

        def show(stage: str, done: int, total: int, arm: str, seconds_left: float | None) -> None:
            left = "" if seconds_left is None else f"{int(seconds_left) // 60}:{int(seconds_left) % 60:02} left"
            note = "  ".join(word for word in (left, arm) if word)
            bar.update(task, description=_STAGES[stage], completed=done, total=total, note=note, refresh=True)

        yield show


def _follow(event: Event, show: Callable[[str, int, int, str, float | None], None]) -> None:
    from .. import lab

    if isinstance(event, lab.ArmEnded):
        Console(stderr=True).print(event.reason, markup=False, highlight=False)
    elif isinstance(event, lab.CellNotRun):
        Console(stderr=True).print(f"{event.condition}: not run. {event.reason}", markup=False, highlight=False)
    else:
        where = event.arm if event.condition == "idle" else f"{event.condition}: {event.arm}"
        show(event.stage, event.done, event.total, where, event.seconds_left)
