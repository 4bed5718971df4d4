"""Quality: perplexity and divergences of distributions small enough to be worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lab_world import experiment

from llamasmith.errors import LabError
from llamasmith.lab.arm import AA_NAME, Arm
from llamasmith.lab.condition import IDLE
from llamasmith.lab.plan import Quality
from llamasmith.lab.process import WorkerDied, WorkerRefused
from llamasmith.lab.quality import compare_distributions, measure_quality, read_text
from llamasmith.lab.results import ArmResult, CellResult

EVEN = [0.5, 0.25, 0.25]
TILTED = [0.25, 0.5, 0.25]


def logs(*rows: list[float]) -> Any:
    return np.log(np.array(rows, dtype=np.float32))


def test_perplexity_is_of_the_tokens_that_the_text_has() -> None:
    # probabilities 1/2 and 1/4: the geometric mean of 2 and 4
    found = compare_distributions(None, logs(EVEN, EVEN), [0, 1])
    assert found["positions"] == 2
    assert found["perplexity"] == pytest.approx(math.sqrt(8))
    assert (found["kl_mean"], found["kl_p99"], found["same_top"]) == (None, None, None)


def test_divergence_from_the_first_arm_in_nats() -> None:
    # 1/2 ln(2) + 1/4 ln(1/2) + 0; the second position is the same
    found = compare_distributions(logs(EVEN, EVEN), logs(TILTED, EVEN), [0, 0])
    one = math.log(2) / 4
    assert found["kl_mean"] == pytest.approx(one / 2)
    assert found["kl_p99"] == pytest.approx(0.99 * one)  # 99 % of the way from the smaller to the larger
    assert found["same_top"] == 0.5


def test_the_divergence_weighs_by_the_first_arm() -> None:
    certain, doubtful = [0.98, 0.01, 0.01], [0.34, 0.33, 0.33]
    there = compare_distributions(logs(certain), logs(doubtful), [0])["kl_mean"]
    back = compare_distributions(logs(doubtful), logs(certain), [0])["kl_mean"]
    assert there == pytest.approx(0.98 * math.log(0.98 / 0.34) + 0.02 * math.log(0.01 / 0.33), rel=1e-5)
    assert back == pytest.approx(0.34 * math.log(0.34 / 0.98) + 0.66 * math.log(0.33 / 0.01), rel=1e-5)


def test_the_first_arm_does_not_diverge_from_itself() -> None:
    found = compare_distributions(logs(EVEN), logs(EVEN), [0])
    assert (found["kl_mean"], found["kl_p99"], found["same_top"]) == (0, 0, 1)


def test_another_vocabulary_has_no_divergence() -> None:
    found = compare_distributions(logs([0.5, 0.5]), logs(EVEN), [0])
    assert found["perplexity"] == pytest.approx(2)
    assert found["kl_mean"] is None


@pytest.mark.parametrize("content", ["", " \n"])
def test_a_text_that_says_nothing_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "text"
    file.write_text(content)
    with pytest.raises(LabError, match="is empty; give one of a few kilobytes"):
        read_text(file)


def test_a_text_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="cannot be read: No such file"):
        read_text(tmp_path / "none")
    file = tmp_path / "latin"
    file.write_bytes(b"caf\xe9")
    assert read_text(file) == "caf\ufffd"


class Asked:
    """Answers for every arm: what is written to its file, or what happens."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.seen: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, result: ArmResult, **options: Any) -> dict[str, Any] | None:
        self.seen.append((result.name, options))
        answer = self.answers[result.name]
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            return None
        np.save(options["file"], answer)
        return {"targets": [0] * len(answer), "chunk": 8}


def measured(tmp_path: Path, answers: dict[str, Any], **change: Any) -> tuple[dict[str, Any], Asked]:
    """The quality of every arm that `answers` names, the first one being ``a``."""
    text = tmp_path / "text"
    text.write_text("Once upon a time")
    plan = experiment(quality=Quality(text, n_tokens=16, chunk=8), **change)
    arms = [ArmResult(Arm(name, "patched")) for name in [*answers, AA_NAME]]
    cell, ask = CellResult(IDLE, arms), Asked(answers)
    measure_quality(plan, cell, ask)
    return {arm.name: arm.quality for arm in arms}, ask


def test_every_arm_but_the_repetition_is_asked_and_compared(tmp_path: Path) -> None:
    found, ask = measured(tmp_path, {"a": logs(EVEN), "b": logs(TILTED)})
    assert [name for name, _ in ask.seen] == ["a", "b"]
    options = ask.seen[0][1]
    assert (options["text"], options["n_tokens"], options["chunk"]) == ("Once upon a time", 16, 8)
    assert (found["a"]["perplexity"], found["a"]["kl_mean"], found["a"]["chunk"]) == (pytest.approx(2), 0, 8)
    assert found["b"]["perplexity"] == pytest.approx(4)
    assert found["b"]["kl_mean"] == pytest.approx(math.log(2) / 4)
    assert found[AA_NAME] is None
    assert not Path(options["file"]).exists()  # distributions are as large as a model


@pytest.mark.parametrize("answer", [None, WorkerRefused("not available here"), WorkerDied("gone")])
def test_an_arm_that_cannot_tell_has_no_quality(tmp_path: Path, answer: Any) -> None:
    found, _ = measured(tmp_path, {"a": logs(EVEN), "b": answer, "c": logs(TILTED)})
    assert found["b"] is None
    assert found["c"]["kl_mean"] == pytest.approx(math.log(2) / 4)


def test_without_the_first_arm_there_is_nothing_to_diverge_from(tmp_path: Path) -> None:
    found, _ = measured(tmp_path, {"a": None, "b": logs(EVEN)})
    assert found["a"] is None
    assert found["b"]["perplexity"] == pytest.approx(2)
    assert found["b"]["kl_mean"] is None


def test_nobody_is_asked_without_a_text() -> None:
    ask = Asked({})
    measure_quality(experiment(), CellResult(IDLE, [ArmResult(Arm("a", "patched"))]), ask)
    assert ask.seen == []


def test_an_arm_that_has_ended_is_not_asked(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("Once")
    ended = ArmResult(Arm("b", "patched"), ended="gone")
    ask = Asked({"a": logs(EVEN)})
    cell = CellResult(IDLE, [ArmResult(Arm("a", "patched")), ended])
    measure_quality(experiment(quality=Quality(text)), cell, ask)
    assert [name for name, _ in ask.seen] == ["a"]
