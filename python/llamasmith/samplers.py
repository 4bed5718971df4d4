"""Samplers: each changes or narrows the choice among the next tokens; they apply in the order given.

Names and defaults are llama.cpp's. The last one must choose: `Greedy`, `Dist`, `Mirostat`, `MirostatV2` or `AdaptiveP`.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar

from ._native import _core
from .errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .model import Model

__all__ = [
    "AdaptiveP",
    "Custom",
    "Dist",
    "Dry",
    "Grammar",
    "GrammarLazy",
    "Greedy",
    "Infill",
    "LogitBias",
    "MinP",
    "Mirostat",
    "MirostatV2",
    "Penalties",
    "Sampler",
    "Temp",
    "TempExt",
    "TopK",
    "TopNSigma",
    "TopP",
    "Typical",
    "Xtc",
    "sampler_chain",
]


@dataclass(frozen=True)
class Sampler:
    """Base of all samplers."""

    name: ClassVar[str]

    def options(self) -> dict[str, Any]:
        """The fields by name; a seed of None becomes a random one."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        if "seed" in values and values["seed"] is None:
            values["seed"] = secrets.randbits(32)
        return values


@dataclass(frozen=True)
class Greedy(Sampler):
    """Chooses the most likely token."""

    name = "greedy"


@dataclass(frozen=True)
class Dist(Sampler):
    """Chooses by the probabilities."""

    name = "dist"
    seed: int | None = None


@dataclass(frozen=True)
class TopK(Sampler):
    """Keeps the `k` most likely; 0 for all."""

    name = "top_k"
    k: int = 40


@dataclass(frozen=True)
class TopP(Sampler):
    """Keeps the most likely that together have the probability `p`, and at least `min_keep`."""

    name = "top_p"
    p: float = 0.95
    min_keep: int = 1


@dataclass(frozen=True)
class MinP(Sampler):
    """Keeps what is at least `p` times as likely as the most likely."""

    name = "min_p"
    p: float = 0.05
    min_keep: int = 1


@dataclass(frozen=True)
class Typical(Sampler):
    """Keeps what is about as surprising as the average (locally typical sampling)."""

    name = "typical"
    p: float = 0.95
    min_keep: int = 1


@dataclass(frozen=True)
class Temp(Sampler):
    """Divides logits by `t`; 0 leaves the most likely alone."""

    name = "temp"
    t: float = 0.8


@dataclass(frozen=True)
class TempExt(Sampler):
    """A temperature between ``t - delta`` and ``t + delta``, by the entropy to the power of `exponent`."""

    name = "temp_ext"
    t: float = 0.8
    delta: float = 0.0
    exponent: float = 1.0


@dataclass(frozen=True)
class Xtc(Sampler):
    """With the probability `p`, drops all but the least likely of those above `t` (exclude top choices)."""

    name = "xtc"
    p: float = 0.5
    t: float = 0.1
    min_keep: int = 1
    seed: int | None = None


@dataclass(frozen=True)
class TopNSigma(Sampler):
    """Keeps logits within `n` standard deviations of the largest."""

    name = "top_n_sigma"
    n: float = 1.0


@dataclass(frozen=True)
class Mirostat(Sampler):
    """Chooses so that the surprise stays near `tau` (Mirostat 1)."""

    name = "mirostat"
    seed: int | None = None
    tau: float = 5.0
    eta: float = 0.1
    m: int = 100


@dataclass(frozen=True)
class MirostatV2(Sampler):
    """Chooses so that the surprise stays near `tau` (Mirostat 2)."""

    name = "mirostat_v2"
    seed: int | None = None
    tau: float = 5.0
    eta: float = 0.1


@dataclass(frozen=True)
class Grammar(Sampler):
    """Allows only what a grammar (GBNF) allows, from its rule `root` on. Put it first."""

    name = "grammar"
    grammar: str
    root: str = "root"


@dataclass(frozen=True)
class GrammarLazy(Sampler):
    """A grammar that sleeps until a trigger: a token, or a pattern that matches the whole text so far.

    A pattern is an ECMAScript regular expression; the grammar begins with its first group. It looks at the first 8 KiB
    of text only: a generation that is longer without a trigger raises DecodeFailed.
    """

    name = "grammar_lazy"
    grammar: str
    root: str = "root"
    trigger_patterns: Sequence[str] = ()
    trigger_tokens: Sequence[int] = ()


@dataclass(frozen=True)
class Penalties(Sampler):
    """Makes the last `last_n` tokens less likely: by the factor `repeat`, by `freq` for each time, by `present`."""

    name = "penalties"
    last_n: int = 64
    repeat: float = 1.0
    freq: float = 0.0
    present: float = 0.0


@dataclass(frozen=True)
class Dry(Sampler):
    """Makes tokens less likely that would prolong a repetition: ``multiplier * base ** (length - allowed_length)``."""

    name = "dry"
    multiplier: float = 0.8
    base: float = 1.75
    allowed_length: int = 2
    last_n: int = 1024
    breakers: Sequence[str] = ("\n", ":", '"', "*")


@dataclass(frozen=True)
class AdaptiveP(Sampler):
    """Chooses so that the chosen tokens' probability stays near `target`; negative for off."""

    name = "adaptive_p"
    target: float = -1.0
    decay: float = 0.9
    seed: int | None = None


@dataclass(frozen=True)
class LogitBias(Sampler):
    """Adds to the logits of tokens: ``{token: bias}``; ``-inf`` forbids one."""

    name = "logit_bias"
    bias: Mapping[int, float] = field(default_factory=dict)

    def options(self) -> dict[str, Any]:
        return {"bias": list(self.bias.items())}


@dataclass(frozen=True)
class Infill(Sampler):
    """For filling in the middle: ends where nothing is likely, joins tokens with a common beginning."""

    name = "infill"


@dataclass(frozen=True)
class Custom(Sampler):
    """A sampler in Python: ``call(ids, logits)`` with two numpy arrays, int32 and float32, of one length.

    It changes `logits` in place, or returns an array to take its place; ``-inf`` forbids a token. If it has methods
    ``accept(token)``, ``reset()`` or ``clone()``, they are called too. What it raises comes out of `generate` as it is.

    Cost: it runs with the GIL, once for each token, on copies of all candidates: 0.1 to 0.3 ms for 50,000 of them. Put
    TopK before it.
    """

    name = "custom"
    call: Callable[..., Any] = field(default=lambda ids, logits: None)


def sampler_chain(model: Model, samplers: Sequence[Sampler]) -> _core.SamplerChain:
    """A chain of samplers, with a state of its own, for one sequence. Raises InvalidOption, SessionClosed."""
    if isinstance(samplers, Sampler):
        samplers = [samplers]
    for sampler in samplers:
        if not isinstance(sampler, Sampler):
            raise InvalidOption(f"{sampler!r} is no sampler. Use those of llamasmith.samplers, such as TopK(40).")
    return _core.SamplerChain(model._native, [(sampler.name, sampler.options()) for sampler in samplers])
