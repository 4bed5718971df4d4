"""Records: their shape, their schema, the way to the disk and back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from lab_world import FACTS, World, experiment

from llamasmith.errors import LabError
from llamasmith.lab.archive import read_record
from llamasmith.lab.arm import AA_NAME, Arm
from llamasmith.lab.condition import IDLE, Condition
from llamasmith.lab.process import WorkerDied
from llamasmith.lab.record import build_record, check_writable, json_schema, write_record

if TYPE_CHECKING:
    from pathlib import Path

    from llamasmith.lab.results import Results

pytest.importorskip("scipy")

# Every measurement takes a little longer or shorter than the one before.
NOISE = (1.0, 1.01, 0.99, 1.004, 0.997)


def measured(**change: Any) -> Results:
    world = World({"a": 100.0, "b": 120.0, AA_NAME: 100.0}, noise=NOISE)
    return world.run(experiment(**{"aa": True, "rounds": 6, **change}))


def valid(record: dict[str, Any]) -> dict[str, Any]:
    """As a reader gets it."""
    again: dict[str, Any] = json.loads(json.dumps(record, allow_nan=False))
    jsonschema.validate(again, json_schema())
    return again


def test_the_shape_that_others_rely_on() -> None:
    record = valid(build_record(measured()))
    assert record["schema"] == "llamasmith.record/2"
    (cell,) = record["cells"]
    pressure = {"neighbours": 0, "oversubscribe": 1, "quota": None, "sessions": 1, "nice": 0, "every": 0.0}
    assert cell["condition"] == {"name": "idle", **pressure}
    assert [(arm["name"], arm["engine"], arm["repeats_first"]) for arm in cell["arms"]] == [
        ("a", "patched", False),
        ("b", "patched", False),
        (AA_NAME, "patched", True),
    ]
    assert cell["arms"][0]["settings"]["n_threads"] == 2
    found = cell["metrics"]["tg10"]
    assert (found["unit"], found["kind"], found["n_tokens"]) == ("tokens/s", "tg", 10)
    assert len(found["samples"]["b"]) == 6
    assert found["median"]["a"] == pytest.approx(100, rel=0.02)
    assert set(found["ratio"]) == {"b", AA_NAME}
    assert found["ratio"]["b"]["low"] <= found["ratio"]["b"]["estimate"] <= found["ratio"]["b"]["high"]
    assert found["verdict"] == {"b": "faster"}
    assert found["costs"]["a"]["gigabytes_per_second"] == pytest.approx(5.0, rel=0.02)
    assert found["costs"]["a"]["roofline_share"] == pytest.approx(0.25, rel=0.02)
    assert record["facts"] == FACTS
    assert record["complete"] is True
    assert record["command"] == ["llamasmith", "ab", "-m", "m.gguf"]
    assert len(cell["arms"][0]["raw"]) == 2 * 7
    assert 0 < record["spent_seconds"]["overhead"] < 1


def test_outputs_of_arms_that_must_agree() -> None:
    same = experiment(arms=(Arm("a", "upstream"), Arm("b", "patched")))
    rates = {"a": 100.0, "b": 120.0}
    record = valid(build_record(World(rates).run(same)))
    assert record["outputs_equal"] is True
    assert record["cells"][0]["outputs"]["logits_identical"] is True
    record = valid(build_record(World(rates, tokens={"b": [0, 1, 9]}).run(same)))
    assert record["outputs_equal"] is False
    assert record["cells"][0]["outputs"]["arms"]["b"]["first_difference"] == 2
    assert valid(build_record(measured()))["outputs_equal"] is None  # they differ in n_batch


def test_under_way_there_are_values_and_no_verdict() -> None:
    saved: list[dict[str, Any]] = []
    world = World({"a": 100.0, "b": 120.0})
    world.run(experiment(), save=lambda found: saved.append(valid(build_record(found, under_way=True))))
    assert len(saved) == 6
    assert saved[0]["complete"] is False
    metric = saved[3]["cells"][0]["metrics"]["tg10"]
    assert metric["verdict"] == {"b": None}
    assert metric["ratio"]["b"]["low"] is None
    assert metric["ratio"]["b"]["estimate"] == pytest.approx(1.2)


def test_a_cell_that_is_finished_has_its_verdict_whatever_comes_after_it() -> None:
    saved: list[dict[str, Any]] = []
    world = World({"a": 100.0, "b": 120.0}, noise=NOISE)
    plan = experiment(rounds=6, conditions=(IDLE, Condition(neighbours=1)))
    world.run(plan, save=lambda found: saved.append(valid(build_record(found, under_way=True))))
    verdicts = [[cell["metrics"]["tg10"]["verdict"].get("b") for cell in record["cells"]] for record in saved[7:9]]
    assert verdicts == [["faster", None], ["faster", None]]


def test_what_was_not_in_force_has_no_verdict() -> None:
    record = valid(build_record(measured(conditions=(Condition(quota=1.0),))))
    (cell,) = record["cells"]
    assert cell["not_in_force"].startswith("The quota of 1 CPUs has never stopped an arm")
    assert cell["metrics"]["tg10"]["verdict"] == {"b": None}
    assert any("was not in force" in text for text in record["warnings"])


def test_a_cell_that_was_not_run_is_in_the_record() -> None:
    world = World({"a": 100.0, "b": 100.0}, cannot={"quota=1": "No quota can be set."})
    record = valid(build_record(world.run(experiment(conditions=(IDLE, Condition(quota=1.0))))))
    assert record["cells"][1]["not_run"] == "No quota can be set."
    assert record["cells"][1]["outputs"] is None
    assert record["complete"] is True
    assert "quota=1: not run. No quota can be set." in record["warnings"]


def test_an_arm_without_a_value_is_in_the_record() -> None:
    world = World({"a": 100.0, "b": 100.0}, disasters={("b", 0): WorkerDied("It died.\nIts last words:\n  oh")})
    record = valid(build_record(world.run(experiment())))
    metric = record["cells"][0]["metrics"]["tg10"]
    assert metric["median"]["b"] is None
    assert metric["ratio"] == {}
    assert record["complete"] is False
    assert "b ended early: It died." in record["cells"][0]["warnings"]


def test_the_build_of_another_environment_is_told_apart() -> None:
    arms = (Arm("a", "patched"), Arm("b", "patched", python="elsewhere"))
    record = valid(build_record(World({"a": 100.0, "b": 100.0}).run(experiment(arms=arms))))
    assert record["facts"]["builds"] == {"b": {"pin": "p"}}
    assert all("build" not in arm["facts"] for arm in record["cells"][0]["arms"])


def test_a_record_of_another_shape_is_refused_by_the_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    record = valid(build_record(measured()))
    for broken in (
        record | {"schema": "llamasmith.record/1"},
        record | {"cells": []},
        record | {"facts": {}},
        {name: value for name, value in record.items() if name != "plan"},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, json_schema())
    record["cells"][0]["metrics"]["tg10"]["verdict"]["b"] = "best"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(record, json_schema())


# Files.


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


def test_a_record_is_read_back(tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    record = build_record(measured())
    write_record(file, record)
    assert read_record(file) == json.loads(json.dumps(record))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is no JSON file"),
        ("[]", "is no record of llamasmith"),
        ('{"schema": "other/2"}', "is no record of llamasmith"),
        ('{"schema": "llamasmith.record/x"}', "is no record of llamasmith"),
        ('{"schema": "llamasmith.record/3"}', "was written by a newer llamasmith (llamasmith.record/3"),
        ('{"schema": "llamasmith.record/1"}', "was written by an earlier llamasmith"),
        ('{"schema": "llamasmith.record/2"}', "is broken at $"),
        ("\udcff", "is no JSON file"),
    ],
)
def test_a_file_that_is_no_record_is_told(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "r.json"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(LabError) as caught:
        read_record(file)
    assert says in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.json", tmp_path):
        with pytest.raises(LabError, match="cannot be read"):
            read_record(path)
