"""An empty plot in the report's manner: laid out in pixels, no frame, few ticks; and scales that choose themselves."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..extra import need
from .svg import Labels, colour, inline_svg

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["FONT", "WIDTH", "Canvas"]

WIDTH = 400.0
"""Pixels: a phone shows it nearly as it is, so that text stays readable."""

FONT = 11.5
_MANIFOLD = 4.0  # from where on a scale is logarithmic
_STEPS = (1, 2, 5)


class Canvas:
    """One figure with one plot in it; distances are in pixels."""

    def __init__(self, height: float, *, left: float, right: float, top: float, bottom: float) -> None:
        figure = need("matplotlib.figure").Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
        inner_width, inner_height = WIDTH - left - right, height - top - bottom
        self.figure = figure
        self._inner_height = inner_height
        self.labels = Labels()
        self.titles: dict[str, list[str]] = {}
        self.axes: Any = figure.add_axes(
            (left / WIDTH, bottom / height, inner_width / WIDTH, inner_height / height), frameon=False
        )
        self.axes.tick_params(length=0, labelsize=FONT, labelcolor=colour("muted"), pad=5)
        self.axes.set_axisbelow(True)

    def text(self, x: float, y: float, text: str, *, across: bool = False, **style: Any) -> None:
        """Any text at a place of the data; with `across`, x goes from 0 to 1 over the width of the plot."""
        transform = self.axes.get_yaxis_transform() if across else self.axes.transData
        style = {"fontsize": FONT, "color": colour("ink"), "va": "center", "zorder": 6} | style
        self.axes.text(x, y, self.labels(text), transform=transform, clip_on=False, **style)

    def above(self, x: float, text: str, variable: str = "muted") -> None:
        """A remark above the plot; x goes from 0 to 1 over its width and says which way the text runs."""
        align = "left" if x < 0.5 else "right"
        y = 1 + 11 / self._inner_height
        style = {"fontsize": FONT, "color": colour(variable), "va": "center", "ha": align}
        self.axes.text(x, y, self.labels(text), transform=self.axes.transAxes, clip_on=False, **style)

    def below(self, text: str) -> None:
        """What the horizontal axis means."""
        self.axes.set_xlabel(text, fontsize=FONT, color=colour("muted"), labelpad=4)

    def line(self, xs: Sequence[float], ys: Sequence[float], variable: str, width: float, **style: Any) -> None:
        """A line between points of the data."""
        style = {"solid_capstyle": "round", "zorder": 2} | style
        self.axes.plot(xs, ys, color=colour(variable), linewidth=width, clip_on=False, **style)

    def band(self, low: float, high: float, variable: str) -> None:
        """The whole height of the plot from `low` to `high`, below all else."""
        self.axes.axvspan(low, high, facecolor=colour(variable), edgecolor="none", zorder=0, clip_on=False)

    def dots(
        self, xs: Sequence[float], ys: Sequence[float], titles: Sequence[str], *, mark: Any, hollow: bool, size: float
    ) -> None:
        """One dot for each value, with a title that shows when a pointer rests on it."""
        if not xs:
            return
        gid = f"dots-{len(self.titles)}"
        self.titles[gid] = list(titles)
        line = colour(mark.colour)
        self.axes.plot(
            xs,
            ys,
            linestyle="none",
            marker=mark.shape,
            markersize=size,
            markerfacecolor=colour("paper") if hollow else line,
            markeredgecolor=line if hollow else colour("paper"),
            markeredgewidth=1.1 if hollow else 0.7,
            clip_on=False,
            gid=gid,
            zorder=3,
        )

    def scale(self, axis: str, low: float, high: float, suffix: str = "") -> bool:
        """Limits, ticks, gridlines for `low` to `high`. True if the scale is logarithmic: they are far apart."""
        set_scale, set_limits, of_axis = (
            (self.axes.set_xscale, self.axes.set_xlim, self.axes.xaxis)
            if axis == "x"
            else (self.axes.set_yscale, self.axes.set_ylim, self.axes.yaxis)
        )
        logarithmic = low > 0 and high / low > _MANIFOLD
        if logarithmic:
            margin = (high / low) ** 0.05
            low, high = low / margin, high * margin
            ticks = _log_ticks(low, high)
            set_scale("log")
        else:
            margin = (high - low or abs(high) or 1.0) * 0.06
            low, high = low - margin, high + margin
            ticks = _ticks(low, high)
        set_limits(low, high)
        of_axis.set_minor_locator(need("matplotlib.ticker").NullLocator())
        names = [f"{tick:g}" for tick in ticks] if logarithmic else _plain(ticks)
        of_axis.set_ticks(ticks, [name + suffix for name in names])
        of_axis.grid(visible=True, color=colour("line"), linewidth=0.8)
        return logarithmic

    def svg(self, prefix: str, description: str) -> str:
        """The figure as an element for the page."""
        return inline_svg(self.figure, prefix, description, self.labels, self.titles)


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers."""
    locator = need("matplotlib.ticker").MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10])
    return [float(tick) for tick in locator.tick_values(low, high) if low <= tick <= high]


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten, or the powers alone where they go far."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = _STEPS if math.log10(high / low) <= 2.2 else (1,)
    found = [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
    return found[:: math.ceil(len(found) / 7)]


def _plain(ticks: Sequence[float]) -> list[str]:
    """All with the digits that the finest of them needs."""
    digits = max((len(f"{tick:.6f}".rstrip("0").partition(".")[2]) for tick in ticks), default=0)
    return [f"{tick:.{digits}f}" for tick in ticks]
