"""Arms from words, the worker's environment, and the plan: all pure."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from llamasmith.errors import InvalidOption
from llamasmith.lab.arm import Arm, default_arms, parse_arm, parse_arms
from llamasmith.lab.environment import worker_environment
from llamasmith.lab.plan import Experiment, Metric, common_settings, order, repeats_for

ENGINES = ("patched", "upstream", "upstream-openmp")


def test_an_engine_alone_is_an_arm() -> None:
    assert parse_arm("upstream", ENGINES) == Arm("upstream", "upstream")


def test_every_key_finds_its_place() -> None:
    arm = parse_arm(
        "patched,name=ours,t=4,wait=spin,flash_attn=off,n_batch=64,n_ubatch=32,type_k=q8_0,type_v=f16,"
        "use_extra_bufts=off,model=other.gguf,python=venv/bin/python,env.GGML_X=a\\,b",
        ENGINES,
    )
    assert (arm.name, arm.engine, arm.model, arm.python) == ("ours", "patched", "other.gguf", "venv/bin/python")
    assert arm.env == {"GGML_X": "a,b"}
    assert arm.options("model") == {"use_extra_bufts": False}
    assert arm.options("session") == {
        "n_threads": 4,
        "wait": "spin",
        "flash_attn": "off",
        "n_batch": 64,
        "n_ubatch": 32,
        "type_k": "q8_0",
        "type_v": "f16",
    }
    assert arm.describe()["env.GGML_X"] == "a,b"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("pached", "Did you mean 'patched'?"),
        ("", "names the engine ''"),
        ("patched,wiat=spin", "Did you mean 'wait'?"),
        ("patched,quux=1", "Keys: name, n_threads (or t)"),
        ("patched,spin", "not of the form key=value"),
        ("patched,t=0", "a number from 1"),
        ("patched,t=many", "a number from 1"),
        ("patched,t=2,n_threads=3", "sets n_threads twice"),
        ("patched,model=a,model=b", "sets model twice"),
        ("patched,flash_attn=maybe", "auto, on, off"),
        ("patched,use_extra_bufts=2", "on, off"),
        ("patched,name=", "a label"),
        ("patched,name=A/A", "is kept for the arm"),
        ("patched,env.=1", "unknown key 'env.'"),
        ("upstream,wait=spin", "one fixed way to wait"),
    ],
)
def test_what_is_wrong_is_named(words: str, says: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        parse_arm(words, ENGINES)
    assert says in str(caught.value)


def test_another_environment_may_have_other_engines() -> None:
    assert parse_arm("mine,python=elsewhere/python", ENGINES).engine == "mine"


def test_two_arms_cannot_share_a_name() -> None:
    with pytest.raises(InvalidOption, match="name=LABEL"):
        parse_arms(["patched", "patched"], ENGINES)
    names = [arm.name for arm in parse_arms(["patched", "patched,wait=park", "patched,name=again"], ENGINES)]
    assert names == ["patched", "patched,wait=park", "again"]


def test_the_default_baseline_is_what_llama_cpp_builds_by_default() -> None:
    assert [arm.name for arm in default_arms(ENGINES)] == ["upstream-openmp", "upstream", "patched"]
    assert [arm.name for arm in default_arms(["patched"])] == ["patched"]


@pytest.mark.parametrize(
    ("words", "agrees"),
    [
        ("patched", True),
        ("patched,wait=park", True),
        ("patched,env.OMP_WAIT_POLICY=active", True),
        ("patched,t=3", False),
        ("patched,type_k=q8_0", False),
        ("patched,use_extra_bufts=off", False),
        ("patched,model=other.gguf", False),
        ("patched,python=elsewhere/python", False),
        ("patched,env.GGML_SOMETHING=1", False),
    ],
)
def test_which_arms_must_agree(words: str, agrees: bool) -> None:
    settings = common_settings(n_threads=2, n_prompt=8, n_gen=8)
    arm, baseline = (parse_arm(text, ENGINES).with_defaults(settings) for text in (words, "upstream"))
    assert arm.must_agree_with(baseline) is agrees


def test_what_decides_speed_comes_from_the_arm_alone() -> None:
    around = {"PATH": "p", "OMP_WAIT_POLICY": "active", "GGML_X": "1", "LLAMASMITH_WAIT": "park", "PYTHONPATH": "x"}
    assert worker_environment(Arm("a", "patched"), around) == {"PATH": "p", "PYTHONPATH": "x"}
    arm = Arm("a", "patched", env={"OMP_WAIT_POLICY": "passive"}, python="elsewhere/python")
    assert worker_environment(arm, around) == {"PATH": "p", "OMP_WAIT_POLICY": "passive", "PYTHONSAFEPATH": "1"}


def test_two_arms_run_abba() -> None:
    assert [order(2, index) for index in range(4)] == [(0, 1), (1, 0), (0, 1), (1, 0)]


@pytest.mark.parametrize("n_arms", [1, 2, 3, 4, 5, 6, 7])
def test_every_place_and_every_predecessor_equally_often(n_arms: int) -> None:
    rounds = [order(n_arms, index) for index in range(2 * n_arms)]
    assert all(sorted(row) == list(range(n_arms)) for row in rounds)
    for position in range(n_arms):
        assert set(Counter(row[position] for row in rounds).values()) == {2}
    follows = Counter(pair for row in rounds for pair in pairwise(row))
    assert len(follows) == n_arms * (n_arms - 1)
    assert len(set(follows.values())) <= 1


def test_repeats_are_those_of_the_arm_that_needs_most() -> None:
    assert repeats_for([0.1, 0.05], 0.2) == 5
    assert repeats_for([3.0], 0.2) == 1
    assert repeats_for([], 0.2) == 1


def test_the_context_has_room_for_everything() -> None:
    assert common_settings(n_threads=2, n_prompt=128, n_gen=64)["n_ctx"] == 256
    assert common_settings(n_threads=2, n_prompt=16, n_gen=512)["n_ctx"] == 768


@pytest.mark.parametrize(
    "change",
    [{"rounds": 0}, {"warmup": -1}, {"metrics": ()}, {"metrics": (Metric("pp", 0),)}, {"arms": ()}, {"n_outputs": 0}],
)
def test_an_experiment_that_measures_nothing_is_refused(change: dict[str, object]) -> None:
    good: dict[str, object] = {"model": Path("m"), "arms": (Arm("a", "patched"),), "metrics": (Metric("pp", 8),)}
    Experiment(**good)  # type: ignore[arg-type]
    with pytest.raises(InvalidOption):
        Experiment(**good | change)  # type: ignore[arg-type]
