"""Records: their shape, their schema, the way they reach the disk, and the warnings in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from llamasmith.errors import LabError
from llamasmith.lab.arm import AA_NAME, Arm
from llamasmith.lab.diagnose import diagnose
from llamasmith.lab.outputs import first_difference
from llamasmith.lab.plan import Experiment, Metric
from llamasmith.lab.record import build_record, check_writable, json_schema, write_record
from llamasmith.lab.results import ArmResult, Results, Sample

pytest.importorskip("scipy")

FACTS: dict[str, Any] = {
    "machine": {"cpu_model": "Some CPU", "cpus_logical": 2, "load_average": [0.1, 0.1, 0.1]},
    "build": {"pin": "p"},
    "model": {"file": "m.gguf", "bytes": 4, "sha256": "0" * 64},
    "packages": {},
    "thread_budget": {"budget": 2, "reasons": []},
    "environment": {"cleared": {}},
}


def sample(rate: float, index: int, *, metric: str = "tg", **change: Any) -> Sample:
    options: dict[str, Any] = {
        "position": 0,
        "warmup": index == 0,
        "cpu_seconds": 1.0,
        "waited_seconds": 0.1,
        "quiet": True,
    }
    return Sample(metric=metric, round=index, tokens=64, seconds=(64 / rate,), **options | change)


def results(rates: dict[str, list[float]], *, outputs: dict[str, list[int]] | None = None, **settings: Any) -> Results:
    """Arms with these values of ``tg``, of which the first is warm-up; all in the same settings."""
    names = [name for name in rates if name != AA_NAME]
    plan = Experiment(
        model=Path("m.gguf"),
        arms=tuple(Arm(name, "patched", {"n_threads": 2, **settings.get(name, {})}) for name in names),
        metrics=(Metric("tg", 64),),
        rounds=max(len(values) for values in rates.values()) - 1,
        aa=AA_NAME in rates,
        command=("llamasmith", "ab"),
    )
    arms = [ArmResult(arm, facts={"n_vocab": 9, "build": {"pin": "p"}}) for arm in plan.all_arms()]
    for arm in arms:
        arm.samples = [sample(rate, index) for index, rate in enumerate(rates[arm.name])]
        tokens = (outputs or {}).get(arm.name, [1, 2, 3])
        arm.outputs = {"tokens": tokens, "logits_sha256": "a" if tokens == [1, 2, 3] else "b"}
    return Results(plan, arms, "2026-01-02T00:00:00+00:00", facts=dict(FACTS), repeats={"tg": 1}, complete=True)


STEADY = [50.0, 100.0, 101.0, 99.0, 100.0, 102.0]
FASTER = [50.0, 120.0, 121.0, 119.0, 121.0, 122.0]


def test_the_shape_that_others_rely_on() -> None:
    record = build_record(results({"a": STEADY, "b": FASTER, AA_NAME: STEADY}))
    jsonschema.validate(record, json_schema())
    assert record["schema"] == "llamasmith.record/1"
    assert [(arm["name"], arm["engine"], arm["settings"]) for arm in record["arms"]] == [
        ("a", "patched", {"n_threads": 2}),
        ("b", "patched", {"n_threads": 2}),
        (AA_NAME, "patched", {"n_threads": 2}),
    ]
    assert record["conditions"] == [{"name": "idle"}]
    found = record["metrics"]["tg"]
    assert found["unit"] == "tokens/s"
    assert found["samples"]["b"] == pytest.approx(FASTER[1:])
    assert found["warmup_samples"]["b"] == pytest.approx(FASTER[:1])
    assert found["median"] == pytest.approx({"a": 100.0, "b": 121.0, AA_NAME: 100.0})
    assert set(found["ratio"]) == {"b", AA_NAME}
    assert found["ratio"]["b"]["low"] <= found["ratio"]["b"]["estimate"] <= found["ratio"]["b"]["high"]
    assert record["verdict"] == {"tg": {"b": "faster"}}
    assert record["outputs_equal"] is True
    assert record["facts"] == FACTS
    assert len(record["raw"]["a"]) == len(STEADY)


def test_under_way_there_are_values_and_no_verdict() -> None:
    record = build_record(results({"a": STEADY, "b": FASTER}), under_way=True)
    jsonschema.validate(record, json_schema())
    assert record["verdict"] == {"tg": {"b": None}}
    assert record["metrics"]["tg"]["ratio"]["b"]["low"] is None


def test_an_arm_without_a_value_is_in_the_record() -> None:
    found = results({"a": STEADY, "b": [100.0]})
    found.arms[1].ended = "The arm 'b' was ended by signal 11.\nIts last words:\n  oh"
    record = build_record(found)
    jsonschema.validate(record, json_schema())
    assert record["metrics"]["tg"]["median"]["b"] is None
    assert record["metrics"]["tg"]["ratio"] == {}
    assert "b ended early: The arm 'b' was ended by signal 11." in record["warnings"]


def test_a_record_of_another_shape_is_refused_by_the_schema() -> None:
    record = build_record(results({"a": STEADY}))
    for broken in (
        record | {"schema": "llamasmith.record/2"},
        record | {"arms": []},
        record | {"verdict": {"tg": {"a": "best"}}},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, json_schema())
    jsonschema.Draft202012Validator.check_schema(json_schema())


def test_the_build_of_another_environment_is_told_apart() -> None:
    found = results({"a": STEADY, "b": STEADY})
    found.arms[1] = ArmResult(Arm("b", "patched", python="elsewhere"), facts={"build": {"pin": "q"}})
    assert build_record(found)["facts"]["builds"] == {"b": {"pin": "q"}}


@pytest.mark.parametrize(
    ("outputs", "settings", "equal"),
    [
        ({}, {}, True),
        ({"b": [1, 2, 4]}, {}, False),
        ({AA_NAME: [1, 2]}, {}, False),
        ({"b": [1, 2, 4]}, {"b": {"n_threads": 1}}, None),
        ({AA_NAME: [1, 2]}, {"b": {"n_threads": 1}}, False),
    ],
)
def test_outputs_are_compared_where_they_must_agree(
    outputs: dict[str, list[int]], settings: dict[str, Any], equal: bool | None
) -> None:
    record = build_record(results({"a": STEADY, "b": STEADY, AA_NAME: STEADY}, outputs=outputs, **settings))
    jsonschema.validate(record, json_schema())
    assert record["outputs_equal"] is equal
    assert record["outputs"]["arms"]["b"]["first_difference"] == (2 if "b" in outputs else None)


def test_one_arm_alone_has_nothing_to_agree_with() -> None:
    assert build_record(results({"a": STEADY}))["outputs_equal"] is None
    assert build_record(results({"a": STEADY, AA_NAME: STEADY}))["outputs_equal"] is None


@pytest.mark.parametrize(
    ("one", "other", "index"), [([1], [1], None), ([1, 2], [1, 3], 1), ([1], [1, 2], 1), ([], [], None)]
)
def test_first_difference(one: list[int], other: list[int], index: int | None) -> None:
    assert first_difference(one, other) == index


def test_a_quiet_experiment_has_no_warnings() -> None:
    assert diagnose(results({"a": STEADY, "b": FASTER})) == []


def test_every_warning_names_its_cause() -> None:
    found = results({"a": [100.0, 60.0, 100.0, 101.0, 160.0]}, a={"n_threads": 4})
    found.facts["machine"] = {"load_average": [1.5, 1.0, 1.0], "cpus_logical": 2}
    found.arms[0].samples[2] = sample(1000.0, 2, quiet=False, disturbed_by=("b", "b"))
    text = "\n".join(diagnose(found))
    for cause in (
        "Too few rounds (4)",
        "load average was 1.50 on 2 CPUs",
        "4 threads on a budget of 2",
        "Use --warmup 2",
        "First values up to",
        "Values scatter by up to",
        "(a tg)",
        "1 of 4 samples are shorter than 0.2 s",
        "Before 1 of 4 samples",
        "During 1 of 4 samples an arm that had nothing to do used the CPU (b)",
    ):
        assert cause in text


def test_a_record_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    write_record(file, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_record(file, {"a": float("nan")})
    with pytest.raises(TypeError):
        write_record(file, {"a": object()})
    assert json.loads(file.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [file]


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "taken"
    folder.mkdir()
    (folder / "x").touch()
    with pytest.raises(OSError, match="taken"):
        write_record(folder, {"a": 1})
    assert list(tmp_path.iterdir()) == [folder]


def test_a_place_that_cannot_be_written_is_told_beforehand(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="is a folder"):
        check_writable(tmp_path)
    with pytest.raises(LabError, match="Choose another place"):
        check_writable(tmp_path / "missing" / "r.json")
    file = tmp_path / "old.json"
    file.write_text("old")
    check_writable(file)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]
