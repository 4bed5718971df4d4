"""The verdicts at a glance: arms down, conditions (or, under one condition, metrics) across."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..rows import digits
from ..words import findings, leading_metric, times
from .marks import Mark, marks
from .noise import noise_in_words
from .tables import tone
from .titles import condition_title, metric_title

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Glance", "Spot", "glances"]

_GLYPHS = {"faster": "▲", "slower": "▼", "even": "≈"}


@dataclass(frozen=True)
class Spot:
    """One arm in one column: how many times as fast, what that means, and the median with its unit below."""

    tone: str
    glyph: str
    figure: str
    verdict: str
    value: str


@dataclass(frozen=True)
class Glance:
    """One table; columns are texts with the id of the part of the page that tells more."""

    caption: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, Mark, tuple[Spot, ...]], ...]


def glances(record: Mapping[str, Any]) -> list[Glance]:
    """One for each metric, with the conditions across; or one with the metrics across, under one condition."""
    cells = record["cells"]
    baselines = {cell["arms"][0]["name"] for cell in cells}
    baseline = "the baseline of each condition" if len(baselines) > 1 else "".join(baselines)
    # The metric that verdicts are told by comes first.
    names = sorted(cells[0]["metrics"], key=lambda name: name != leading_metric(cells[0]))
    if len(cells) == 1:
        columns = [(metric_title(cells[0]["metrics"][name]), f"cell-0-{name}") for name in names]
        caption = f"How many times as fast as {baseline}"
        return [_glance(caption, columns, [(cells[0], name) for name in names])]
    return [
        _glance(
            f"{metric_title(cells[0]['metrics'][name])}: how many times as fast as {baseline}",
            [(condition_title(cell["condition"]), f"cell-{index}") for index, cell in enumerate(cells)],
            [(cell, name) for cell in cells],
        )
        for name in names
    ]


def _glance(caption: str, columns: list[tuple[str, str]], places: list[tuple[Mapping[str, Any], str]]) -> Glance:
    looks = {arm: mark for cell, _ in places for arm, mark in marks(cell).items()}
    arms = sorted(looks, key=lambda arm: looks[arm].repeats_first)
    rows = [(arm, looks[arm], tuple(_spot(cell, name, arm) for cell, name in places)) for arm in arms]
    return Glance(caption, tuple(columns), tuple(rows))


def _spot(cell: Mapping[str, Any], name: str, arm: str) -> Spot:
    metric = cell["metrics"][name]
    if arm not in metric["median"]:
        return Spot("none", "", "–", "not asked", "")
    middle = metric["median"][arm]
    value = "" if middle is None else f"{digits(middle)} {metric['unit']}"
    if middle is None:
        return Spot("none", "", "–", "not run" if cell["not_run"] else "no value", "")
    if arm == cell["arms"][0]["name"]:
        return Spot("baseline", "", "1×", "baseline", value)
    found = next((one for one in findings(cell, name) if one.arm == arm), None)
    if found is not None:
        of = tone(found.verdict)
        return Spot(of, _GLYPHS.get(of, ""), f"{times(found.speed)}×", found.verdict, value)
    if marks(cell)[arm].repeats_first:
        return Spot("none", "", noise_in_words(cell, metric) or "–", "noise", value)
    ratio = metric["ratio"].get(arm)
    if ratio is None:
        return Spot("none", "", "–", "nothing to compare", value)
    speed = ratio["estimate"] if metric["higher_is_better"] else 1 / ratio["estimate"]
    return Spot("none", "", f"{times(speed)}×", "no verdict", value)
