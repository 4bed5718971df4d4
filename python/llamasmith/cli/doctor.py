"""``llamasmith doctor``: what was built, what of it runs here, what is wrong and how to mend it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from .console import err, out

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from rich.console import RenderableType

    from ..doctor import BackendState, Diagnosis, EngineState, Finding

__all__ = ["doctor"]

_DIGEST_CHARACTERS = 12
_HUGE_PAGES = {
    "always": "for all who use much memory (always)",
    "madvise": "for the engine patched, which asks for them (madvise)",
    "never": "none (never)",
}
_BUILT_FOR = {
    "native": "the CPU it was built on (native)",
    "baseline": "any CPU (baseline)",
    "dispatch": "any CPU, in variants of which the best that runs is loaded (dispatch)",
}


def doctor(json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Show what was built and what runs here. Exit status 1 if that is not what was asked for."""
    from ..doctor import examine

    with err().status("Looking at this machine") as status:
        found = examine(progress=lambda name: status.update(f"Trying {name}"))
    if json_:
        typer.echo(json.dumps(found.asdict(), indent=2))
    else:
        console = out()
        for block in _blocks(found):
            console.print(block)
    if not found.ok:
        raise typer.Exit(1)


def _blocks(found: Diagnosis) -> Iterator[RenderableType]:
    yield _facts(found)
    for state in found.engines:
        yield from _engine(state, found)
    for backend in found.backend_states:
        yield from _backend(backend)
    yield from _findings("Notes", found.notes, "yellow")
    yield from _findings("Problems", found.problems, "bold red")
    yield Text()
    yield Text("All is as it was asked for.", "green") if found.ok else Text(_count(found.problems), "bold red")


def _facts(found: Diagnosis) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    asked = "; ".join(f"{name}={value}" for name, value in found.requested.items())
    rows = {
        "llamasmith": found.version or "unknown",
        "llama.cpp": found.pin,
        "patches": _patches(found),
        "built for": _BUILT_FOR.get(found.cpu, ""),
        "compiled by": _compiler(found),
        "asked for": asked or ("the defaults" if found.pin else ""),
        "backends": ", ".join(found.backends),
        "tools": ", ".join(found.tools),
        "installed": next((str(Path(state.path).parent.parent.parent) for state in found.engines), ""),
        "huge pages": _HUGE_PAGES.get(found.huge_pages or "", ""),
        "threads": f"{found.threads.budget}: {'; '.join(found.threads.reasons)}",
    }
    for name, value in rows.items():
        if value:
            grid.add_row(name, Text(value))
    return grid


def _patches(found: Diagnosis) -> str:
    if not found.series_digest:
        return ""
    names = ", ".join(name.removesuffix(".patch") for name in found.patches) or "none"
    return f"{names} (series {found.series_digest[:_DIGEST_CHARACTERS]})"


def _compiler(found: Diagnosis) -> str:
    compiler = found.build.get("compiler", {})
    return " ".join(word for word in (compiler.get("name"), compiler.get("engine_flags")) if word)


def _engine(state: EngineState, found: Diagnosis) -> Iterator[RenderableType]:
    yield Text()
    mark = Text("loads", "green") if state.loadable else Text("does not load", "bold red")
    active = ", runs by default" if state.name == found.active else ""
    yield Text.assemble("engine ", (state.name, "bold"), ": ", mark, active)
    if state.loadable and state.variant:
        line = f"variant {state.variant}, of {len(state.variants)}: {state.variant_reason}"
        yield Padding(Text(line), (0, 0, 0, 2))
    yield Padding(Text(" ".join(state.features) if state.loadable else state.error), (0, 0, 0, 2))


def _backend(state: BackendState) -> Iterator[RenderableType]:
    yield Text()
    mark = Text("loads", "green") if state.loadable else Text("does not load", "bold red")
    origin = "" if state.origin == "llamasmith" else f", from {state.origin} {state.version}"
    yield Text.assemble("backend ", (state.name, "bold"), ": ", mark, origin)
    lines = [", ".join(f"{what} {value}" if what != "library" else value for what, value in state.built.items())]
    lines += [_device(device) for device in state.devices] if state.loadable else [state.error]
    for line in filter(None, lines):
        yield Padding(Text(line), (0, 0, 0, 2))


def _device(device: Mapping[str, Any]) -> str:
    total = device["memory_total"]
    memory = f", {device['memory_free'] / 2**30:.1f} of {total / 2**30:.1f} GiB free" if total else ""
    return f"device {device['name']} ({device['type']}): {device['description']}{memory}"


def _findings(title: str, findings: Iterable[Finding], style: str) -> Iterator[RenderableType]:
    findings = tuple(findings)
    if findings:
        yield Text()
        yield Text(title, style)
    for finding in findings:
        yield Text(f"- {finding.what}")
        yield Padding(Text(finding.mend), (0, 0, 0, 2))


def _count(problems: tuple[Finding, ...]) -> str:
    return "1 problem." if len(problems) == 1 else f"{len(problems)} problems."
