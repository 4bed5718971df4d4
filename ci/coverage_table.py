#!/usr/bin/env python3
"""Writes docs/coverage.md: every function of upstream's headers, bound or not bound with the reason.

    ci/coverage_table.py            # writes the page
    ci/coverage_table.py --check    # fails if it is not what would be written

What is decided stands in src/ext/coverage.toml.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
UPSTREAM = ROOT / "vendor" / "llama.cpp"
HEADERS = ("include/llama.h", "src/llama-ext.h")
DECISIONS = ROOT / "src" / "ext" / "coverage.toml"
PAGE = ROOT / "docs" / "coverage.md"


@dataclass(frozen=True)
class Function:
    """A function of a header."""

    name: str
    deprecated: bool


@dataclass(frozen=True)
class Decisions:
    """For each function a name of `_core`, or a reason."""

    bound: dict[str, str]
    not_bound: dict[str, str]


def functions(header: str) -> list[Function]:
    """The exported functions of a header's text, in its order."""
    text = re.sub(r"//[^\n]*|/\*.*?\*/|^[ \t]*#[^\n]*", "", header, flags=re.DOTALL | re.MULTILINE)
    found: dict[str, Function] = {}
    for declaration in re.split(r"[;{}]", text):
        if not re.search(r"\bLLAMA_API\b", declaration):
            continue
        name = re.search(r"\b(llama_\w+)\s*\(", declaration)
        if name is not None:
            found[name.group(1)] = Function(name.group(1), "DEPRECATED(" in declaration)
    return list(found.values())


def decisions(path: Path = DECISIONS) -> Decisions:
    """What src/ext/coverage.toml says."""
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    return Decisions(data["bound"], data["not_bound"])


def undecided(found: list[Function], decided: Decisions) -> list[str]:
    """Functions that need a decision; those that upstream has deprecated need none."""
    known = {*decided.bound, *decided.not_bound}
    return [function.name for function in found if not function.deprecated and function.name not in known]


def section(header: str, found: list[Function], decided: Decisions) -> list[str]:
    """One header's table."""
    live = [function for function in found if not function.deprecated]
    bound = sum(function.name in decided.bound for function in live)
    lines = [
        f"## {header}",
        "",
        f"{bound} of {len(live)} functions are bound; {len(found) - len(live)} more are deprecated and left out.",
        "",
        "| function | bound as, or why not |",
        "|---|---|",
    ]
    for function in live:
        target = decided.bound.get(function.name)
        what = f"`{target}`" if target else decided.not_bound[function.name]
        lines.append(f"| `{function.name}` | {what} |")
    return [*lines, ""]


def page(headers: dict[str, str], decided: Decisions) -> str:
    """The page's text, from the headers' texts."""
    lines = [
        "# What of llama.cpp is bound",
        "",
        "`llamasmith._core` is the extension under `Model` and `Session`. This table is made by `ci/coverage_table.py`",
        "from the pinned headers and `src/ext/coverage.toml`; a test fails when a new pin has a function that nobody",
        "has decided on. llama-ext.h is upstream's staging header, which changes from one commit to the next.",
        "",
    ]
    for name, text in headers.items():
        lines += section(name, functions(text), decided)
    return "\n".join(lines)


def headers() -> dict[str, str]:
    """The pinned headers' texts."""
    return {name: (UPSTREAM / name).read_text(encoding="utf-8") for name in HEADERS}


def main(arguments: list[str]) -> int:
    texts, decided = headers(), decisions()
    missing = [name for text in texts.values() for name in undecided(functions(text), decided)]
    if missing:
        print(f"Not decided in {DECISIONS.relative_to(ROOT)}: {', '.join(missing)}", file=sys.stderr)
        return 1
    text = page(texts, decided)
    if "--check" in arguments:
        same = PAGE.exists() and PAGE.read_text(encoding="utf-8") == text
        if not same:
            print(f"{PAGE.relative_to(ROOT)} is out of date. Run: ci/coverage_table.py", file=sys.stderr)
        return 0 if same else 1
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
