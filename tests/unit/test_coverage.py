"""Every function of the pinned headers is bound, or not bound for a reason; the page says the same."""

from __future__ import annotations

from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from scripts import load_script

from llamasmith._native import _core

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def table() -> Any:
    return load_script(ROOT / "ci" / "coverage_table.py")


@pytest.fixture(scope="module")
def headers(table: Any) -> dict[str, str]:
    if not table.UPSTREAM.exists():
        pytest.skip("vendor/llama.cpp is not there. Fetch it: python vendor/fetch.py")
    texts: dict[str, str] = table.headers()
    return texts


def test_every_function_is_decided(table: Any, headers: dict[str, str]) -> None:
    decided = table.decisions()
    missing = {name: table.undecided(table.functions(text), decided) for name, text in headers.items()}
    assert missing == {name: [] for name in headers}


def test_a_new_function_is_noticed(table: Any, headers: dict[str, str]) -> None:
    text = headers["include/llama.h"].replace(
        "LLAMA_API int64_t llama_time_us(void);",
        "LLAMA_API int64_t llama_time_us(void); LLAMA_API struct llama_x * llama_brand_new(int a,\n int b);",
    )
    assert table.undecided(table.functions(text), table.decisions()) == ["llama_brand_new"]


def test_deprecated_functions_are_told_from_the_others(table: Any, headers: dict[str, str]) -> None:
    found = {function.name: function.deprecated for function in table.functions(headers["include/llama.h"])}
    assert found["llama_load_model_from_file"]
    assert found["llama_get_state_size"]
    assert not found["llama_model_load_from_file"]
    assert not found["llama_sampler_init_infill"]
    assert len(found) > 250


def test_nothing_is_decided_that_upstream_does_not_have(table: Any, headers: dict[str, str]) -> None:
    decided = table.decisions()
    names = {function.name for text in headers.values() for function in table.functions(text)}
    assert {*decided.bound, *decided.not_bound} <= names
    assert not set(decided.bound) & set(decided.not_bound)
    assert all(len(reason) > 10 for reason in decided.not_bound.values())


def test_what_is_bound_exists(table: Any) -> None:
    for function, target in table.decisions().bound.items():
        prefix, *path = target.split(".")
        assert prefix == "_core", function
        reduce(getattr, path, _core)


def test_the_page_is_what_would_be_written(table: Any, headers: dict[str, str]) -> None:
    assert table.page(headers, table.decisions()) == table.PAGE.read_text(encoding="utf-8"), "run ci/coverage_table.py"
