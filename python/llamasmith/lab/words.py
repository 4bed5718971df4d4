"""A record in words: what it asks, under which conditions, and its verdicts as sentences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Finding", "conclusions", "findings", "leading_metric", "pressures", "question", "times", "where"]

_DOES = {"pp": "reads prompts", "tg": "generates", "ttft": "gives the first token"}


@dataclass(frozen=True)
class Finding:
    """The verdict on an arm, and how many times as fast as the first arm it is: half the time is 2.

    `interval` is None with fewer than two rounds.
    """

    arm: str
    metric: str
    kind: str
    n_tokens: int
    verdict: str
    speed: float
    interval: tuple[float, float] | None

    @property
    def does(self) -> str:
        """What the arm does: ``generates``."""
        return _DOES[self.kind]


def question(record: Mapping[str, Any]) -> str:
    """What the experiment asks: its own question, or one made of its arms."""
    if record["question"]:
        return str(record["question"])
    first, *others = [arm["name"] for arm in record["plan"]["arms"]]
    if not others:
        return f"How fast is {first} on this machine?"
    if len(others) == 1:
        return f"Is {others[0]} faster than {first} on this machine?"
    return f"Which is the fastest on this machine: {', '.join([first, *others[:-1]])} or {others[-1]}?"


def conclusions(record: Mapping[str, Any]) -> Iterator[str]:
    """One sentence for each condition and arm that was compared, on generation where it was measured."""
    for cell in record["cells"]:
        condition, baseline = cell["condition"]["name"], cell["arms"][0]["name"]
        place = "On this machine" if condition == "idle" else f"With {condition}"
        for finding in findings(cell, leading_metric(cell)):
            spread = "" if finding.interval is None else f" [{', '.join(map(times, finding.interval))}]"
            yield (
                f"{place} {finding.arm} {finding.does} {times(finding.speed)}x as fast as {baseline}{spread}: "
                f"{finding.verdict}."
            )


def leading_metric(cell: Mapping[str, Any]) -> str:
    """The name of the metric that verdicts are told by: generation, or else the first one."""
    first: str = next(iter(cell["metrics"]))
    return next((name for name, metric in cell["metrics"].items() if metric["kind"] == "tg"), first)


def findings(cell: Mapping[str, Any], name: str) -> list[Finding]:
    """The verdicts of a cell's metric `name`, in the order of arms."""
    metric = cell["metrics"][name]
    return [
        Finding(arm, name, metric["kind"], metric["n_tokens"], verdict, *_speed(metric, metric["ratio"][arm]))
        for arm, verdict in metric["verdict"].items()
        if verdict is not None
    ]


def _speed(metric: Mapping[str, Any], ratio: Mapping[str, Any]) -> tuple[float, tuple[float, float] | None]:
    estimate, low, high = ratio["estimate"], ratio["low"], ratio["high"]
    if metric["higher_is_better"]:
        return estimate, None if low is None else (low, high)
    return 1 / estimate, None if low is None else (1 / high, 1 / low)


def times(value: float) -> str:
    """A ratio with as many digits as mean something: 0.0031, 0.98, 1.69, 24.1, 281."""
    if value < 0.1:
        return f"{value:.2g}"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def where(condition: Mapping[str, Any]) -> str:
    """A condition in a sentence: ``when idle``, ``beside 2 busy neighbours``."""
    return " and ".join(f"{how} {what}" for how, what in pressures(condition)) or "when idle"


def pressures(condition: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What weighs on a machine under a condition, each with the words that lead to it: ``beside``, ``2 busy ...``."""
    neighbours, quota = condition["neighbours"], condition["quota"]
    if neighbours:
        nice, every = condition.get("nice", 0), condition.get("every", 0)
        of_weight = f" of niceness {nice}" if nice else ""
        in_turn = f" that work{'s' if neighbours == 1 else ''} every other {every:g} s" if every else ""
        yield "beside", f"{neighbours} busy neighbour{'' if neighbours == 1 else 's'}{of_weight}{in_turn}"
    if condition["oversubscribe"] > 1:
        yield "with", f"{condition['oversubscribe']} times the threads"
    if quota is not None:
        yield "with a", f"quota of {quota:g} CPU{'' if quota == 1 else 's'}"
    if condition["sessions"] > 1:
        yield "with", f"{condition['sessions']} sessions at once"
