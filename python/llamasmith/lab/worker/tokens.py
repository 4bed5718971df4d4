"""The pseudo-random prompts of samples."""

from __future__ import annotations

import random

__all__ = ["random_tokens"]


def random_tokens(n: int, seed: int, n_vocab: int) -> list[int]:
    """`n` token ids below `n_vocab`, the same ones for every subject."""
    # random.random() is the one method whose sequence Python promises to keep.
    generator = random.Random(seed)
    return [int(generator.random() * n_vocab) for _ in range(n)]
