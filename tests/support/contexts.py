"""Contexts of the extension itself, for tests of what is below Session."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from llamasmith._native import _core
from llamasmith.errors import LlamaError

MakeContext = Callable[..., _core.Context]

A, B = [1, 70, 75, 80], [1, 90, 91]  # two sequences

OPTIONS: dict[str, Any] = {"n_ctx": 512, "n_batch": 64, "n_ubatch": 64}


def feed(context: _core.Context, tokens: list[int], *, seq_id: int = 0, every_output: bool = False) -> None:
    """Appends tokens to a sequence."""
    batch = _core.Batch(context)
    batch.extend(tokens, pos=context.seq_pos_max(seq_id) + 1, seq_id=seq_id, every_output=every_output)
    context.process(batch, encode=False)


def after(context: _core.Context, tokens: list[int], *, seq_id: int = 0) -> np.ndarray[Any, Any]:
    """The logits after them."""
    feed(context, tokens, seq_id=seq_id)
    return context.logits(-1, copy=True)


def outcome(work: Callable[[], Any]) -> str:
    """``done``, or the name of the LlamaError that it raises."""
    try:
        work()
    except LlamaError as error:
        return type(error).__name__
    return "done"


def close(x: Any, y: Any) -> bool:
    return bool(np.allclose(np.asarray(x), np.asarray(y), rtol=1e-3, atol=1e-3))
