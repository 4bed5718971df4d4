"""Equal output comes first: arms that differ only in engine and waiting must generate the same tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .results import ArmResult, Results

__all__ = ["compare_outputs", "first_difference"]


def first_difference(one: Sequence[int], other: Sequence[int]) -> int | None:
    """Index of the first token that differs, counting a missing one; None if the two are equal."""
    for index, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return index
    return None if len(one) == len(other) else min(len(one), len(other))


def compare_outputs(results: Results) -> dict[str, Any]:
    """How every arm's output compares with the first arm's.

    ``equal`` and ``logits_identical`` speak of the arms that must agree; they are None where there is none but the
    repetition of the first arm, and false if even that differs.
    """
    baseline = results.baseline
    arms = {arm.name: _against(baseline, arm) for arm in results.arms}
    must = [arms[arm.name] for arm in results.arms[1:] if arms[arm.name]["must_equal"]]
    alone = all(arm.is_noise or not arms[arm.name]["must_equal"] for arm in results.arms[1:])
    return {
        "n_tokens": results.experiment.n_outputs,
        "equal": _all_true([entry["equal"] for entry in must], alone),
        "logits_identical": _all_true([entry["logits_identical"] for entry in must], alone),
        "arms": arms,
    }


def _against(baseline: ArmResult, arm: ArmResult) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "must_equal": arm.arm.must_agree_with(baseline.arm),
        "equal": None,
        "first_difference": None,
        "logits_identical": None,
        **(arm.outputs or {}),
    }
    if baseline.outputs is not None and arm.outputs is not None:
        entry["first_difference"] = first_difference(arm.outputs["tokens"], baseline.outputs["tokens"])
        entry["equal"] = entry["first_difference"] is None
        entry["logits_identical"] = arm.outputs["logits_sha256"] == baseline.outputs["logits_sha256"]
    return entry


def _all_true(values: Sequence[bool | None], alone: bool) -> bool | None:
    known = [value for value in values if value is not None]
    if not all(known):
        return False
    return None if alone or not known else True
