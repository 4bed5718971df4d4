"""The steps of ci/wheels.py by themselves: what auditwheel is told, which Python, which wheels, what a failure says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from shipping_world import row

from shipping.build import StepFailed, environment, interpreters, run
from shipping.clean import environment as clean_environment
from shipping.clean import matching
from shipping.matrix import load
from shipping.repair import policy, repair_command

OWN = f"{sys.version_info.major}.{sys.version_info.minor}"


def test_auditwheel_is_told_what_the_row_says(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = load()["cuda13-x86_64"]
    monkeypatch.delenv("AUDITWHEEL_PLAT", raising=False)
    assert policy(cuda) == "auto", "this machine's C library may be newer than the policy"
    assert policy(cuda, "manylinux_2_34") == "manylinux_2_34"
    monkeypatch.setenv("AUDITWHEEL_PLAT", "manylinux_2_28_x86_64")
    assert policy(cuda) == "manylinux_2_28"
    command = repair_command(cuda, policy(cuda))
    assert command[:4] == ["auditwheel", "repair", "--plat", "manylinux_2_28_x86_64"]
    excluded = [word for at, word in enumerate(command) if command[at - 1] == "--exclude"]
    assert {"libcuda.so.1", "libcudart.so.13", "libcublas.so.13", "libggml-base.so"} <= set(excluded)
    assert repair_command(cuda, "auto")[3] == "auto"


def test_which_python() -> None:
    ours = row(pythons=(OWN, "3.99"))
    assert interpreters(ours, []) == {OWN: sys.executable}
    assert list(interpreters(row(pythons=("py3",)), [])) == ["py3"]
    with pytest.raises(StepFailed, match=r"there is no python3\.99 on the PATH"):
        interpreters(ours, ["all"])
    with pytest.raises(StepFailed, match=r"is not for Python 2\.7\. Its Pythons: "):
        interpreters(ours, ["2.7"])


def test_a_backend_is_tried_with_the_core_of_its_python() -> None:
    names = ["llamasmith-1-cp310-cp310-x.whl", "llamasmith-1-cp311-cp311-x.whl", "llamasmith_cuda13-1-py3-none-x.whl"]
    assert [path.name for path in matching([Path(name) for name in names], "cp311")] == names[1:]


def test_a_step_that_fails_says_why(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    said: list[str] = []
    code = "print('[1/2] compiling'); print('llamasmith: no.'); print('later'); raise SystemExit(3)"
    with pytest.raises(
        StepFailed, match=r"(?s)ended with status 3:\n    llamasmith: no\.\n    later\n  log: "
    ) as caught:
        run([sys.executable, "-c", code], log, cwd=tmp_path, say=said.append)
    assert "compiling" not in str(caught.value).partition("\n")[2]
    assert said == ["[1/2] compiling", "llamasmith: no.", "later"]
    assert "later" in log.read_text(encoding="utf-8")


def test_what_a_build_and_a_trial_do_not_inherit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("LLAMASMITH_CPU", "CMAKE_ARGS", "CFLAGS", "PYTHONPATH"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("LD_LIBRARY_PATH", "x")
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    building, trying = environment(), clean_environment(tmp_path)
    assert not {"LLAMASMITH_CPU", "CMAKE_ARGS", "CFLAGS", "PYTHONPATH"} & building.keys()
    assert int(building["SOURCE_DATE_EPOCH"]) > 0
    assert not {"LLAMASMITH_CPU", "PYTHONPATH", "LD_LIBRARY_PATH"} & trying.keys()
    assert trying["PATH"] == str(tmp_path / "bin")
