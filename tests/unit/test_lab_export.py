"""Records as CSV, as Markdown, and as sentences."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from lab_world import World, experiment

from llamasmith.lab.arm import AA_NAME, Arm
from llamasmith.lab.condition import IDLE, Condition
from llamasmith.lab.export import to_csv, to_markdown
from llamasmith.lab.plan import Metric
from llamasmith.lab.record import build_record
from llamasmith.lab.rows import Row, digits, rows
from llamasmith.lab.words import conclusions

pytest.importorskip("scipy")

NOISE = (1.0, 1.01, 0.99, 1.004, 0.997)


def record(rates: dict[str, float], **change: Any) -> dict[str, Any]:
    arms = tuple(Arm(name, "patched", {"n_batch": 64 + index}) for index, name in enumerate(rates) if name != AA_NAME)
    plan = experiment(**{"arms": arms, "rounds": 6, "aa": AA_NAME in rates, **change})
    return build_record(World(rates, noise=NOISE).run(plan))


def test_every_raw_value_is_a_line_of_csv() -> None:
    found = record({"a": 100.0, "b": 120.0}, conditions=(IDLE, Condition(neighbours=1)), rounds=5)
    lines = list(csv.DictReader(io.StringIO(to_csv(found))))
    assert len(lines) == 2 * 2 * 2 * (5 + 1)
    assert {line["condition"] for line in lines} == {"idle", "neighbours=1"}
    line = next(line for line in lines if line["arm"] == "b" and line["metric"] == "tg10")
    assert float(line["value"]) == pytest.approx(120, rel=0.02)
    assert (line["unit"], line["warmup"], line["engine"]) == ("tokens/s", "True", "patched")
    assert float(line["cpu_seconds"]) == pytest.approx(2 * float(line["seconds"]))


def test_markdown_has_the_verdicts_and_a_table_for_each_metric() -> None:
    text = to_markdown(record({"a": 100.0, "b|`x`<i>": 120.0, AA_NAME: 100.0}, question="Is b faster?"))
    assert text.startswith("**Is b faster?**\n\n- On this machine b\\|")
    assert "| pp50, tokens/s, idle | median | ratio | 95 % interval | verdict |" in text
    assert "| b\\|\\`x\\`&lt;i> | 120" in text
    assert "| faster |" in text
    assert "llama.cpp ppppppppp, series 555555555555" in text


def test_rows_say_what_is_known() -> None:
    found = record({"a": 100.0, "b": 120.0, AA_NAME: 100.0})
    (cell,) = found["cells"]
    one, two, noise = rows(cell, cell["metrics"]["tg10"])
    assert (one.arm, one.ratio, one.interval, one.verdict) == ("a", "", "", "baseline")
    assert two.verdict == "faster"
    assert two.interval.startswith("[1.")
    assert noise.verdict == "noise floor"
    metric = cell["metrics"]["tg10"]
    metric["ratio"].pop("b")
    metric["median"]["b"] = None
    assert rows(cell, metric)[1] == Row("b", "-", "", "", "nothing to compare")


@pytest.mark.parametrize(("value", "text"), [(171.26, "171.3"), (9.876, "9.88"), (0.3123, "0.312")])
def test_digits(value: float, text: str) -> None:
    assert digits(value) == text


def test_a_sentence_for_each_arm_and_condition() -> None:
    found = record({"a": 100.0, "b": 120.0, AA_NAME: 100.0}, conditions=(IDLE, Condition(neighbours=2)))
    first, second = conclusions(found)
    assert first.startswith("On this machine b generates 1.2")
    assert first.endswith("]: faster.")
    assert second.startswith("With neighbours=2 b generates")


def test_half_the_time_is_twice_as_fast() -> None:
    metrics = (Metric("ttft", 50),)
    (sentence,) = conclusions(record({"a": 100.0, "b": 200.0, AA_NAME: 100.0}, metrics=metrics))
    assert sentence.startswith("On this machine b gives the first token 2.0")
    assert sentence.endswith("]: faster.")
