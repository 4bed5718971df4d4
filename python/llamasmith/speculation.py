"""Speculative decoding: guesses of the next tokens, which the model confirms several at a time.

The text is the one that the model would have written without: every token is chosen from the model's own logits, and a
wrong guess is forgotten. It pays where guesses are cheap and often right.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ._check import integer, number
from ._context import SharedContext
from ._native import _core

if TYPE_CHECKING:
    from .model import Model
    from .options import ContextOptions

__all__ = ["Draft", "ModelDraft", "NgramDraft"]

MAX_DRAFT = 256


@dataclass(frozen=True)
class Draft(ABC):
    """Base of all drafts: `n_max`, the most tokens to guess at a time (1 to 256)."""

    n_max: int = field(default=8, kw_only=True)

    @property
    def limit(self) -> int:
        """`n_max`, checked. Raises InvalidOption."""
        return integer("n_max", self.n_max, 1, MAX_DRAFT)

    @abstractmethod
    def _make(self, n_ctx: int, options: ContextOptions) -> tuple[_core.Draft, SharedContext | None]:
        """What guesses for one session of so many tokens, and the context that it computes in."""


@dataclass(frozen=True)
class NgramDraft(Draft):
    """Guesses what followed when the last tokens stood in the text before (prompt lookup): costs next to nothing.

    For texts that repeat what they were given: summaries with quotations, edited code, answers about a document.
    The last `longest` tokens are looked up, then fewer, down to `shortest`.
    """

    shortest: int = 2
    longest: int = 4

    def _make(self, n_ctx: int, options: ContextOptions) -> tuple[_core.Draft, SharedContext | None]:
        longest = integer("longest", self.longest, 1, 64)
        shortest = integer("shortest", self.shortest, 1, longest)
        return _core.NgramDraft(n_max=self.limit, shortest=shortest, longest=longest), None


@dataclass(frozen=True)
class ModelDraft(Draft):
    """Guesses the most likely tokens of a smaller model with the same vocabulary, `model`.

    Guesses end where the best is less likely than `p_min`. Raises InvalidOption, when a session is made with it, if the
    vocabularies differ.
    """

    model: Model
    p_min: float = 0.6

    def _make(self, n_ctx: int, options: ContextOptions) -> tuple[_core.Draft, SharedContext | None]:
        context = SharedContext(self.model, options, "ModelDraft", n_ctx=n_ctx)
        return _core.ModelDraft(context.native, n_max=self.limit, p_min=number("p_min", self.p_min)), context
