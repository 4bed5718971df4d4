"""Contexts of the extension itself, for tests of what is below Session."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from llamasmith._native import _core
from llamasmith.errors import LlamaError

if TYPE_CHECKING:
    import numpy as np

MakeContext = Callable[..., _core.Context]

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
