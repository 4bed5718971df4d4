"""The plan of an experiment: what is measured, how often, and in which order. Nothing here takes time."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidOption
from .arm import AA_NAME, Arm, check_distinct
from .condition import IDLE, Condition

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from .keys import Value

__all__ = [
    "MIN_SAMPLE_SECONDS",
    "SAMPLE_LIMIT_SECONDS",
    "Experiment",
    "Metric",
    "Quality",
    "common_settings",
    "order",
    "parse_metric",
    "parts_for",
    "repeats_for",
    "sample_plan",
    "split",
]

_UNITS = {"pp": "tokens/s", "tg": "tokens/s", "ttft": "ms"}

MIN_SAMPLE_SECONDS = 0.2
"""A sample shorter than this is ruled by the scheduler's time slices and the clock's steps (LAB method, rule 3)."""

SAMPLE_SECONDS = 0.8
"""What a sample lasts unless asked otherwise: long enough to be taken in several parts."""

_PARTS = (4, 2)

SAMPLE_LIMIT_SECONDS = 10.0
"""Where an arm is slower by orders of magnitude, a sample ends early: its rate is known well enough by then."""

# Under a condition that changes, the work may be begun many more times than calibration says: time ends a sample.
_CHANGING_MARGIN = 4.0

# Calibration runs once; without a margin every second sample would end a little below the minimum.
_MARGIN = 1.25

# Room for the text that generation starts from; a vocabulary of bytes needs one token for each of them.
_PROMPT_ROOM = 64
_CTX_STEP = 256  # llama.cpp rounds n_ctx up to a multiple of this


@dataclass(frozen=True)
class Metric:
    """What is measured, for `n` tokens.

    ``pp``: prompt processing, tokens per second. ``tg``: generation, tokens per second. ``ttft``: time to first token,
    milliseconds.
    """

    kind: str
    n: int

    def __post_init__(self) -> None:
        if self.kind not in _UNITS:
            raise InvalidOption(f"The metric is {self.kind!r}. Allowed: {', '.join(_UNITS)}.")
        if self.n < 1:
            raise InvalidOption(f"The metric {self.kind} has {self.n} tokens; at least 1 is needed.")

    @property
    def name(self) -> str:
        """``pp128``, ``tg64``, ..."""
        return f"{self.kind}{self.n}"

    @property
    def unit(self) -> str:
        return _UNITS[self.kind]

    @property
    def higher_is_better(self) -> bool:
        return self.kind != "ttft"

    @property
    def n_ctx(self) -> int:
        """Tokens that the context must hold."""
        return self.n + 1 if self.kind != "tg" else _PROMPT_ROOM + self.n + 1


def parse_metric(text: str) -> Metric:
    """A metric from its name: ``pp128``. Raises InvalidOption."""
    found = re.fullmatch(r"([a-z]+)(\d+)", text)
    if found is None:
        raise InvalidOption(f"The metric is {text!r}; write it as pp128, tg64 or ttft128.")
    return Metric(found[1], int(found[2]))


@dataclass(frozen=True)
class Quality:
    """A text over which token distributions are compared: `n_tokens` of it, in chunks of `chunk` tokens."""

    text: Path
    n_tokens: int = 1024
    chunk: int = 512


@dataclass(frozen=True)
class Experiment:
    """Everything that decides how an experiment runs. `warmup` and `rounds` count samples per arm and metric.

    `model` is the file; `model_name` what the user called it. `defaults` are the settings of arms that leave them
    open. `only` names the arms that take part under a condition, by its name; where it says nothing, all do. A sample
    ends early after `limit_seconds`. After the last round under the first condition each arm is watched for
    `idle_seconds` of doing nothing.
    """

    model: Path
    arms: tuple[Arm, ...]
    metrics: tuple[Metric, ...]
    conditions: tuple[Condition, ...] = (IDLE,)
    defaults: Mapping[str, Value] = field(default_factory=dict)
    only: Mapping[str, Sequence[str]] = field(default_factory=dict)
    rounds: int = 10
    warmup: int = 2
    seed: int = 0
    aa: bool = True
    n_outputs: int = 64
    sample_seconds: float = SAMPLE_SECONDS
    limit_seconds: float = SAMPLE_LIMIT_SECONDS
    idle_seconds: float = 5.0
    quality: Quality | None = None
    name: str = "ab"
    question: str = ""
    model_name: str = ""
    command: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.arms:
            raise InvalidOption("An experiment needs at least one arm.")
        if not self.metrics:
            raise InvalidOption("Nothing to measure: give -p (prompt) or -n (generated) at least 1 token.")
        for what, count in (("metrics", len(set(self.metrics))), ("conditions", len(set(self.conditions)))):
            if count != len(getattr(self, what)):
                raise InvalidOption(f"Two {what} are the same; name each once.")
        if self.rounds < 1:
            raise InvalidOption(f"rounds is {self.rounds}; at least 1 is needed, and 5 for a usable interval.")
        if self.warmup < 0:
            raise InvalidOption(f"warmup is {self.warmup}; it cannot be negative.")
        if self.n_outputs < 1:
            raise InvalidOption(f"n_outputs is {self.n_outputs}; comparing outputs needs at least 1 token.")
        if not self.sample_seconds >= MIN_SAMPLE_SECONDS:
            raise InvalidOption(
                f"A sample of {self.sample_seconds:g} s is ruled by the scheduler; at least {MIN_SAMPLE_SECONDS:g} s."
            )
        if not self.limit_seconds >= MIN_SAMPLE_SECONDS:
            raise InvalidOption(
                f"A sample that ends after {self.limit_seconds:g} s is ruled by the scheduler; at least "
                f"{MIN_SAMPLE_SECONDS:g} s."
            )
        _check_only(self.only, self.conditions, self.arms)
        for condition in self.conditions:
            check_distinct(self.arms_under(condition, aa=False))

    def arms_under(self, condition: Condition, *, aa: bool | None = None) -> tuple[Arm, ...]:
        """The arms as they run under `condition`; last the repetition of the first one unless it was declined."""
        defaults = condition.defaults(self.defaults)
        names = self.only.get(condition.name, [arm.name for arm in self.arms])
        arms = tuple(arm.with_defaults(defaults) for arm in self.arms if arm.name in names)
        return (*arms, replace(arms[0], name=AA_NAME)) if (self.aa if aa is None else aa) else arms

    def plan(self) -> dict[str, Any]:
        """All of it ready for JSON; `from_plan` is the way back."""
        plain = {name: getattr(self, name) for name in _PLAIN_FIELDS}
        quality = None if self.quality is None else asdict(self.quality) | {"text": str(self.quality.text)}
        return plain | {
            "model": self.model_name or str(self.model),
            "arms": [arm.asdict() for arm in self.arms],
            "metrics": [metric.name for metric in self.metrics],
            "conditions": [condition.asdict() for condition in self.conditions],
            "defaults": dict(self.defaults),
            "only": {name: list(arms) for name, arms in self.only.items()},
            "quality": quality,
            "limit_seconds": self.limit_seconds,
        }

    @classmethod
    def from_plan(cls, plan: Mapping[str, Any], resolve: Callable[[str], Path], command: Sequence[str]) -> Experiment:
        """The experiment of a record's plan; `resolve` finds the file of a model's name."""
        quality = plan["quality"]
        return cls(
            model=resolve(plan["model"]),
            model_name=plan["model"],
            arms=tuple(Arm.from_dict(arm) for arm in plan["arms"]),
            metrics=tuple(parse_metric(name) for name in plan["metrics"]),
            conditions=tuple(Condition.from_dict(condition) for condition in plan["conditions"]),
            defaults=plan["defaults"],
            only=plan.get("only", {}),
            limit_seconds=plan.get("limit_seconds", SAMPLE_LIMIT_SECONDS),
            quality=None if quality is None else Quality(**{**quality, "text": Path(quality["text"])}),
            command=tuple(command),
            **{name: plan[name] for name in _PLAIN_FIELDS},
        )


def _check_only(only: Mapping[str, Sequence[str]], conditions: Sequence[Condition], arms: Sequence[Arm]) -> None:
    for name, taking_part in only.items():
        if name not in (condition.name for condition in conditions):
            raise InvalidOption(f"Arms are chosen for the condition {name!r}, which is not measured.")
        unknown = [arm for arm in taking_part if arm not in (one.name for one in arms)]
        if unknown or not taking_part:
            raise InvalidOption(
                f"Under {name}, the arms that take part are {', '.join(taking_part) or 'none'}. "
                f"Known: {', '.join(arm.name for arm in arms)}."
            )


_PLAIN_FIELDS = (
    "name",
    "question",
    "rounds",
    "warmup",
    "seed",
    "aa",
    "n_outputs",
    "sample_seconds",
    "idle_seconds",
)


def common_settings(
    metrics: Sequence[Metric], *, n_threads: int, flash_attn: str = "auto", n_outputs: int = 64
) -> dict[str, Value]:
    """What every arm has unless it says otherwise; written out, so that a record tells all of it."""
    needed = max([_PROMPT_ROOM + n_outputs, *(metric.n_ctx for metric in metrics)])
    return {
        "n_threads": n_threads,
        "n_ctx": math.ceil(needed / _CTX_STEP) * _CTX_STEP,
        "n_batch": 2048,
        "n_ubatch": 512,
        "flash_attn": flash_attn,
        "type_k": "f16",
        "type_v": "f16",
        "use_extra_bufts": True,
    }


def order(n_arms: int, round_index: int) -> tuple[int, ...]:
    """The order of the arms in one round: a row of Williams' balanced Latin square.

    Two arms run A B, B A, A B, ... Over n rounds (2 n where n is odd) every arm takes every position equally often and
    follows every other arm equally often, so that neither place nor predecessor favours one. (E. J. Williams, 1949,
    "Experimental designs balanced for the estimation of residual effects of treatments".)
    """
    # First row 0, 1, n-1, 2, n-2, ...; the others add a constant; an odd n needs the mirror images as well.
    first = [(position + 1) // 2 if position % 2 else (n_arms - position // 2) % n_arms for position in range(n_arms)]
    shift, mirrored = round_index, False
    if n_arms % 2:
        shift, mirrored = round_index // 2, bool(round_index % 2)
    row = [(arm + shift) % n_arms for arm in first]
    return tuple(reversed(row)) if mirrored else tuple(row)


def parts_for(repeats: int, seconds_once: Iterable[float]) -> int:
    """In how many parts a round takes each sample: 4, 2 or 1, as many as leave `MIN_SAMPLE_SECONDS` to each.

    The arms take turns by parts, in the round's order and then in the reverse order (A B B A): a machine whose speed
    changes within seconds changes it for all arms. Where it does, four parts make intervals narrower by a third.
    """
    fastest = min((seconds for seconds in seconds_once if seconds > 0), default=0.0)
    fitting = (parts for parts in _PARTS if repeats // parts * fastest >= MIN_SAMPLE_SECONDS)
    return next(fitting, 1)


def split(repeats: int, parts: int) -> list[int]:
    """`repeats` in `parts` as equal as can be, larger ones first."""
    return [repeats // parts + (index < repeats % parts) for index in range(parts)]


def sample_plan(once: Collection[float], sample_seconds: float, period: float = 0.0) -> tuple[int, int]:
    """Of one sample: repeats and parts, for arms that take `once` seconds for one repeat.

    Where the condition repeats itself every `period` seconds, a sample is one part that lasts for one period.
    """
    if period:
        return repeats_for(once, period * _CHANGING_MARGIN), 1
    repeats = repeats_for(once, sample_seconds)
    return repeats, parts_for(repeats, once)


def repeats_for(seconds_once: Iterable[float], min_sample_seconds: float) -> int:
    """How often one sample repeats the work, the same for every arm: as often as the fastest arm needs."""
    needs = [math.ceil(min_sample_seconds * _MARGIN / seconds) for seconds in seconds_once if seconds > 0]
    return max([1, *needs])
