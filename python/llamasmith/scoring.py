"""How well a model predicts a text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ._check import integer
from .errors import InvalidOption
from .session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Unpack

    from .model import Model
    from .options import ContextOptions

__all__ = ["Perplexity", "perplexity"]


@dataclass(frozen=True)
class Perplexity:
    """How surprised a model is by a text: `value` is as if each token were one of so many, equally likely."""

    value: float
    error: float
    """Standard error of `value`."""
    n_tokens: int
    """Tokens that were scored."""
    n_chunks: int


def perplexity(
    model: Model,
    text: str | bytes,
    *,
    n_ctx: int = 512,
    progress: Callable[[float], None] | None = None,
    **options: Unpack[ContextOptions],
) -> Perplexity:
    """The perplexity of a text, as llama-perplexity has it: in chunks of `n_ctx` tokens, each by itself, of which the
    second half is scored.

    Args:
        n_ctx: tokens of a chunk.
        progress: called with the part done, 0.0 to 1.0; an exception from it stops the work.
        options: see `ContextOptions`.

    Raises InvalidOption for a text of less than two chunks, DecodeFailed.
    """
    size = integer("n_ctx", n_ctx, 8, 1 << 20)
    tokens = model.tokenize(text)
    n_chunks = len(tokens) // size
    if len(tokens) < 2 * size:
        raise InvalidOption(
            f"The text has {len(tokens)} tokens; at least {2 * size} are needed, twice n_ctx. Give a longer one, "
            f"or a smaller n_ctx."
        )
    first = size // 2
    begin = model.token_bos if model.vocab.add_bos else None
    parts = []
    with Session(model, n_ctx=size, n_outputs_max=size - first, **options) as session:
        for chunk in range(n_chunks):
            part = tokens[chunk * size : (chunk + 1) * size]
            if begin is not None:
                part[0] = begin
            parts.append(session.score(part, first=first).astype(np.float64))
            if progress is not None:
                progress((chunk + 1) / n_chunks)
    surprise = -np.concatenate(parts)
    mean = float(surprise.mean())
    error = math.sqrt(float(surprise.var()) / max(1, surprise.size - 1))
    value = math.exp(mean)
    return Perplexity(value, error * value, int(surprise.size), n_chunks)
