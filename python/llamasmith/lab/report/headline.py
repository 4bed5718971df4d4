"""The verdict in one sentence, over all conditions and arms, on generation where it was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..stats import FASTER, NO_DIFFERENCE, SLOWER, TOO_FEW_ROUNDS
from ..words import Finding, findings, leading_metric, times, where

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Headline", "headline"]

_MANY = 4  # conditions that one sentence names


@dataclass(frozen=True)
class Headline:
    """`tone` is ``faster``, ``slower``, ``even``, ``none`` (no verdict) or ``wrong`` (outputs differ).

    `figure` is the speed that the sentence is about, as a multiple of the first arm's; None where it tells of several.
    """

    text: str
    tone: str
    figure: float | None = None


def headline(record: Mapping[str, Any]) -> Headline:
    """What came out of a record."""
    baseline = record["plan"]["arms"][0]["name"]
    if record["outputs_equal"] is False:
        arm = next((name for cell in record["cells"] for name in _wrong(cell)), "an arm")
        return Headline(f"Do not use this comparison: {arm} generates other tokens than {baseline}.", "wrong")
    # Cells that the first arm takes no part in have a baseline of their own, and are told further below.
    cells = [cell for cell in record["cells"] if cell["arms"][0]["name"] == baseline]
    found = [(cell, of) for cell in cells if (of := findings(cell, leading_metric(cell)))]
    verdicts = [finding.verdict for _, of in found for finding in of]
    if not verdicts:
        return Headline(_nothing(record, baseline), "none")
    if set(verdicts) == {TOO_FEW_ROUNDS}:
        arm = found[0][1][0].arm if len(verdicts) == 1 else "anything"
        return Headline(f"Too few rounds to say whether {arm} is faster than {baseline}.", "none")
    if len(verdicts) == 1:
        return _one_arm(found[0][0], found[0][1][0], baseline)
    if len(found) == 1:
        return _one_condition(*found[0], baseline)
    return _conditions(found, baseline)


def _wrong(cell: Mapping[str, Any]) -> Iterator[str]:
    """The arms whose output had to equal the first arm's and does not."""
    for name, entry in (cell["outputs"] or {"arms": {}})["arms"].items():
        if entry["must_equal"] and entry["equal"] is False:
            yield name


def _nothing(record: Mapping[str, Any], baseline: str) -> str:
    """Why there is no verdict."""
    cells = record["cells"]
    if all(cell["not_run"] for cell in cells):
        return "No verdict: nothing could be measured under these conditions on this machine."
    if any(cell["not_in_force"] for cell in cells):
        return "No verdict: the condition was not in force while it was measured."
    if len(record["plan"]["arms"]) == 1:
        return f"Nothing to compare: {baseline} is the only arm."
    if not record["complete"]:
        return "No verdict: this ended before enough was measured."
    return "No verdict: no two arms have values to compare."


def _one_arm(cell: Mapping[str, Any], finding: Finding, baseline: str) -> Headline:
    others = [other for name in cell["metrics"] if name != finding.metric for other in findings(cell, name)]
    does = _does_exactly(finding) if any(other.kind == finding.kind for other in others) else finding.does
    told = [f"{_does_exactly(other)} {times(other.speed)} times as fast ({other.verdict})" for other in others]
    tail = f"; it {_listed(told)}." if told else "."
    if finding.verdict == NO_DIFFERENCE:
        text = f"No difference seen: {finding.arm} {does} {_as_fast(finding, baseline)}{_place(cell)}{tail}"
        return Headline(text, "even", finding.speed)
    text = f"{finding.arm} {does} {finding.verdict} than {baseline}{_place(cell)}: {_as_fast(finding)}{tail}"
    return Headline(text, "faster" if finding.verdict == FASTER else "slower", finding.speed)


def _one_condition(cell: Mapping[str, Any], of: Sequence[Finding], baseline: str) -> Headline:
    best = _best(of)
    counts = [
        (sum(one.verdict == FASTER for one in of) - 1, "is faster too", "are faster too"),
        (sum(one.verdict == SLOWER for one in of), "is slower", "are slower"),
        (sum(one.verdict == NO_DIFFERENCE for one in of), "shows no difference", "show no difference"),
        (sum(one.verdict == TOO_FEW_ROUNDS for one in of), "has too few rounds", "have too few rounds"),
    ]
    rest = _listed([f"{number} {one if number == 1 else more}" for number, one, more in counts if number > 0])
    does = of[0].does
    if best is None:
        tone = "slower" if all(one.verdict == SLOWER for one in of) else "even"
        return Headline(f"None of {len(of)} arms {does} faster than {baseline}{_place(cell)}: {rest}.", tone)
    text = f"{best.arm} does best{_place(cell)}: it {does} {_as_fast(best, baseline)}"
    return Headline(text + (f"; of the others {rest}." if rest else "."), "faster", best.speed)


def _conditions(found: Sequence[tuple[Mapping[str, Any], Sequence[Finding]]], baseline: str) -> Headline:
    does = found[0][1][0].does
    wins = [(cell, best) for cell, of in found if (best := _best(of)) is not None]
    if not wins:
        tone = "slower" if all(one.verdict == SLOWER for _, of in found for one in of) else "even"
        return Headline(f"Nothing {does} faster than {baseline} under any of {len(found)} conditions.", tone)
    wins.sort(key=lambda win: -win[1].speed)
    names = {best.arm for _, best in wins}
    alone = len(names) == 1
    told = [
        f"{'' if alone else best.arm + ' '}{where(cell['condition'])} ({times(best.speed)}×)"
        for cell, best in (wins if len(wins) <= _MANY + 1 else wins[:_MANY])
    ]
    more = len(wins) - len(told)
    text = f"{wins[0][1].arm} {does} faster than {baseline} " if alone else f"Faster than {baseline}: "
    text += _listed([*told, *([f"under {more} more conditions"] if more else [])])
    lost = [(cell, of) for cell, of in found if _best(of) is None]
    if alone:
        mine = [(cell, next((one for one in of if one.arm == wins[0][1].arm), None)) for cell, of in lost]
        rest = [
            f"slower {where(cell['condition'])} ({times(one.speed)}×)"
            if one is not None and one.verdict == SLOWER
            else f"not faster {where(cell['condition'])}"
            for cell, one in mine
        ]
    else:
        rest = [f"nothing {where(cell['condition'])}" for cell, _ in lost]
    return Headline(text + "".join(f"; {one}" for one in rest[:_MANY]) + ".", "faster")


def _best(of: Sequence[Finding]) -> Finding | None:
    """The fastest of the arms that are faster than the first one."""
    return max((one for one in of if one.verdict == FASTER), key=lambda one: one.speed, default=None)


def _place(cell: Mapping[str, Any]) -> str:
    return "" if cell["condition"]["name"] == "idle" else f" {where(cell['condition'])}"


def _does_exactly(finding: Finding) -> str:
    n = finding.n_tokens
    return {
        "pp": f"reads prompts of {n} tokens",
        "tg": f"generates {n} tokens",
        "ttft": f"gives the first token after {n} tokens",
    }[finding.kind]


def _as_fast(finding: Finding, baseline: str = "") -> str:
    than = f" as {baseline}" if baseline else ""
    if finding.interval is None:
        return f"{times(finding.speed)} times as fast{than}"
    low, high = map(times, finding.interval)
    return f"{times(finding.speed)} times as fast{than} (95 % interval {low} to {high})"


def _listed(parts: Sequence[str], joint: str = "and") -> str:
    return f"{', '.join(parts[:-1])} {joint} {parts[-1]}" if len(parts) > 1 else "".join(parts)
