"""Is the series in order? Headers, names, sizes, the pin, and that every prefix of it applies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import PatchError
from .apply import Overlay
from .series import CPU_ENGINE, Patch, parse_patch, series_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .pin import Pin

__all__ = ["MOST_FILES", "MOST_LINES", "Finding", "check_series"]

# A patch holds call sites; what is longer is code of ours that belongs into src/.
MOST_LINES = 40
MOST_FILES = 3


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be. ``level`` is ``error`` or ``warning``."""

    level: str
    patch: str
    text: str


def check_series(
    series: Path,
    tree: Path | None,
    pin: Pin,
    *,
    root: Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Finding]:
    """Everything that is wrong with a series.

    Without a tree nothing is applied; without a root nobody looks whether the tests exist.
    """
    findings: list[Finding] = []
    try:
        names = series_names(series)
    except PatchError as error:
        return [Finding("error", series.name, str(error))]
    present = {path.name for path in series.parent.glob("*.patch")}
    findings += [
        Finding("error", name, "is in the folder but not in the series") for name in sorted(present - {*names})
    ]
    # Each prefix of the series is the one before plus one patch, and applying is a function of nothing else:
    # going through it once applies every prefix.
    overlay = Overlay(tree) if tree is not None else None
    for name in names:
        progress(name)
        if name not in present:
            findings.append(Finding("error", name, "is in the series but not in the folder"))
            continue
        try:
            patch = parse_patch(series.parent / name)
        except PatchError as error:
            findings.append(Finding("error", name, str(error)))
            continue
        findings += [Finding("error", name, text) for text in _errors(patch, pin, root)]
        findings += [Finding("warning", name, text) for text in _warnings(patch)]
        if overlay is not None:
            try:
                for change in patch.changes:
                    overlay.apply(change, name=name)
            except PatchError as error:
                findings.append(Finding("error", name, str(error)))
                overlay = None  # what comes after is made for a tree that we do not have
    return findings


def _errors(patch: Patch, pin: Pin, root: Path | None) -> Iterator[str]:
    yield from patch.header.problems()
    if patch.header.pin not in (None, pin.commit):
        yield f"Last-Update is for pin {str(patch.header.pin)[:9]}, ours is {pin.commit[:9]}: review the patch"
    if patch.scope == "cpu-engine":
        for path in patch.files:
            if not path.startswith(CPU_ENGINE):
                yield f"Scope: cpu-engine may touch {CPU_ENGINE} only, not {path}"
    test = patch.header.fields.get("Test", "").split(" ")[0].split("::")[0]
    if root is not None and test and "<" not in test and not (root / test).is_file():
        yield f"Test: there is no file {test}"
    for change in patch.changes:
        for hunk in change.hunks:
            line = hunk.new_start - 1
            for sign, text in hunk.lines:
                line += sign != b"-"
                content = text.rstrip(b"\r\n")
                if sign == b"+" and content != content.rstrip():
                    yield f"adds trailing white space: {change.path}, line {line}"


def _warnings(patch: Patch) -> Iterator[str]:
    if patch.changed_lines > MOST_LINES:
        yield f"changes {patch.changed_lines} lines, more than {MOST_LINES}: can code move to src/?"
    if len(patch.files) > MOST_FILES:
        yield f"touches {len(patch.files)} files, more than {MOST_FILES}: is it one concern?"
