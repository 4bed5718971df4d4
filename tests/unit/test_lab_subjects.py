"""The subjects of other libraries, with stand-ins for the libraries; and with the real ones where they are installed.

Name an interpreter that has some of them in ``LLAMASMITH_TEST_PEER_PYTHON``.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from subject_world import NO_LIMIT, PEERS, load

from llamasmith.build import build_info
from llamasmith.lab.process import WorkerProcess, WorkerRefused
from llamasmith.lab.worker import bootstrap
from llamasmith.lab.worker.foreign import INSTALL, SETTINGS
from llamasmith.lab.worker.pace import Pace
from llamasmith.lab.worker.subject import PROMPT, NotSupported, Subject, SubjectMissing
from llamasmith.lab.worker.subjects import SUBJECTS, make_subject
from llamasmith.lab.worker.tokens import random_tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

# What all have in common


def test_pseudo_random_tokens_stay_the_same() -> None:
    assert random_tokens(4, 0, 100) == [84, 75, 42, 25]
    assert random_tokens(4, 1, 100) != random_tokens(4, 0, 100)
    assert max(random_tokens(1000, 0, 7)) == 6


def test_pace_tells_what_fits() -> None:
    pace = Pace()
    assert pace.fits(64, 1.0) == 1  # nothing is known yet
    assert pace.fits(64, NO_LIMIT) == 64
    pace.saw(4, 2.0)
    assert pace.fits(64, 10.0) == 20
    assert pace.fits(16, 10.0) == 16
    assert pace.fits(64, 0.1) == 1


@pytest.mark.parametrize("name", SUBJECTS)
def test_every_subject_can_be_made(name: str) -> None:
    assert isinstance(make_subject(name), Subject)


@pytest.mark.parametrize("name", PEERS)
def test_a_missing_library_comes_with_its_command(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("llama_cpp", "xllamacpp", "torch", "transformers", "gguf", "accelerate", "llamasmith.build"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SubjectMissing) as caught:
        load(make_subject(name), engine="patched")
    assert f"Install it there with `{INSTALL[name]}`" in str(caught.value)
    assert sys.executable in str(caught.value)


@pytest.mark.parametrize("name", PEERS)
def test_what_a_library_cannot_take_is_refused(name: str) -> None:
    with pytest.raises(NotSupported, match=f"{name} does not take wait here. It takes: .*n_threads"):
        load(make_subject(name), wait="spin")
    with pytest.raises(NotSupported, match=f"{name} runs one session here, not 2"):
        load(make_subject(name), sessions=2)


def test_a_worker_needs_its_own_files_alone(tmp_path: Path) -> None:
    import llamasmith.lab.worker as package

    copied = tmp_path / "alone"
    shutil.copytree(Path(package.__file__).parent, copied)
    python, *rest = bootstrap(sys.executable)
    # Without site-packages, so that nothing of ours and no peer is there.
    worker = WorkerProcess("alone", [python, "-I", "-S", *rest[:-1], str(copied / "__init__.py")], {})
    try:
        assert worker.request("hello")["protocol"] == package.PROTOCOL
        for name in SUBJECTS:
            with pytest.raises(WorkerRefused, match=r"SubjectMissing: .*is not installed .*`pip install"):
                worker.request("load", **load_request(name, "none.gguf", engine="patched"))
    finally:
        worker.close()


def load_request(name: str, model: str | Path, engine: str = "", **settings: Any) -> dict[str, Any]:
    options = {"model": str(model), "model_options": {}, "session_options": settings}
    return {"subject": name, "engine": engine, "sessions": 1, **options}


DYING_PARENT = """
import os, signal, subprocess, sys
from llamasmith.lab.worker.lifetime import end_with_parent
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], preexec_fn=end_with_parent)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has ended")
def test_what_a_worker_started_ends_with_it(run_python: Any) -> None:
    # The child holds the pipe that is read here: this returns when it has ended, or runs out of time.
    assert run_python(DYING_PARENT, timeout=30).returncode == -signal.SIGKILL


# The real ones

MODULES = {"llama-cpp-python": "llama_cpp", "xllamacpp": "xllamacpp", "transformers": "transformers, torch, accelerate"}


@pytest.fixture(params=PEERS)
def peer(request: pytest.FixtureRequest, smollm2_path: Path) -> Iterator[tuple[str, WorkerProcess]]:
    """A worker that has loaded the real model."""
    name, python, engine = request.param, sys.executable, ""
    if name == "llama-bench":
        engine = build_info().engines[0]
        if name not in build_info().tools:
            pytest.skip("needs a build with -C cmake.define.LLAMASMITH_TOOLS=ON")
    else:
        python = os.environ.get("LLAMASMITH_TEST_PEER_PYTHON", sys.executable)
        if subprocess.run([python, "-c", f"import {MODULES[name]}"], capture_output=True).returncode:
            pytest.skip(f"needs {name}: LLAMASMITH_TEST_PEER_PYTHON=/path/to/its/python")
    settings = {"n_threads": 2, "n_ctx": 256, "flash_attn": "off"}
    taken = {setting: value for setting, value in settings.items() if setting in SETTINGS[name]}
    worker = WorkerProcess(name, bootstrap(python), {**os.environ, "PYTHONSAFEPATH": "1"})
    worker.request("hello")
    assert worker.request("load", **load_request(name, smollm2_path, engine, **taken))["version"]
    yield name, worker
    worker.close()


OURS = """
import json, sys
from llamasmith import Model, Session
with Model(sys.argv[1]) as model, Session(model, n_ctx=256, n_threads=2, flash_attn="off") as session:
    print(json.dumps(session.generate(sys.argv[2], max_tokens=32, temperature=0, ignore_eos=True).tokens))
"""


@pytest.mark.model
def test_a_real_peer_does_our_work(peer: tuple[str, WorkerProcess], smollm2_path: Path, run_python: Any) -> None:
    name, worker = peer
    outputs = worker.request("outputs", n=32, limit_seconds=60)["outputs"]
    if name in ("llama-cpp-python", "xllamacpp"):  # the same arithmetic, but for how it was compiled
        ours = run_python(OURS, smollm2_path, PROMPT)
        assert ours.returncode == 0, ours.stderr
        assert outputs["tokens"] == json.loads(ours.stdout)
    elif name == "transformers":
        assert len(outputs["tokens"]) == 32
    for metric, n in (("pp", 16), ("tg", 4), ("ttft", 16)):
        if (name, metric) == ("llama-bench", "ttft"):
            continue
        reply = worker.request("measure", metric=metric, n=n, repeats=2, seed=0, limit_seconds=60)
        assert reply["tokens"] == 2 * n
        assert len(reply["seconds"]) == 2
        assert min(reply["seconds"]) > 0
        assert (reply["usage"] is None) == (name == "llama-bench")
    cut = worker.request("measure", metric="tg", n=64, repeats=9, seed=0, limit_seconds=1e-4)
    assert cut["tokens"] == len(cut["seconds"]) == 1
