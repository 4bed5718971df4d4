"""Draws docs/threading.svg from a record of the experiment `threads`: python ci/threads_plot.py RECORD OUT.svg"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot

METRIC = "tg64"
BARS = {
    "upstream-openmp": "#9a9a9a",
    "the best fixed policy": "#c9a227",
    "one thread": "#7fa8c9",
    "adaptive": "#1f6f5c",
}
CONDITIONS = {
    "idle": "idle",
    "oversubscribe=2": "4 threads",
    "oversubscribe=4": "8 threads",
    "neighbours=1": "1 neighbour",
    "neighbours=2": "2 neighbours",
    "neighbours=4": "4 neighbours",
    "neighbours=2, every=2": "2, every 2 s",
    "quota=1": "quota 1 CPU",
    "sessions=2": "2 sessions",
}


def bars(samples: dict[str, list[float]]) -> dict[str, float]:
    """The height of each bar that was measured, in tokens/s."""
    median = {arm: statistics.median(values) for arm, values in samples.items() if values}
    fixed = [median[policy] for policy in ("spin", "yield", "park") if policy in median]
    heights = {"upstream-openmp": median.get("upstream-openmp"), "the best fixed policy": max(fixed, default=None)}
    heights |= {"one thread": median.get("1 thread"), "adaptive": median.get("patched")}
    return {name: height for name, height in heights.items() if height is not None}


def main(record: Path, out: Path) -> None:
    mpl.rcParams.update({"svg.hashsalt": "llamasmith", "font.size": 9})
    measured = {cell["condition"]["name"]: cell for cell in json.loads(record.read_text(encoding="utf-8"))["cells"]}
    shown = [name for name in CONDITIONS if name in measured]
    figure, axes = pyplot.subplots(figsize=(7, 0.5 * len(shown) + 0.8), layout="constrained")
    for place, name in enumerate(shown):
        heights = bars(measured[name]["metrics"][METRIC]["samples"])
        for at, bar in enumerate(heights):
            axes.barh(place + (at - (len(heights) - 1) / 2) * 0.2, heights[bar], 0.19, color=BARS[bar])
    axes.set_yticks(range(len(shown)), [CONDITIONS[name] for name in shown])
    axes.invert_yaxis()
    axes.set_xlabel("tokens/s")
    axes.spines[["top", "right"]].set_visible(False)
    handles = [pyplot.Rectangle((0, 0), 1, 1, color=colour) for colour in BARS.values()]
    axes.legend(handles, BARS, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(out, metadata={"Date": None})


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
