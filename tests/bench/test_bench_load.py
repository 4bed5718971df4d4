"""What stands before the first token: loading a model (from the page cache), making a context with its threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from llamasmith import Model, Session

from .figures import rounds_for

if TYPE_CHECKING:
    from pathlib import Path

MODELS = ["tiny", pytest.param("smollm2", marks=pytest.mark.model)]
TOKENS = [1, 40, 50]


def logits(model: Model) -> Any:
    with Session(model, n_ctx=64) as session:
        return session.decode(TOKENS)


@pytest.mark.benchmark(group="model load, and close")
@pytest.mark.parametrize("name", MODELS)
def test_load(benchmark: Any, request: pytest.FixtureRequest, name: str) -> None:
    path: Path = request.getfixturevalue(f"{name}_path")
    with Model(path) as one, Model(path) as other:
        np.testing.assert_array_equal(logits(one), logits(other))

    def load() -> None:
        Model(path).close()

    benchmark.pedantic(load, rounds=rounds_for(benchmark, load, most=20), warmup_rounds=1)


@pytest.mark.benchmark(group="context of 2048 tokens, and close")
@pytest.mark.parametrize("name", MODELS)
def test_context(benchmark: Any, request: pytest.FixtureRequest, name: str) -> None:
    model: Model = request.getfixturevalue(name)
    np.testing.assert_array_equal(logits(model), logits(model))

    def make() -> None:
        Session(model, n_ctx=2048).close()

    benchmark.pedantic(make, rounds=rounds_for(benchmark, make, most=30), warmup_rounds=1)
