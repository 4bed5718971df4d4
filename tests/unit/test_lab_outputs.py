"""Equal outputs: where arms differ, and which of them must not."""

from __future__ import annotations

from typing import Any

import pytest

from llamasmith.lab.arm import AA_NAME, Arm
from llamasmith.lab.condition import IDLE
from llamasmith.lab.outputs import compare_outputs, first_difference
from llamasmith.lab.results import ArmResult, CellResult

BASELINE = Arm("a", "upstream", {"n_threads": 2})
WAITS = Arm("b", "patched", {"n_threads": 2, "wait": "park"})  # must agree with the first one
COUNTS = Arm("c", "upstream", {"n_threads": 1})  # need not
AGAIN = Arm(AA_NAME, "upstream", {"n_threads": 2})


def made(tokens: list[int], logits: str | None = "x") -> dict[str, Any]:
    return {"tokens": tokens, "logits_sha256": logits}


def compared(**outputs: dict[str, Any] | None) -> dict[str, Any]:
    """Of the first arm and those named, ``aa`` among them."""
    known = {"a": BASELINE, "b": WAITS, "c": COUNTS, "aa": AGAIN}
    arms = [ArmResult(known[name], outputs=made) for name, made in outputs.items()]
    return compare_outputs(CellResult(IDLE, arms), n_tokens=64)


@pytest.mark.parametrize(
    ("one", "other", "index"),
    [
        ([1, 2, 3], [1, 2, 3], None),
        ([9, 2, 3], [1, 2, 3], 0),
        ([1, 2, 4], [1, 2, 3], 2),
        ([1, 5, 4], [1, 2, 3], 1),
        ([1, 2], [1, 2, 3], None),  # cut short, and the same as far as it goes
        ([1, 5], [1, 2, 3], 1),
        ([], [1], None),
    ],
)
def test_first_difference(one: list[int], other: list[int], index: int | None) -> None:
    assert first_difference(one, other) == index
    assert first_difference(other, one) == index


def test_an_arm_that_only_waits_otherwise_must_agree() -> None:
    found = compared(a=made([1, 2]), b=made([1, 2]))
    assert (found["n_tokens"], found["equal"], found["logits_identical"]) == (64, True, True)
    found = compared(a=made([1, 2]), b=made([1, 3], "y"))
    assert (found["equal"], found["logits_identical"]) == (False, False)
    assert found["arms"]["b"] == {
        "must_equal": True,
        "equal": False,
        "first_difference": 1,
        "logits_identical": False,
    }


def test_equal_tokens_may_come_from_other_logits() -> None:
    found = compared(a=made([1, 2], "x"), b=made([1, 2], "y"))
    assert (found["equal"], found["logits_identical"]) == (True, False)


def test_an_arm_with_other_arithmetic_may_differ() -> None:
    found = compared(a=made([1, 2]), c=made([1, 3], "y"))
    assert (found["equal"], found["logits_identical"]) == (None, None)
    assert found["arms"]["c"]["must_equal"] is False
    assert found["arms"]["c"]["first_difference"] == 1
    assert compared(a=made([1, 2]), b=made([1, 2]), c=made([1, 3], "y"))["equal"] is True


def test_the_repetition_of_the_first_arm_proves_nothing_unless_it_differs() -> None:
    assert compared(a=made([1, 2]))["equal"] is None
    assert compared(a=made([1, 2]), aa=made([1, 2]))["equal"] is None
    assert compared(a=made([1, 2]), c=made([3]), aa=made([1, 2]))["equal"] is None
    assert compared(a=made([1, 2]), aa=made([1, 3]))["equal"] is False
    assert compared(a=made([1, 2]), b=made([1, 2]), aa=made([1, 3]))["equal"] is False


def test_what_no_arm_could_tell_is_not_known() -> None:
    found = compared(a=made([1, 2]), b=None)
    assert found["equal"] is None
    assert found["arms"]["b"]["first_difference"] is None
    found = compared(a=made([1, 2], None), b=made([1, 2], None))
    assert (found["equal"], found["logits_identical"]) == (True, None)
    assert compared(a=None, b=made([1, 2]))["equal"] is None
