"""The plots of one condition and metric: every value, every pair with the intervals, and the roofline."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from ..plan import parse_metric
from ..results import Sample
from ..words import times
from .canvas import Canvas
from .marks import marks
from .noise import noise_band
from .numbers import amount, interval, percent, shorten
from .svg import colour

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .marks import Mark

__all__ = ["pairs_plot", "roofline_plot", "rounds_plot"]

_ROW = 54.0  # pixels for each arm of a plot with one row per arm
_BAR = 38.0
_NAME = 30  # characters that fit beside the figures


def samples_of(arm: Mapping[str, Any], metric: str) -> list[tuple[Sample, float]]:
    """All of them in the order of measuring, warm-up included, each with its value in the metric's unit."""
    samples = [Sample.from_dict(fields) for fields in arm["raw"] if fields["metric"] == metric]
    return [(sample, sample.value(parse_metric(metric))) for sample in samples]


def rounds_plot(cell: Mapping[str, Any], name: str, warmup: int, prefix: str) -> str:
    """Every value of every arm over the rounds; "" if there is none."""
    looks, metric = marks(cell), cell["metrics"][name]
    series = {arm["name"]: found for arm in cell["arms"] if (found := samples_of(arm, name))}
    values = [value for found in series.values() for _, value in found]
    if not values:
        return ""
    canvas = Canvas(300, left=46, right=14, top=26, bottom=34)
    if canvas.scale("y", min(values), max(values)):
        canvas.above(1, "logarithmic scale")
    last = max(sample.round for found in series.values() for sample, _ in found) - warmup + 1
    canvas.axes.set_xlim(0.4 - warmup, max(last, 1) + 0.6)
    canvas.axes.set_xticks(range(1, last + 1, math.ceil(max(last, 1) / 12)))
    canvas.below("round")
    if warmup:
        canvas.band(0.4 - warmup, 0.5, "shade")
        canvas.above(0, "warm-up")
    for index, (arm, found) in enumerate(series.items()):
        shift = (index - (len(series) - 1) / 2) * min(0.14, 0.7 / len(series))
        middle = metric["median"][arm]
        if middle is not None:
            canvas.line([0.6, last + 0.4], [middle] * 2, looks[arm].colour, 1.2, alpha=0.55)
        for hollow in (True, False):
            chosen = [(sample, value) for sample, value in found if sample.warmup == hollow]
            canvas.dots(
                [sample.round - warmup + 1 + shift for sample, _ in chosen],
                [value for _, value in chosen],
                [f"{arm}, {_round(sample, warmup)}: {amount(value)} {metric['unit']}" for sample, value in chosen],
                mark=looks[arm],
                hollow=hollow,
                size=6.4 if len(values) <= 60 else 5.4 if len(values) <= 150 else 4.4,
            )
    told = ", ".join(f"{arm} median {amount(metric['median'][arm])}" for arm in series if metric["median"][arm])
    return canvas.svg(prefix, f"{name}, {cell['condition']['name']}: every round in {metric['unit']}; {told}.")


def pairs_plot(cell: Mapping[str, Any], name: str, warmup: int, prefix: str) -> str:
    """Every round of every arm as a ratio to the first arm's same round, with the intervals; "" without any pair."""
    looks, metric = marks(cell), cell["metrics"][name]
    found = {arm["name"]: _pairs(arm, cell["arms"][0], name) for arm in cell["arms"][1:]}
    pairs = {arm: of for arm, of in found.items() if of}
    if not pairs:
        return ""
    ratios, noise = metric["ratio"], noise_band(cell, metric)
    spread = [1.0, *(noise or ()), *(ratio for of in pairs.values() for _, ratio in of)]
    canvas = Canvas(_ROW * len(pairs) + 62, left=10, right=10, top=22, bottom=40)
    logarithmic = canvas.scale("x", min(spread), max(spread), "×")
    canvas.axes.set_ylim(len(pairs), 0)
    canvas.axes.set_yticks([])
    if noise:
        canvas.band(*noise, "band")
    canvas.line([1.0, 1.0], [0.0, len(pairs)], "muted", 1.2, zorder=1)
    left, right = ("← slower", "faster →") if metric["higher_is_better"] else ("← faster", "slower →")
    canvas.above(0, left)
    canvas.above(1, right)
    what = "speed" if metric["higher_is_better"] else "time"
    canvas.below(f"times the baseline's {what} in the same round" + (", logarithmic" if logarithmic else ""))
    for row, (arm, of) in enumerate(pairs.items()):
        _dots(canvas, row, arm, of, looks[arm], warmup)
        if arm in ratios:
            _interval(canvas, row + 0.82, ratios[arm], looks[arm])
        verdict = metric["verdict"].get(arm) or ("noise" if looks[arm].repeats_first else "")
        figure = f"{times(ratios[arm]['estimate'])}×" if arm in ratios else "warm-up only"
        canvas.text(0, row + 0.17, shorten(arm, _NAME), across=True, ha="left", fontweight="bold")
        canvas.text(1, row + 0.17, f"{figure} {verdict}".rstrip(), across=True, ha="right")
    told = "; ".join(_told(arm, of, metric["verdict"].get(arm)) for arm, of in ratios.items())
    return canvas.svg(prefix, f"{name}, {cell['condition']['name']}: ratio to the baseline in the same round. {told}.")


def _pairs(arm: Mapping[str, Any], baseline: Mapping[str, Any], name: str) -> list[tuple[Sample, float]]:
    """The samples that the baseline has a partner for, with the ratio to it."""
    partners = dict(_by_round(baseline, name))
    return [(of[0], of[1] / partners[key][1]) for key, of in _by_round(arm, name) if key in partners]


def _by_round(arm: Mapping[str, Any], name: str) -> Iterator[tuple[tuple[int, int], tuple[Sample, float]]]:
    """Samples by their round and how often it was measured before: a run that was resumed warms up again."""
    seen: Counter[int] = Counter()
    for sample, value in samples_of(arm, name):
        yield (sample.round, seen[sample.round]), (sample, value)
        seen[sample.round] += 1


def _dots(canvas: Canvas, row: int, arm: str, pairs: list[tuple[Sample, float]], mark: Mark, warmup: int) -> None:
    """The pairs of one arm, from the first round down to the last one."""
    last = max(sample.round for sample, _ in pairs) or 1
    for hollow in (True, False):
        chosen = [(sample, ratio) for sample, ratio in pairs if sample.warmup == hollow]
        canvas.dots(
            [ratio for _, ratio in chosen],
            [row + 0.36 + 0.3 * sample.round / last for sample, _ in chosen],
            [f"{arm}, {_round(sample, warmup)}: {times(ratio)}× the baseline" for sample, ratio in chosen],
            mark=mark,
            hollow=hollow,
            size=4.6,
        )


def _interval(canvas: Canvas, y: float, ratio: Mapping[str, Any], mark: Mark) -> None:
    if ratio["low"] is not None:
        canvas.line([ratio["low"], ratio["high"]], [y, y], mark.colour, 3, zorder=4)
    middle = {"marker": mark.shape, "markersize": 7, "markeredgecolor": colour("paper"), "markeredgewidth": 1}
    canvas.line([ratio["estimate"]], [y], mark.colour, 0, zorder=5, **middle)


def roofline_plot(cell: Mapping[str, Any], name: str, roof: Mapping[str, Any] | None, prefix: str) -> str:
    """How fast each arm reads weights, beside what the machine can read; "" where it is not known."""
    looks, costs = marks(cell), cell["metrics"][name]["costs"]
    speeds = {arm: of["gigabytes_per_second"] for arm, of in costs.items() if of["gigabytes_per_second"] is not None}
    if not speeds:
        return ""
    canvas = Canvas(_BAR * len(speeds) + 62, left=10, right=10, top=24, bottom=38)
    limit = None if roof is None else roof["gigabytes_per_second"]
    longest = max([*speeds.values(), limit or 0.0])
    canvas.scale("x", 0.0, longest)
    canvas.axes.set_xlim(0.0, longest * 1.02)
    canvas.axes.set_ylim(len(speeds), 0)
    canvas.axes.set_yticks([])
    canvas.below("GB/s")
    if limit is not None:
        canvas.line([limit, limit], [0.0, len(speeds)], "ink", 1.6, zorder=4)
        canvas.above(limit / (longest * 1.02), f"this machine reads {amount(limit)} GB/s", "ink")
    for row, (arm, value) in enumerate(speeds.items()):
        canvas.axes.barh([row + 0.72], [value], height=0.44, color=colour(looks[arm].colour), clip_on=False, zorder=3)
        canvas.text(0, row + 0.3, shorten(arm, _NAME), across=True, ha="left", fontweight="bold")
        share = "" if costs[arm]["roofline_share"] is None else f" · {percent(costs[arm]['roofline_share'])}"
        inside = value > 0.6 * longest
        place = value + (-0.015 if inside else 0.015) * longest
        style: dict[str, Any] = {"ha": "right", "color": colour("paper")} if inside else {"ha": "left"}
        canvas.text(place, row + 0.73, f"{amount(value)} GB/s{share}", **style)
    told = ", ".join(f"{arm} {amount(value)} GB/s" for arm, value in speeds.items())
    roof_told = "" if limit is None else f" of the {amount(limit)} GB/s that this machine reads from memory"
    return canvas.svg(prefix, f"{name}, {cell['condition']['name']}: weights read, {told}{roof_told}.")


def _round(sample: Sample, warmup: int) -> str:
    return f"warm-up {sample.round + 1}" if sample.warmup else f"round {sample.round - warmup + 1}"


def _told(arm: str, ratio: Mapping[str, Any], verdict: str | None) -> str:
    spread = "" if ratio["low"] is None else f", 95 % interval {interval(ratio['low'], ratio['high'])}"
    return f"{arm} {times(ratio['estimate'])}{spread}" + (f", {verdict}" if verdict else "")
