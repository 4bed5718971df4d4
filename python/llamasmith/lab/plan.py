"""The plan of an experiment: what is measured, how often, and in which order. Nothing here takes time."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import InvalidOption
from .arm import AA_NAME, Arm, Value

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["MIN_SAMPLE_SECONDS", "Experiment", "Metric", "common_settings", "order", "repeats_for"]

MIN_SAMPLE_SECONDS = 0.2
"""A sample shorter than this is ruled by the scheduler's time slices and the clock's steps (LAB method, rule 3)."""

# Calibration runs once; without a margin every second sample would end a little below the minimum.
_MARGIN = 1.25

# Room for the text that generation starts from; a vocabulary of bytes needs one token for each of them.
_PROMPT_ROOM = 64
_CTX_STEP = 256  # llama.cpp rounds n_ctx up to a multiple of this


@dataclass(frozen=True)
class Metric:
    """``pp``: prompt processing of `n` tokens; ``tg``: generation of `n` tokens. Both in tokens per second."""

    name: str
    n: int
    unit: str = "tokens/s"


@dataclass(frozen=True)
class Experiment:
    """Everything that decides how an experiment runs. `warmup` and `rounds` count samples per arm and metric."""

    model: Path
    arms: tuple[Arm, ...]
    metrics: tuple[Metric, ...]
    rounds: int = 5
    warmup: int = 1
    seed: int = 0
    aa: bool = True
    n_outputs: int = 64
    min_sample_seconds: float = MIN_SAMPLE_SECONDS
    command: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.arms:
            raise InvalidOption("An experiment needs at least one arm.")
        if not self.metrics or any(metric.n < 1 for metric in self.metrics):
            raise InvalidOption("Nothing to measure: give -p (prompt) or -n (generated) at least 1 token.")
        if self.rounds < 1:
            raise InvalidOption(f"rounds is {self.rounds}; at least 1 is needed, and 5 for a usable interval.")
        if self.warmup < 0:
            raise InvalidOption(f"warmup is {self.warmup}; it cannot be negative.")
        if self.n_outputs < 1:
            raise InvalidOption(f"n_outputs is {self.n_outputs}; comparing outputs needs at least 1 token.")

    def all_arms(self) -> tuple[Arm, ...]:
        """The arms, and last the repetition of the first one unless it was declined."""
        return (*self.arms, replace(self.arms[0], name=AA_NAME)) if self.aa else self.arms


def common_settings(
    *, n_threads: int, n_prompt: int, n_gen: int, flash_attn: str = "auto", n_outputs: int = 64
) -> dict[str, Value]:
    """What every arm has unless it says otherwise; written out, so that a record tells all of it."""
    needed = max(n_prompt, _PROMPT_ROOM + max(n_gen + 1, n_outputs))
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


def repeats_for(seconds_once: Iterable[float], min_sample_seconds: float) -> int:
    """How often one sample repeats the work, the same for every arm: as often as the fastest arm needs."""
    needs = [math.ceil(min_sample_seconds * _MARGIN / seconds) for seconds in seconds_once if seconds > 0]
    return max([1, *needs])
