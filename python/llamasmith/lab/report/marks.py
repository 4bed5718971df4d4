"""How an arm looks everywhere in a report: a shape and a colour, so that neither is needed alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["COLOURS", "SHAPES", "Mark", "marks"]

COLOURS = 8
"""As many as the style sheet has, ``--arm-0`` and so on; the first is the baseline's."""

SHAPES = ("o", "s", "^", "D", "v", "P", "X", "p")
"""Names of matplotlib's markers; the template draws the same ones as ``#mark-0`` and so on."""

_NOISE_SHAPE = "d"


@dataclass(frozen=True)
class Mark:
    """`colour` is a variable of the style sheet, `symbol` an element of the template, `shape` a marker."""

    colour: str
    symbol: str
    shape: str
    repeats_first: bool = False


def marks(cell: Mapping[str, Any]) -> dict[str, Mark]:
    """One for each arm of a cell, by name: the same in cells where not all arms take part.

    More arms than colours get other pairs of shape and colour.
    """
    found = {}
    for position, arm in enumerate(cell["arms"]):
        index = arm.get("place", position)
        shape = (index + index // COLOURS) % len(SHAPES)
        found[arm["name"]] = Mark(f"arm-{index % COLOURS}", f"mark-{shape}", SHAPES[shape])
        if arm["repeats_first"]:
            found[arm["name"]] = Mark("arm-aa", "mark-aa", _NOISE_SHAPE, repeats_first=True)
    return found
