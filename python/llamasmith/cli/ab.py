"""``llamasmith ab``: compares arms on this machine, and says in a table and a sentence what came out."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path  # noqa: TC003 (typer reads the annotations at run time)
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ..lab import Arm, Event, Experiment, Results
    from ..lab.arm import Value

__all__ = ["ab"]

OUTPUTS_DIFFER = 3
INTERRUPTED = 130

_DOES = {"pp": "reads prompts", "tg": "generates"}
_STYLES = {"faster": "green", "slower": "red"}
_STAGES = {
    "hash": "Reading the model file",
    "start": "Loading",
    "outputs": "Comparing outputs",
    "calibrate": "Calibrating",
    "measure": "Measuring",
}


def ab(
    model: Annotated[str, typer.Option("--model", "-m", help="Path of a GGUF file, or a name that `pull` knows.")],
    arm: Annotated[
        list[str] | None,
        typer.Option(
            help="ENGINE[,name=LABEL][,key=value...], once per arm; the first is what the others are compared with. "
            "Keys: t, wait, flash_attn, n_batch, n_ubatch, type_k, type_v, use_extra_bufts, model, python, env.NAME. "
            "By default every engine of this build."
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", "-t", min=1, help="Threads per arm; by default the thread budget.")
    ] = None,
    n_prompt: Annotated[int, typer.Option("--n-prompt", "-p", min=0, help="Tokens of a prompt, or 0.")] = 128,
    n_gen: Annotated[int, typer.Option("--n-gen", "-n", min=0, help="Tokens to generate, or 0.")] = 64,
    rounds: Annotated[int, typer.Option(help="Samples per arm that count.")] = 5,
    warmup: Annotated[int, typer.Option(help="Samples per arm before those; kept in the record, not counted.")] = 1,
    flash_attn: Annotated[str, typer.Option(help="auto, on or off.")] = "auto",
    seed: Annotated[int, typer.Option(help="Of the prompt's tokens and of the bootstrap.")] = 0,
    aa: Annotated[
        bool, typer.Option("--aa/--no-aa", help="Measure the first arm a second time, as the noise floor.")
    ] = True,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the record here, after every round.", dir_okay=False)
    ] = None,
) -> None:
    """Compare engines or settings on this machine: interleaved rounds, paired ratios, an honest verdict.

    Exit status: 0; 3 if arms generate different tokens that must not; 130 after Ctrl-C; 1 if an arm crashed, or for any
    other error.
    """
    from .. import build_info, lab, thread_budget
    from ..hub import resolve

    built = build_info().engines  # not engines(): this process decides and reports, it loads no compiled code
    arms = lab.parse_arms(arm, built) if arm else lab.default_arms(built)
    settings = lab.common_settings(
        n_threads=threads or thread_budget().budget, n_prompt=n_prompt, n_gen=n_gen, flash_attn=flash_attn
    )
    experiment = lab.Experiment(
        model=resolve(model),
        arms=tuple(_complete(one, settings, resolve) for one in arms),
        metrics=tuple(lab.Metric(name, n) for name, n in (("pp", n_prompt), ("tg", n_gen)) if n),
        rounds=rounds,
        warmup=warmup,
        seed=seed,
        aa=aa,
        command=("llamasmith", *sys.argv[1:]),
    )
    lab.check_dependencies()
    if json_file is not None:
        lab.check_writable(json_file)
    record = _run(experiment, json_file)
    if record is None:
        Console(stderr=True).print("Interrupted before anything was measured.")
        raise typer.Exit(INTERRUPTED)
    _print(record, Console(highlight=False), json_file)
    if record["interrupted"]:
        raise typer.Exit(INTERRUPTED)
    if record["outputs_equal"] is False:
        raise typer.Exit(OUTPUTS_DIFFER)
    if not record["complete"]:
        raise typer.Exit(1)


def _complete(arm: Arm, settings: Mapping[str, Value], resolve: Callable[[str], Path]) -> Arm:
    model = None if arm.model is None else str(resolve(arm.model))
    return replace(arm.with_defaults(settings), model=model)


def _run(experiment: Experiment, json_file: Path | None) -> dict[str, Any] | None:
    """Runs the experiment with a progress bar; the final record, or None if Ctrl-C came before any value."""
    from .. import lab
    from ..lab import machine

    def save(results: Results) -> None:
        if json_file is not None:
            lab.write_record(json_file, lab.build_record(results, under_way=True))

    with _progress() as show:
        try:
            facts = machine.facts(
                experiment.model, os.environ, on_bytes=lambda done, total: show("hash", done, total, "", None)
            )
        except KeyboardInterrupt:
            return None
        results = lab.run(experiment, facts=facts, on_event=lambda event: _follow(event, show), save=save)
    if results.interrupted and not any(arm.samples for arm in results.arms):
        return None
    record = lab.build_record(results)
    if json_file is not None:
        lab.write_record(json_file, record)
    return record


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
    else:
        show(event.stage, event.done, event.total, event.arm, event.seconds_left)


def _print(record: dict[str, Any], console: Console, json_file: Path | None) -> None:
    facts, names = record["facts"], [arm["name"] for arm in record["arms"]]
    threads = sorted({arm["settings"].get("n_threads", 0) for arm in record["arms"]})
    console.print(Text(f"{facts['model']['file']} on {facts['machine'].get('cpu_model') or 'an unknown CPU'}"))
    console.print(
        f"threads: {', '.join(map(str, threads))}; rounds: {record['rounds']}, after {record['warmup']} to warm up"
    )
    for name in record["metrics"]:
        console.print()
        console.print(_table(record, name, names))
    console.print()
    for line, style in [*_lines(record), *_conclusions(record)]:
        console.print(Text(line, style))
    if record["interrupted"]:
        console.print(Text("Interrupted: these are the values measured until then.", "bold"))
    if json_file is not None:
        console.print(Text(f"Record: {json_file}"))


def _table(record: dict[str, Any], metric: str, names: list[str]) -> Table:
    found = record["metrics"][metric]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(Text(f"{metric}{found['n_tokens']}, {found['unit']}"), overflow="fold", min_width=18)
    table.add_column("median", justify="right", no_wrap=True)
    table.add_column("ratio", justify="right", no_wrap=True)
    table.add_column("95% interval", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for name in names:
        ratio = found["ratio"].get(name)
        middle = found["median"][name]
        verdict = record["verdict"][metric].get(name) or ("noise floor" if ratio else "nothing to compare")
        table.add_row(
            Text(name),
            "-" if middle is None else f"{middle:.1f}",
            f"{ratio['estimate']:.3f}" if ratio else "",
            _interval(ratio) if ratio else "",
            "baseline" if name == names[0] else Text(verdict, _STYLES.get(verdict, "")),
        )
    return table


def _interval(ratio: dict[str, float | None]) -> str:
    return "too few rounds" if ratio["low"] is None else f"[{ratio['low']:.3f}, {ratio['high']:.3f}]"


def _lines(record: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What there is to know beside the tables: outputs, noise, warnings."""
    outputs = record["outputs"]
    if record["outputs_equal"] is None:
        yield "outputs equal: not comparable (the arms differ in more than engine and waiting)", ""
    elif record["outputs_equal"]:
        bits = "bit-identical" if outputs["logits_identical"] else "NOT bit-identical"
        yield f"outputs equal: yes ({outputs['n_tokens']} greedy tokens; logits {bits})", ""
    else:
        yield "OUTPUTS DIFFER where they must be equal; do not use this comparison:", "bold red"
    for name, entry in outputs["arms"].items():
        if entry["first_difference"] is not None:
            yield f"  {name} differs from the first arm at token {entry['first_difference'] + 1}", ""
    for text in record["warnings"]:
        yield f"warning: {text}", "yellow"


def _conclusions(record: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """One sentence for each arm that was compared, on generation where it was measured."""
    metric = "tg" if "tg" in record["metrics"] else next(iter(record["metrics"]))
    baseline = record["arms"][0]["name"]
    for name, verdict in record["verdict"][metric].items():
        ratio = record["metrics"][metric]["ratio"][name]
        times = f"{ratio['estimate']:.2f}x as fast as {baseline}"
        spread = "" if ratio["low"] is None else f" [{ratio['low']:.2f}, {ratio['high']:.2f}]"
        yield f"On this machine {name} {_DOES[metric]} {times}{spread}: {verdict}.", "bold"
