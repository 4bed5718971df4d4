"""Texts into tokens, with the real model's vocabulary."""

from __future__ import annotations

import random
from typing import Any

import pytest

pytestmark = pytest.mark.model

SHORT = "The quick brown fox jumps over the lazy dog."
LONG_BYTES = 64 << 10

_PROSE = "the of and to in is that it was for on with as be at one from or by not but what all were when we there can"
_OTHER = "Tokeniser quantised café naïve Straße 東京 привет 3.14159 2026 a[i]=b; {} <tag> --- 🙂 \n \t"


def long_text() -> str:
    """64 KiB, always the same: words of a few languages, numbers, code, line ends."""
    chooser = random.Random(1)
    words = [*_PROSE.split(" "), *_OTHER.split(" ")]
    text = " ".join(chooser.choices(words, k=LONG_BYTES // 2)).encode()[:LONG_BYTES]
    return text.decode(errors="ignore")  # the cut may have halved a character


@pytest.mark.benchmark(group="tokenise")
@pytest.mark.parametrize(
    ("text", "rounds", "iterations"), [(SHORT, 50, 200), (long_text(), 30, 1)], ids=["44 B", "64 KiB"]
)
def test_tokenise(benchmark: Any, smollm2: Any, text: str, rounds: int, iterations: int) -> None:
    tokens = smollm2.tokenize(text, add_special=False)
    assert smollm2.detokenize(tokens) == text
    found = benchmark.pedantic(
        smollm2.tokenize,
        args=(text,),
        kwargs={"add_special": False},
        rounds=rounds,
        iterations=iterations,
        warmup_rounds=2,
    )
    assert found == tokens
    benchmark.extra_info.update(bytes=len(text.encode()), tokens=len(tokens))
