"""What doctor says of backends: which load, why others do not, what the environment asks for in vain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from llamasmith import backend_trials
from llamasmith.backend_files import BackendFiles
from llamasmith.backend_trials import BackendState, try_backends, wrong_environment, wrong_states

if TYPE_CHECKING:
    from collections.abc import Mapping

BLAS = {"name": "BLAS", "description": "OpenBLAS", "type": "accel", "memory_free": 0, "memory_total": 0}


def files(name: str, problem: str = "") -> BackendFiles:
    return BackendFiles(name, Path("/x"), "llamasmith", {"version": "1.2", "built": {"from": "wheel"}}, problem)


def tried(*installed: BackendFiles, **answers: dict[str, Any]) -> tuple[BackendState, ...]:
    def trial(name: str, environment: Mapping[str, str]) -> dict[str, Any]:
        return answers[name]

    return try_backends({}, trial=trial, installed=lambda: installed)


def test_one_that_loads() -> None:
    (state,) = tried(files("openblas"), openblas={"devices": [BLAS]})
    assert (state.loadable, state.error, state.devices) == (True, "", (BLAS,))
    assert (state.version, state.built) == ("1.2", {"from": "wheel"})
    assert list(wrong_states((state,))) == []


def test_one_that_may_not_be_loaded_is_not_tried() -> None:
    (state,) = tried(files("openblas", "it is cut short."))
    assert (state.loadable, state.error) == (False, "it is cut short.")
    (wrong,) = wrong_states((state,))
    assert wrong.what == "The backend openblas cannot be used: it is cut short."
    assert "LLAMASMITH_BACKENDS=none" in wrong.mend


@pytest.mark.parametrize(
    ("name", "answer", "error"),
    [
        ("openblas", {"error": "it ended with SIGILL"}, "it ended with SIGILL"),
        ("cuda", {"devices": []}, "finds no device"),
        ("rpc", {"devices": []}, ""),  # its devices are those of servers, named later
    ],
)
def test_why_not(name: str, answer: dict[str, Any], error: str) -> None:
    (state,) = tried(files(name), **{name: answer})
    assert state.loadable == (not error)
    assert error in state.error


def test_a_trial_survives_its_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend_trials, "_CHILD", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    (state,) = try_backends({"LLAMASMITH_BACKENDS": "x"}, installed=lambda: (files("openblas"),))
    assert state.error == "it ended with SIGSEGV"


def test_the_installed_ones_load_in_processes_of_their_own() -> None:
    for state in try_backends({}):
        assert state.loadable, state.error


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ("openblas, cpu", None),
        ("none", None),
        ("cpu,rpc", "the backend rpc is not installed"),
        ("openblass", "the backend openblass does not exist"),
    ],
)
def test_what_the_environment_asks_for(said: str, what: str | None) -> None:
    states = tried(files("openblas"), openblas={"devices": [BLAS]})
    found = list(wrong_environment({"LLAMASMITH_BACKENDS": said}, states))
    assert [wrong.what for wrong in found] == (
        [] if what is None else [f"LLAMASMITH_BACKENDS is {said!r}, and {what}."]
    )
    assert all("none, cpu, openblas" in wrong.mend for wrong in found)
    assert list(wrong_environment({}, states)) == []
