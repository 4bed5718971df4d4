"""The products of the backend openblas: what it takes, and that they are those of the CPU engine.

ggml is called through ctypes, each time in a process of its own: which rule holds is decided once in a process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llamasmith.backends import backends

PRODUCTS = Path(__file__).resolve().parents[1] / "support" / "openblas_products.py"
USABLE = [backend for backend in backends() if backend.name == "openblas" and not backend.problem]

HOW = "the backend openblas is not installed: pip install . -C cmake.define.LLAMASMITH_BACKENDS='cpu;openblas'"
pytestmark = pytest.mark.skipif(not USABLE, reason=HOW)

LARGEST_ERROR = 5 * 32 * 2**-24  # five deviations: of thousands of results, this is the largest

FLOAT = ("f32", "f16", "bf16")
QUANTS = ("q4_0", "q5_0", "q8_0", "q4_K", "q6_K")
ALL = ",".join(f"{kind}=1" for kind in (*FLOAT, *QUANTS))

# name: ne0 (length of a row), rows of weights, batch, matrices of weights (2), (3), of activations (2), (3)
SHAPES = {
    "odd rows": (256, 97, 33, 1, 1, 1, 1),
    "fewer rows than a panel": (512, 32, 40, 1, 1, 1, 1),
    "several panels": (1024, 1000, 64, 1, 1, 1, 1),
    "batch of one": (256, 128, 1, 1, 1, 1, 1),
    "matrices": (256, 64, 35, 2, 3, 2, 3),
    "broadcast": (256, 65, 35, 2, 1, 6, 4),
}


def ask(what: str, *, rule: str | None = ALL, engine: str = "patched", **more: Any) -> Any:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("LLAMASMITH_B", "OPENBLAS_"))}
    env |= {"LLAMASMITH_BACKENDS": "none"} | more.pop("env", {})
    if rule is not None:
        env["LLAMASMITH_BLAS_RULE"] = rule
    given = {"what": what, "module": str(USABLE[0].path), "engine": engine, **more}
    done = subprocess.run(
        [sys.executable, PRODUCTS, json.dumps(given)], capture_output=True, text=True, check=False, env=env
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def within(answer: Any) -> None:
    """Everything was taken, and differs from float64 no more than F32 sums do.

    The error is relative to the root mean square of the result. F32 rounds at 2^-24, 6e-8 of a number; the errors of k
    products add up like sqrt(k) at the most, 32 for the longest rows here, and panels and blocks only change the order.
    """
    for one in answer["products"]:
        assert one["taken"], one
        assert one["error"] < LARGEST_ERROR, one


@pytest.mark.parametrize("shape", SHAPES)
def test_products_are_right(shape: str) -> None:
    within(ask("products", types=[*FLOAT, *QUANTS], shapes=[SHAPES[shape]], threads=2))


@pytest.mark.parametrize("engine", ["patched", "upstream"])
def test_the_engines_threads_compute(engine: str) -> None:
    assert ask("ours", engine=engine)["products"] == [{"ours": True}]


@pytest.mark.parametrize("threads", [1, 3])
def test_any_number_of_threads(threads: int) -> None:
    within(ask("products", types=["f32", "f16"], shapes=[SHAPES["several panels"]], threads=threads))


@pytest.mark.parametrize("said", ["1", "4", "0", "many"])
def test_the_users_number_of_threads(said: str) -> None:
    given = {"OPENBLAS_NUM_THREADS": said}
    within(ask("products", types=["f32", "f16"], shapes=[SHAPES["several panels"]], threads=2, env=given))


def test_upstreams_engine_lends_its_threads_too() -> None:
    within(ask("products", types=["f32", "f16"], shapes=[SHAPES["several panels"]], threads=2, engine="upstream"))


def test_two_threads_at_once() -> None:
    within(ask("products", types=list(FLOAT), shapes=[SHAPES["several panels"]], threads=2, callers=4, repeats=5))


def taken(rule: str | None, *, batch: int = 512, ne0: int = 512, rows: int = 512) -> tuple[set[str], str]:
    answer = ask("takes", rule=rule, types=[*FLOAT, *QUANTS], shapes=[(ne0, rows, batch, 1, 1, 1, 1)])
    return {one["type"] for one in answer["products"] if one["taken"]}, answer["said"]


# src/blas/rule.cpp: least batches, measured beside an engine with AVX2 and without AVX-512
MEASURED = {"f32": 64, "f16": 256, "bf16": 32, "q8_0": 256, "q5_0": 256, "q6_K": 256}


@pytest.mark.parametrize("batch", [31, 32, 63, 64, 255, 256])
def test_what_nobody_has_measured_is_not_taken(batch: int) -> None:
    answer = ask("takes", rule=None, types=[*FLOAT, *QUANTS], shapes=[(512, 512, batch, 1, 1, 1, 1)])
    here = "AVX2" in answer["features"] and "AVX512" not in answer["features"]
    chosen = {one["type"] for one in answer["products"] if one["taken"]}
    assert chosen == {name for name, least in MEASURED.items() if here and batch >= least}
    assert "LLAMASMITH_BLAS_RULE" not in answer["said"]


@pytest.mark.parametrize("small", [{"ne0": 31}, {"rows": 31}])
def test_small_matrices_are_never_taken(small: dict[str, int]) -> None:
    sides = {"ne0": 512, "rows": 512} | small
    answer = ask("takes", rule="f32=1", types=["f32"], shapes=[(sides["ne0"], sides["rows"], 64, 1, 1, 1, 1)])
    assert [one["taken"] for one in answer["products"]] == [False]


def test_what_does_not_lie_in_one_piece_is_refused() -> None:
    answer = ask("strided", types=["f32"], shapes=[(256, 64, 64, 1, 1, 1, 1)])
    assert [one["taken"] for one in answer["products"]] == [False, False]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("none", set()),
        ("upstream", {*FLOAT, *QUANTS}),
        (",".join(f"{name}=never" for name in MEASURED), set()),
        (",".join(f"{name}={512 if name == 'f16' else 513}" for name in MEASURED), {"f16"}),
        (",".join(f"{name}=never" for name in MEASURED) + ",q8_0=1,Q4_K=2", {"q8_0", "q4_K"}),
    ],
)
def test_the_users_rule(rule: str, expected: set[str]) -> None:
    assert taken(rule)[0] == expected


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("", "'' is not TYPE=BATCH"),
        ("f32", "'f32' is not TYPE=BATCH"),
        ("f33=5", "'f33' is no type of weights; there are f32, f16"),
        ("f32=", "'' is no batch for f32: a number from 1, or `never`"),
        ("f32=0", "'0' is no batch for f32"),
        ("f32=-4", "'-4' is no batch for f32"),
        ("f32=99999999999999999999", "is no batch for f32"),
        ("f32=64,", "'' is not TYPE=BATCH"),
        ("f32=64,none", "'none' is not TYPE=BATCH"),
    ],
)
def test_a_bad_rule_is_told_and_takes_nothing(rule: str, told: str) -> None:
    chosen, said = taken(rule)
    assert chosen == set()
    assert told in said
    assert "takes nothing until that is put right" in said
