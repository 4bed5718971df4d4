"""Arms from words, and the environment of their workers."""

from __future__ import annotations

import json

import pytest

from llamasmith.errors import InvalidOption
from llamasmith.lab.arm import Arm, check_distinct, default_arms, parse_arm, parse_arms
from llamasmith.lab.environment import worker_environment
from llamasmith.lab.keys import KEYS, all_keys
from llamasmith.lab.plan import Metric, common_settings

ENGINES = ("patched", "upstream", "upstream-openmp")
DEFAULTS = common_settings((Metric("pp", 8), Metric("tg", 8)), n_threads=2)


def test_an_engine_alone_is_an_arm() -> None:
    assert parse_arm("upstream", ENGINES) == Arm("upstream", "upstream")


def test_every_key_finds_its_place() -> None:
    arm = parse_arm(
        "patched,name=ours,t=4,n_threads_batch=2,n_ctx=512,wait=spin,disposable_pool=no,flash_attn=off,n_batch=64,"
        "n_ubatch=32,type_k=q8_0,type_v=f16,use_extra_bufts=off,n_gpu_layers=-1,load_mode=none,backend=cpu,"
        "model=other.gguf,python=venv/bin/python,env.GGML_X=a\\,b",
        ENGINES,
    )
    assert (arm.name, arm.engine, arm.model, arm.python) == ("ours", "patched", "other.gguf", "venv/bin/python")
    assert arm.env == {"GGML_X": "a,b"}
    assert arm.options("model") == {
        "use_extra_bufts": False,
        "n_gpu_layers": -1,
        "load_mode": "none",
        "backend": "cpu",
    }
    assert arm.options("session") == {
        "n_threads": 4,
        "n_threads_batch": 2,
        "n_ctx": 512,
        "wait": "spin",
        "disposable_pool": False,
        "flash_attn": "off",
        "n_batch": 64,
        "n_ubatch": 32,
        "type_k": "q8_0",
        "type_v": "f16",
    }
    assert arm.describe()["env.GGML_X"] == "a,b"
    assert {key.name for key in KEYS} == {*arm.settings, "model", "python"}
    assert all(key.name in all_keys() for key in KEYS)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("pached", "Did you mean 'patched'?"),
        ("", "names no engine"),
        ("t=2", "it begins with one, or with peer=NAME"),
        ("patched,wiat=spin", "Did you mean 'wait'?"),
        ("patched,quux=1", "Keys: name, peer, engine, n_threads (or t)"),
        ("patched,spin", "not of the form key=value"),
        ("patched,t=0", "a number from 1"),
        ("patched,t=many", "a number from 1, or auto"),
        ("patched,t=2,n_threads=3", "sets n_threads twice"),
        ("patched,model=a,model=b", "sets model twice"),
        ("patched,flash_attn=maybe", "auto, on, off"),
        ("patched,use_extra_bufts=2", "on, off"),
        ("patched,load_mode=fast", "auto, none, mmap"),
        ("patched,n_gpu_layers=-2", "-1 for all"),
        ("patched,name=", "a label"),
        ("patched,name=A/A", "is kept for the arm"),
        ("patched,env.=1", "unknown key 'env.'"),
        ("patched,backend=cuda", "names the backend 'cuda', which this build does not have. Backends: cpu."),
        ("upstream,wait=spin", "one fixed way to wait"),
        ("peer=lama-cpp-python", "Did you mean 'llama-cpp-python'?"),
        ("peer=llama-cpp-python,wait=spin", "sets wait=spin, which llama-cpp-python does not take"),
        ("peer=xllamacpp,t=auto", "sets n_threads=auto, but xllamacpp takes it only as a number"),
        ("peer=xllamacpp,engine=patched", "brings its own"),
        ("peer=llama-bench", "must say which engine llama-bench runs: engine=NAME"),
        ("peer=llama-bench,engine=pached", "must say which engine"),
    ],
)
def test_what_is_wrong_is_named(words: str, says: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        parse_arm(words, ENGINES)
    assert says in str(caught.value)


def test_another_environment_may_have_other_engines_and_backends() -> None:
    assert parse_arm("mine,python=elsewhere/python,backend=cuda", ENGINES).engine == "mine"


def test_an_arm_may_leave_the_number_of_threads_to_its_process() -> None:
    arm = parse_arm("patched,t=auto", ENGINES).with_defaults(DEFAULTS)
    assert arm.options("session")["n_threads"] == "auto"


def test_peers_are_arms() -> None:
    arm = parse_arm("peer=llama-cpp-python,t=3", ENGINES)
    assert (arm.subject, arm.peer, arm.engine, arm.settings) == ("llama-cpp-python",) * 2 + ("", {"n_threads": 3})
    assert parse_arm("peer=llama-bench,engine=upstream", ENGINES).engine == "upstream"
    assert parse_arm("patched", ENGINES).subject == "llamasmith"
    assert "use_extra_bufts" not in arm.with_defaults(DEFAULTS).settings  # which it cannot take
    assert arm.with_defaults(DEFAULTS).settings["n_threads"] == 3
    assert arm.describe()["peer"] == "llama-cpp-python"


def test_two_arms_cannot_share_a_name() -> None:
    with pytest.raises(InvalidOption, match="name=LABEL"):
        parse_arms(["patched", "patched"], ENGINES)
    names = [arm.name for arm in parse_arms(["patched", "patched,wait=park", "patched,name=again"], ENGINES)]
    assert names == ["patched", "patched,wait=park", "again"]


def test_arms_that_cannot_differ_are_refused() -> None:
    check_distinct(parse_arms(["patched", "patched,wait=park"], ENGINES))
    with pytest.raises(InvalidOption, match="'patched' and 'again' are the same configuration"):
        check_distinct(parse_arms(["patched", "upstream", "patched,name=again"], ENGINES))


def test_the_default_baseline_is_what_llama_cpp_builds_by_default() -> None:
    assert [arm.name for arm in default_arms(ENGINES)] == ["upstream-openmp", "upstream", "patched"]
    assert [arm.name for arm in default_arms(["patched"])] == ["patched"]


@pytest.mark.parametrize(
    ("words", "agrees"),
    [
        ("patched", True),
        ("patched,wait=park", True),
        ("patched,disposable_pool=on", True),
        ("patched,load_mode=none", True),
        ("patched,env.OMP_WAIT_POLICY=active", True),
        ("patched,t=3", False),
        ("patched,type_k=q8_0", False),
        ("patched,use_extra_bufts=off", False),
        ("patched,model=other.gguf", False),
        ("patched,python=elsewhere/python", False),
        ("patched,env.GGML_SOMETHING=1", False),
        ("peer=llama-cpp-python", False),
    ],
)
def test_which_arms_must_agree(words: str, agrees: bool) -> None:
    arm, baseline = (parse_arm(text, ENGINES).with_defaults(DEFAULTS) for text in (words, "upstream"))
    assert arm.must_agree_with(baseline) is agrees


def test_an_arm_survives_json() -> None:
    arm = parse_arm("patched,name=ours,t=4,use_extra_bufts=off,model=other.gguf,env.GGML_X=1", ENGINES)
    assert Arm.from_dict(json.loads(json.dumps(arm.asdict()))) == arm


def test_what_decides_speed_comes_from_the_arm_alone() -> None:
    around = {"PATH": "p", "OMP_WAIT_POLICY": "active", "GGML_X": "1", "LLAMASMITH_WAIT": "park", "PYTHONPATH": "x"}
    here = worker_environment(Arm("a", "patched"), around)
    assert here == {"PATH": "p", "PYTHONPATH": "x", "PYTHONSAFEPATH": "1"}
    arm = Arm("a", "patched", env={"OMP_WAIT_POLICY": "passive"}, python="elsewhere/python")
    assert worker_environment(arm, around) == {"PATH": "p", "OMP_WAIT_POLICY": "passive", "PYTHONSAFEPATH": "1"}
