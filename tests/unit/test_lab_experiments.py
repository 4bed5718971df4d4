"""Experiments as code: those that come with llamasmith, and a user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from llamasmith.errors import LabError
from llamasmith.lab.arm import check_distinct, parse_arms
from llamasmith.lab.condition import parse_condition
from llamasmith.lab.experiments import Definition, Here, find, load_all
from llamasmith.lab.plan import parse_metric

if TYPE_CHECKING:
    from pathlib import Path

ALL = ("patched", "upstream", "upstream-openmp")
FULL = Here(ALL, ("cpu", "openblas"), ("llama-bench",), 2, modules=lambda name: True)
BARE = Here(("upstream",), ("cpu",), (), 1, modules=lambda name: False)


def test_the_first_ones_are_there() -> None:
    assert set(load_all()) >= {
        "wait-policy",
        "engines",
        "thread-count",
        "thread-pool",
        "python-overhead",
        "peers",
        "openblas",
        "repack",
        "threads",
    }


@pytest.mark.parametrize("definition", load_all().values(), ids=lambda definition: definition.name)
def test_each_is_sound_where_everything_is_there(definition: Definition) -> None:
    assert definition.question.endswith("?")
    arms = parse_arms(definition.arms_here(FULL), FULL.engines, FULL.backends)
    assert len(arms) >= 2
    check_distinct(arms)
    assert [parse_condition(text) for text in definition.conditions]
    assert [parse_metric(name) for name in definition.metrics]
    conditions = [parse_condition(text) for text in definition.conditions]
    under = definition.only_under(conditions)
    assert len(under) == len(definition.only)
    names = [arm.name for arm in arms]
    for requirement in definition.requirements:
        for words in (requirement.under, *requirement.means):
            assert parse_condition(words) in conditions
        there = under.get(parse_condition(requirement.under).name, names)
        assert {requirement.arm, *(() if requirement.means else requirement.over)} <= {*there}
        assert {*there} <= {*names}
    assert find(definition.name) == definition


@pytest.mark.parametrize("name", ["wait-policy", "engines", "python-overhead", "openblas", "threads"])
def test_what_cannot_run_says_why(name: str) -> None:
    with pytest.raises(LabError, match=f"The experiment {name} cannot run here: "):
        find(name).arms_here(BARE)


def test_arms_follow_the_machine() -> None:
    here = Here(ALL, ("cpu",), (), 6, modules=lambda name: name == "llama_cpp")
    assert find("thread-count").arms_here(here) == [f"patched,t={count}" for count in (6, 1, 2, 4, 12)]
    assert find("peers").arms_here(here) == ["patched", "peer=llama-cpp-python"]
    assert find("engines").arms_here(here) == ["upstream-openmp", "upstream", "patched"]


def test_one_cpu_has_nothing_to_share() -> None:
    with pytest.raises(LabError, match="takes two CPUs or more"):
        find("threads").arms_here(Here(ALL, ("cpu",), (), 1))


def test_under_other_conditions_all_arms_take_part() -> None:
    own = Definition("mine", "Why?", ("upstream", "patched"), only={"neighbours=2,quota=1": ("patched",)})
    conditions = [parse_condition("idle"), parse_condition("quota=1,neighbours=2")]
    assert own.only_under(conditions) == {"neighbours=2, quota=1": ("patched",)}
    assert own.only_under(conditions[:1]) == {}


def test_the_arms_of_the_first_condition_are_those_of_conditions_of_ones_own() -> None:
    threads = find("threads")
    conditions = [parse_condition(text) for text in ("neighbours=3", "quota=1")]
    under = threads.only_under(conditions)
    assert under["neighbours=3"] == threads.only["idle"]
    assert under["quota=1"] == threads.only["quota=1"]


def test_a_name_that_is_not_known_is_guessed_at() -> None:
    with pytest.raises(LabError, match=r"Did you mean 'engines'\?.*or a file NAME\.py"):
        find("engine")


OWN = """
from llamasmith.lab.experiments import Definition

EXPERIMENT = Definition(
    name="mine",
    question="Does it pay?",
    arms=("upstream", "patched"),
    metrics=("tg8",),
)
"""


def test_an_experiment_of_ones_own_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(OWN)
    assert find(str(file)).name == "mine"
    assert find(str(file)).arms_here(FULL) == ["upstream", "patched"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "defines no EXPERIMENT"),
        ("EXPERIMENT = 1", "is a int, not a Definition"),
        ("1 / 0", "cannot be run: ZeroDivisionError: division by zero"),
        ("def f(:", "cannot be run: SyntaxError"),
    ],
)
def test_a_file_that_is_no_experiment_is_told(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(text)
    with pytest.raises(LabError, match=says):
        find(str(file))
    with pytest.raises(LabError, match="is not there"):
        find(str(tmp_path / "other.py"))
