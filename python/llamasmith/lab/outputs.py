"""Equal output comes first: arms that differ only in engine and waiting must generate the same tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .results import ArmResult, CellResult

__all__ = ["compare_outputs", "first_difference"]


def first_difference(one: Sequence[int], other: Sequence[int]) -> int | None:
    """Index of the first token that differs, as far as both go (a slow arm may have been cut short); else None."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (left, right) in pairs if left != right), None)


def compare_outputs(cell: CellResult, n_tokens: int) -> dict[str, Any]:
    """How every arm's output compares with the first arm's.

    ``equal`` and ``logits_identical`` speak of the arms that must agree; they are None where there is none but the
    repetition of the first arm, and false if even that differs.
    """
    baseline = cell.baseline
    arms = {arm.name: _against(baseline, arm) for arm in cell.arms}
    must = [arms[arm.name] for arm in cell.arms[1:] if arms[arm.name]["must_equal"]]
    alone = all(arm.is_noise or not arms[arm.name]["must_equal"] for arm in cell.arms[1:])
    return {
        "n_tokens": n_tokens,
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
    }
    if baseline.outputs is not None and arm.outputs is not None:
        entry["first_difference"] = first_difference(arm.outputs["tokens"], baseline.outputs["tokens"])
        entry["equal"] = entry["first_difference"] is None
        hashes = arm.outputs.get("logits_sha256"), baseline.outputs.get("logits_sha256")
        entry["logits_identical"] = None if None in hashes else hashes[0] == hashes[1]
    return entry


def _all_true(values: Sequence[bool | None], alone: bool) -> bool | None:
    known = [value for value in values if value is not None]
    if not all(known):
        return False
    return None if alone or not known else True
