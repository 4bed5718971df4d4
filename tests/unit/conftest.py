"""Contexts of the extension itself, for tests of what is below Session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from contexts import OPTIONS, MakeContext

from llamasmith import Model, ThreadPool
from llamasmith._native import _core

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def two_threads() -> Iterator[ThreadPool]:
    with ThreadPool(2, wait="yield") as pool:
        yield pool


@pytest.fixture
def make_context(tiny: Model, two_threads: ThreadPool) -> Iterator[MakeContext]:
    """Makes contexts of the tiny model, and closes them."""
    made: list[_core.Context] = []

    def make(model: Model | None = None, **options: Any) -> _core.Context:
        native = (model or tiny)._native
        made.append(_core.Context(native, pool=two_threads._native, pool_batch=None, **{**OPTIONS, **options}))
        return made[-1]

    yield make
    for context in made:
        context.close()
