"""What a record was measured with, and what it took: lists of terms and values."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from .numbers import amount, megabytes, percent, seconds_in_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Facts", "build_facts", "command_line", "machine_facts", "model_facts", "plan_facts", "spent_facts"]

Facts = list[tuple[str, str]]

_UNKNOWN = "not known"
_SPENT = {
    "measuring": "measuring and warming up",
    "loading": "loading models",
    "comparing": "comparing outputs",
}


def machine_facts(facts: Mapping[str, Any]) -> Facts:
    """CPU, memory, system, and what limits them."""
    machine, roof = facts["machine"], facts.get("roofline")
    cpus = f"{_of(machine, 'cpus_logical')} logical, {_of(machine, 'cpus_physical')} physical"
    affinity, quota = machine.get("affinity"), machine.get("cgroup_quota_cpus")
    load, busy = machine.get("load_average"), machine.get("busy_cpus")
    found = [
        ("CPU", _of(machine, "cpu_model")),
        ("Architecture", _of(machine, "architecture")),
        ("CPUs", cpus),
        ("Allowed CPUs", ", ".join(map(str, affinity)) if affinity else _UNKNOWN),
        ("CPU quota", "none" if quota is None else f"{quota:g} CPUs"),
        ("Clock governor", _of(machine, "governor")),
        ("Memory", _UNKNOWN if machine.get("memory_bytes") is None else f"{machine['memory_bytes'] / 1e9:.1f} GB"),
        ("Memory is read at", _roof(roof)),
        ("Huge pages", _of(machine, "huge_pages")),
        ("System", f"{_of(machine, 'kernel')}, {_of(machine, 'libc')}"),
        ("Python", _of(machine, "python")),
        ("Busy before", _UNKNOWN if busy is None else f"{busy:.2f} CPUs"),
        ("Load average", ", ".join(f"{one:.2f}" for one in load) if load else _UNKNOWN),
    ]
    cleared = facts["environment"].get("cleared")
    return [
        *found,
        *(
            [("Variables taken out", ", ".join(f"{name}={value}" for name, value in cleared.items()))]
            if cleared
            else []
        ),
    ]


def _roof(roof: Mapping[str, Any] | None) -> str:
    if not roof:
        return "not measured"
    return f"{amount(roof['gigabytes_per_second'])} GB/s with {roof['n_threads']} threads"


def build_facts(facts: Mapping[str, Any]) -> list[tuple[str, Facts]]:
    """A list for the build of this environment, and one for each arm that has its own."""
    builds = {"Build": facts["build"], **{f"Build of {arm}": of for arm, of in facts.get("builds", {}).items()}}
    packages = [(name, version) for name, version in facts["packages"].items() if version and name != "llamasmith"]
    found = {title: list(_build(build)) for title, build in builds.items() if build}
    if packages:
        found.setdefault("Build", []).append(("Packages", ", ".join(f"{name} {version}" for name, version in packages)))
    return list(found.items())


def _build(build: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    compiler, patches = build.get("compiler") or {}, build.get("patches") or []
    yield "llamasmith", _of(build, "version")
    yield "llama.cpp at", _of(build, "pin")
    yield "Patch series", _of(build, "series_digest")
    yield "Patches", ", ".join(str(patch.get("name")) for patch in patches) or "none"
    yield "Engines", ", ".join(build.get("engines") or []) or _UNKNOWN
    yield "Backends", ", ".join(build.get("backends") or []) or _UNKNOWN
    yield "CPU target", " ".join([_of(build, "cpu"), *(build.get("cpu_flags") or [])])
    yield "Compiler", " ".join(str(compiler[name]) for name in ("name", "build_type") if name in compiler) or _UNKNOWN
    yield "Flags", _of(compiler, "engine_flags")
    if build.get("requested"):
        yield "Options", ", ".join(f"{name}={value}" for name, value in build["requested"].items())


def model_facts(facts: Mapping[str, Any]) -> Facts:
    """The model file that all arms share."""
    model = facts["model"]
    return [("File", model["file"]), ("Size", megabytes(model["bytes"])), ("SHA-256", model["sha256"])]


def plan_facts(record: Mapping[str, Any]) -> Facts:
    """How it was measured."""
    plan = record["plan"]
    return [
        ("Rounds", f"{plan['rounds']}, after {plan['warmup']} to warm up"),
        ("A sample lasts", f"{plan['sample_seconds']:g} s or more, for the fastest arm"),
        ("Noise floor", "the first arm measured twice (A/A)" if plan["aa"] else "not measured"),
        ("Seed", str(plan["seed"])),
        ("Record", record["schema"]),
    ]


def spent_facts(spent: Mapping[str, float | None]) -> Facts:
    """How long it took, and for what."""
    wall = spent.get("wall")
    shares = [
        (_SPENT.get(name, name), f"{seconds_in_words(seconds)} ({percent(seconds / wall)})")
        for name, seconds in sorted(spent.items(), key=lambda item: -(item[1] or 0.0))
        if name not in ("wall", "overhead") and seconds is not None and wall
    ]
    return [
        ("In all", seconds_in_words(wall)),
        *((term[0].upper() + term[1:], value) for term, value in shares),
        ("Overhead", f"{percent(spent.get('overhead'))}, neither measuring nor warming up"),
    ]


def command_line(record: Mapping[str, Any]) -> str:
    """The command as a shell takes it; "" where none is recorded."""
    return shlex.join(record["command"])


def _of(table: Mapping[str, Any], name: str) -> str:
    value = table.get(name)
    return _UNKNOWN if value is None or value == "" else str(value)
