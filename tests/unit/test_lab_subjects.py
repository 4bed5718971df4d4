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
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from llamasmith.build import build_info
from llamasmith.lab.process import WorkerProcess, WorkerRefused
from llamasmith.lab.worker import bootstrap
from llamasmith.lab.worker.foreign import INSTALL, SETTINGS
from llamasmith.lab.worker.pace import Pace
from llamasmith.lab.worker.subject import PROMPT, NotSupported, Subject, SubjectMissing
from llamasmith.lab.worker.subjects import SUBJECTS, make_subject
from llamasmith.lab.worker.subjects.llama_bench import LlamaBenchSubject
from llamasmith.lab.worker.subjects.llama_cpp_python import LlamaCppPythonSubject
from llamasmith.lab.worker.subjects.transformers import TransformersSubject
from llamasmith.lab.worker.subjects.xllamacpp import XllamacppSubject
from llamasmith.lab.worker.tokens import random_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

N_VOCAB = 100
PROMPT_TOKENS = [1, 2, 3]
PER_TOKEN = 0.25  # seconds that a stand-in needs: a sum of them is exact
NO_LIMIT = float("inf")
PEERS = sorted(INSTALL)


class Clock:
    """Time that passes only when a stand-in works."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def load(subject: Subject, engine: str = "", sessions: int = 1, **settings: Any) -> dict[str, Any]:
    return subject.load(
        engine=engine, model="folder/m.gguf", model_options={}, session_options=settings, sessions=sessions
    )


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


# llama-cpp-python


class FakeLlama:
    """Takes `PER_TOKEN` for every token it reads; its greedy tokens count up."""

    def __init__(self, clock: Clock, path: str, options: dict[str, Any]) -> None:
        self.clock, self.path, self.options = clock, path, options
        self.memory: list[int] = []

    def n_vocab(self) -> int:
        return N_VOCAB

    def tokenize(self, text: bytes) -> list[int]:
        assert text.decode() == PROMPT
        return list(PROMPT_TOKENS)

    def reset(self) -> None:
        self.memory.clear()

    def eval(self, tokens: list[int]) -> None:
        self.memory += tokens
        self.clock.now += PER_TOKEN * len(tokens)

    def generate(self, tokens: list[int], *, temp: float, repeat_penalty: float) -> Iterator[int]:
        assert (temp, repeat_penalty, self.memory) == (0.0, 1.0, [])
        token = 10
        while True:
            self.eval(tokens)
            yield token
            tokens, token = [token], token + 1


def llama_cpp(clock: Clock, made: list[FakeLlama]) -> Any:
    def make(path: str, **options: Any) -> FakeLlama:
        made.append(FakeLlama(clock, path, options))
        return made[-1]

    return SimpleNamespace(Llama=make, __version__="1.2", GGML_TYPE_Q8_0=8, llama_print_system_info=lambda: b"AVX2 = 1")


@pytest.fixture
def lcp() -> tuple[LlamaCppPythonSubject, list[FakeLlama]]:
    clock, made = Clock(), list[FakeLlama]()
    return LlamaCppPythonSubject(llama_cpp(clock, made), clock), made


def test_llama_cpp_python_takes_settings(lcp: tuple[LlamaCppPythonSubject, list[FakeLlama]]) -> None:
    subject, made = lcp
    facts = load(subject, n_threads=3, n_ctx=256, flash_attn="on", type_k="q8_0")
    assert made[0].path == "folder/m.gguf"
    assert made[0].options == {
        "verbose": False,
        "n_threads": 3,
        "n_threads_batch": 3,
        "n_ctx": 256,
        "flash_attn": True,
        "type_k": 8,
    }
    assert (facts["library"], facts["version"], facts["flash_attn"]) == ("llama-cpp-python", "1.2", "on")
    assert load(subject, n_threads=3, n_threads_batch=5)["flash_attn"] == "off"
    assert made[1].options["n_threads_batch"] == 5


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"flash_attn": "auto"}, "flash_attn as on or off, not as 'auto'"), ({"type_v": "q9"}, "no ggml type 'q9'")],
)
def test_llama_cpp_python_refuses_values(
    lcp: tuple[LlamaCppPythonSubject, list[FakeLlama]], settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(NotSupported, match=says):
        load(lcp[0], **settings)
    assert lcp[1] == []


def test_llama_cpp_python_times_the_work_alone(lcp: tuple[LlamaCppPythonSubject, list[FakeLlama]]) -> None:
    subject, made = lcp
    load(subject)
    assert subject.prompt(8, seed=1) == 8 * PER_TOKEN
    assert made[0].memory == random_tokens(8, 1, N_VOCAB)
    assert subject.prompt(8, seed=1) == 8 * PER_TOKEN
    assert made[0].memory == random_tokens(8, 1, N_VOCAB)
    assert subject.generate(5) == 5 * PER_TOKEN
    assert made[0].memory == [*PROMPT_TOKENS, 10, 11, 12, 13, 14]
    assert subject.first_token(8, seed=1) == 8 * PER_TOKEN
    assert subject.outputs(3, NO_LIMIT) == {"tokens": [10, 11, 12]}


def test_llama_cpp_python_ends_early(lcp: tuple[LlamaCppPythonSubject, list[FakeLlama]]) -> None:
    subject, _ = lcp
    load(subject)
    assert subject.generate_within(64, 0.6) == (3, 3 * PER_TOKEN)
    assert len(subject.outputs(64, 0.1)["tokens"]) == 1
    assert subject.sample("tg", 64, 0, 9, 0.6) == (3, [3 * PER_TOKEN])
    assert subject.sample("pp", 2, 0, 9, 0.6) == (4, [2 * PER_TOKEN] * 2)


# xllamacpp


class FakeServer:
    """Works for `PER_TOKEN` on each token; `n_ctx` ends the generation."""

    listening_address = "http://here"

    def __init__(self, params: Any) -> None:
        self.params, self.requests = params, list[dict[str, Any]]()
        self.error: dict[str, str] | None = None

    def handle_completions(self, request: dict[str, Any], callback: Callable[[Any], Any] | None = None) -> Any:
        self.requests.append(request)
        if self.error:
            refusal = {"error": self.error}
            return refusal if callback is None else callback(refusal) and None
        prompt = request["prompt"] if isinstance(request["prompt"], list) else PROMPT_TOKENS
        n = min(request["max_tokens"], self.params.n_ctx - len(prompt))
        pieces = [self.piece(prompt, done, request) for done in range(1, n + 1)]
        if callback is None:
            return pieces[-1]
        for piece in [*pieces, {**pieces[-1], "__verbose": {"tokens": []}}]:  # the last one repeats the timings
            if callback(piece):
                return None
        return None

    def piece(self, prompt: list[int], done: int, request: dict[str, Any]) -> dict[str, Any]:
        timings = {"prompt_ms": len(prompt) * PER_TOKEN * 1e3, "predicted_n": done}
        found = {"choices": [], "timings": {**timings, "predicted_ms": (done - 1) * PER_TOKEN * 1e3}}
        return found | ({"__verbose": {"tokens": [9 + done]}} if request.get("return_tokens") else {})


def xllamacpp(made: list[FakeServer]) -> Any:
    def serve(params: Any) -> FakeServer:
        made.append(FakeServer(params))
        return made[-1]

    def params() -> Any:
        threads = SimpleNamespace(n_threads=-1), SimpleNamespace(n_threads=-1)
        return SimpleNamespace(model=SimpleNamespace(path=""), cpuparams=threads[0], cpuparams_batch=threads[1])

    return SimpleNamespace(
        CommonParams=params,
        Server=serve,
        __version__="1.2",
        get_system_info=lambda: "AVX2 = 1",
        llama_flash_attn_type=SimpleNamespace(LLAMA_FLASH_ATTN_TYPE_AUTO="auto"),
        ggml_type=SimpleNamespace(GGML_TYPE_Q8_0="eight"),
    )


@pytest.fixture
def xl() -> tuple[XllamacppSubject, list[FakeServer]]:
    made = list[FakeServer]()

    def fetch(address: str) -> Any:
        assert address == "http://here/v1/models"
        return {"data": [{"meta": {"n_vocab": N_VOCAB}}]}

    return XllamacppSubject(xllamacpp(made), fetch), made


def test_xllamacpp_takes_settings(xl: tuple[XllamacppSubject, list[FakeServer]]) -> None:
    subject, made = xl
    options = {"n_threads": 3, "n_ctx": 256, "flash_attn": "auto", "type_v": "q8_0"}
    facts = subject.load(
        engine="",
        model="folder/m.gguf",
        model_options={"use_extra_bufts": False},
        session_options=options,
        sessions=1,
    )
    params = made[0].params
    assert (params.model.path, params.n_ctx, params.n_parallel) == ("folder/m.gguf", 256, 1)
    assert (params.cpuparams.n_threads, params.cpuparams_batch.n_threads) == (3, 3)
    assert (params.flash_attn_type, params.cache_type_v, params.no_extra_bufts) == ("auto", "eight", True)
    assert not hasattr(params, "n_batch")  # what is not asked for stays the library's own
    assert (facts["library"], facts["n_vocab"]) == ("xllamacpp", N_VOCAB)
    with pytest.raises(NotSupported, match="no ggml type 'q9'"):
        load(subject, type_k="q9")


def test_xllamacpp_takes_the_times_of_the_server(xl: tuple[XllamacppSubject, list[FakeServer]]) -> None:
    subject, made = xl
    load(subject, n_ctx=32)
    assert subject.prompt(8, seed=1) == 8 * PER_TOKEN
    assert subject.first_token(8, seed=1) == 8 * PER_TOKEN
    assert made[0].requests[0]["prompt"] == random_tokens(8, 1, N_VOCAB)
    assert subject.generate(5) == 5 * PER_TOKEN
    assert subject.outputs(3, NO_LIMIT) == {"tokens": [10, 11, 12]}
    assert {request["cache_prompt"] for request in made[0].requests} == {False}
    assert {request["ignore_eos"] for request in made[0].requests} == {True}


def test_xllamacpp_ends_early(xl: tuple[XllamacppSubject, list[FakeServer]]) -> None:
    subject, made = xl
    load(subject, n_ctx=256)
    assert subject.generate_within(64, 0.6) == (3, 3 * PER_TOKEN)
    assert subject.generate_within(64, 0.0) == (1, PER_TOKEN)
    assert len(subject.outputs(64, 0.6)["tokens"]) == 4
    assert all(request["stream"] for request in made[0].requests)
    assert subject.generate_within(8, 2.0) == (8, 8 * PER_TOKEN)
    assert "stream" not in made[0].requests[-1]  # it is known to fit, and a reply as a whole costs less


def test_xllamacpp_says_what_went_wrong(xl: tuple[XllamacppSubject, list[FakeServer]]) -> None:
    subject, made = xl
    load(subject, n_ctx=16)
    with pytest.raises(RuntimeError, match="13 tokens came instead of 65: is n_ctx too small"):
        subject.generate(64)
    made[0].error = {"message": "exceeds the available context"}
    for ask in (lambda: subject.generate(4), lambda: subject.prompt(4, 0), lambda: subject.outputs(4, NO_LIMIT)):
        with pytest.raises(RuntimeError, match="exceeds the available context"):
            ask()


# transformers


class FakeModel:
    """Takes `PER_TOKEN` for every token; its greedy tokens count up."""

    dtype = "torch.float32"
    config = SimpleNamespace(_attn_implementation="sdpa")

    def __init__(self, clock: Clock) -> None:
        self.clock, self.calls = clock, list[dict[str, Any]]()

    def get_input_embeddings(self) -> Any:
        return SimpleNamespace(num_embeddings=N_VOCAB)

    def forward(self, input_ids: Any = None, logits_to_keep: int = 0) -> None: ...

    def __call__(self, **inputs: Any) -> None:
        self.calls.append(inputs)
        self.clock.now += PER_TOKEN * len(inputs["input_ids"][0])

    def generate(self, *, input_ids: Any, max_new_tokens: int, stopping_criteria: Any, **more: Any) -> Any:
        self.calls.append({"input_ids": input_ids, **more})
        tokens, new = list(input_ids[0]), len(input_ids[0])
        for index in range(max_new_tokens):
            self.clock.now += PER_TOKEN * new
            tokens, new = [*tokens, 10 + index], 1
            if any(all(stop([tokens], None)) for stop in stopping_criteria):
                break
        return [tokens]


@pytest.fixture
def hf(monkeypatch: pytest.MonkeyPatch) -> tuple[TransformersSubject, FakeModel, dict[str, Any]]:
    clock, seen = Clock(), dict[str, Any]()
    model = FakeModel(clock)
    for name in ("HF_HUB_OFFLINE", "TQDM_DISABLE"):
        monkeypatch.setenv(name, "")
    torch = SimpleNamespace(
        __version__="2.0",
        float32="f32",
        bool="bool",
        set_num_threads=lambda n: seen.update(n_threads=n),
        get_num_threads=lambda: seen.get("n_threads", 1),
        tensor=lambda rows: rows,
        ones_like=lambda rows: [[1] * len(row) for row in rows],
        full=lambda shape, value, dtype: [value] * shape[0],
        inference_mode=nullcontext,
    )

    def load_model(folder: str, **more: Any) -> FakeModel:
        seen.update(folder=folder, offline=os.environ["HF_HUB_OFFLINE"], **more)
        return model

    def load_tokenizer(folder: str, *, gguf_file: str) -> Any:
        assert (folder, gguf_file) == ("folder", "m.gguf")
        return lambda text: SimpleNamespace(input_ids=PROMPT_TOKENS)

    library = SimpleNamespace(
        __version__="5.0",
        logging=SimpleNamespace(set_verbosity_error=lambda: None),
        AutoModelForCausalLM=SimpleNamespace(from_pretrained=load_model),
        AutoTokenizer=SimpleNamespace(from_pretrained=load_tokenizer),
    )
    packages = {"torch": torch, "transformers": library, "gguf": None, "accelerate": None}
    return TransformersSubject(packages.__getitem__, clock), model, seen


def test_transformers_loads_the_file(hf: tuple[TransformersSubject, FakeModel, dict[str, Any]]) -> None:
    subject, _, seen = hf
    facts = load(subject, n_threads=3)
    wanted = {"folder": "folder", "gguf_file": "m.gguf", "dtype": "f32", "n_threads": 3, "offline": "1"}
    assert seen == wanted
    assert facts == {
        "library": "transformers",
        "version": "5.0",
        "torch": "2.0",
        "dtype": "float32",
        "attention": "sdpa",
        "n_threads": 3,
        "n_vocab": N_VOCAB,
    }


def test_transformers_times_the_work_alone(hf: tuple[TransformersSubject, FakeModel, dict[str, Any]]) -> None:
    subject, model, _ = hf
    load(subject)
    assert subject.prompt(8, seed=1) == 8 * PER_TOKEN
    assert model.calls[0] == {"input_ids": [random_tokens(8, 1, N_VOCAB)], "use_cache": True, "logits_to_keep": 1}
    assert subject.generate(5) == 5 * PER_TOKEN
    assert model.calls[1]["input_ids"] == [PROMPT_TOKENS]
    assert (model.calls[1]["min_new_tokens"], model.calls[1]["do_sample"]) == (6, False)
    assert subject.first_token(8, seed=1) == 8 * PER_TOKEN
    assert subject.outputs(3, NO_LIMIT) == {"tokens": [10, 11, 12]}


def test_transformers_ends_early(hf: tuple[TransformersSubject, FakeModel, dict[str, Any]]) -> None:
    subject, _, _ = hf
    load(subject)
    assert subject.generate_within(64, 0.6) == (3, 3 * PER_TOKEN)
    assert subject.generate_within(64, 0.0) == (1, PER_TOKEN)
    assert subject.outputs(64, 0.6)["tokens"] == [10, 11, 12, 13]


# llama-bench

BENCH = """\
import json, pathlib, sys
here = pathlib.Path(__file__).parent
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
with open(here / "calls", "a") as calls:
    print(json.dumps([given, sys.stdin.read()]), file=calls)
if (here / "fail").exists():
    sys.exit("error: failed to load model")
n = int(given["-p"]) + int(given["-n"])
samples = [int(n * {per_token} * 1e9)] * int(given["-r"])
facts = {{"build_commit": "abc", "model_type": "llama", "poll": 50}}
print(json.dumps([facts | {{"samples_ns": samples}}]))
"""


class Bench:
    """A stand-in for the program, in the place where an installation has it."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "engines" / "patched"
        self.folder.mkdir(parents=True)
        self.file = self.folder / "llama-bench"
        script = self.folder / "bench.py"
        script.write_text(BENCH.format(per_token=PER_TOKEN), encoding="utf-8")
        # Not by the script's own first line: an interpreter whose path has a space cannot be named there.
        self.file.write_text(f"#!/bin/sh\nexec '{sys.executable}' '{script}' \"$@\"\n", encoding="utf-8")
        self.file.chmod(0o755)
        info = SimpleNamespace(engines=("patched", "upstream"), asdict=lambda: {"pin": "b1"})
        self.subject = LlamaBenchSubject(SimpleNamespace(build_info=lambda: info, package_root=lambda: root))

    @property
    def calls(self) -> list[tuple[dict[str, str], str]]:
        lines = (self.folder / "calls").read_text(encoding="utf-8").splitlines()
        return [(given, stdin) for given, stdin in map(json.loads, lines)]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "a place")


def test_llama_bench_takes_settings(bench: Bench) -> None:
    facts = bench.subject.load(
        engine="patched",
        model="m.gguf",
        model_options={"use_extra_bufts": False},
        session_options={"n_threads": 2, "n_threads_batch": 3, "n_batch": 64, "flash_attn": "auto", "type_k": "q8_0"},
        sessions=1,
    )
    same = {"-m": "m.gguf", "-o": "json", "-b": "64", "-fa": "auto", "-ctk": "q8_0", "--repack": "0", "-r": "1"}
    (prompt, read), (generated, _) = bench.calls
    assert prompt == same | {"-p": "32", "-n": "0", "-t": "3"}
    assert generated == same | {"-p": "0", "-n": "4", "-d": "10", "-t": "2"}
    assert read == ""  # it must not take the worker's requests
    assert facts == {
        "library": "llama-bench",
        "version": "abc",
        "engine": "patched",
        "model": "llama",
        "poll": 50,
        "build": {"pin": "b1"},
    }


def test_llama_bench_runs_once_for_a_sample(bench: Bench) -> None:
    load(bench.subject, engine="patched")
    assert bench.subject.sample("pp", 8, 0, 3, NO_LIMIT) == (24, [8 * PER_TOKEN] * 3)
    assert bench.subject.sample("tg", 4, 0, 2, NO_LIMIT) == (8, [4 * PER_TOKEN] * 2)
    assert [call["-r"] for call, _ in bench.calls] == ["1", "1", "3", "2"]
    assert bench.subject.prompt(8, 0) == 8 * PER_TOKEN
    assert bench.subject.generate(4) == 4 * PER_TOKEN
    assert bench.subject.outputs(4, NO_LIMIT) is None
    assert not bench.subject.has_resource_usage
    with pytest.raises(NotSupported, match=r"does not measure ttft\. It measures: pp, tg"):
        bench.subject.sample("ttft", 8, 0, 1, NO_LIMIT)


def test_llama_bench_takes_on_what_fits_into_the_time(bench: Bench) -> None:
    load(bench.subject, engine="patched")
    assert bench.subject.sample("tg", 64, 0, 5, 2.0) == (8, [8 * PER_TOKEN])
    assert bench.subject.sample("tg", 4, 0, 5, 2.0) == (8, [4 * PER_TOKEN] * 2)
    assert bench.subject.sample("pp", 16, 0, 5, 2.0) == (16, [16 * PER_TOKEN])  # a prompt cannot be cut


def test_llama_bench_fails_in_words(bench: Bench) -> None:
    with pytest.raises(NotSupported, match=r"no engine 'quux'\. Engines: patched, upstream"):
        load(bench.subject, engine="quux")
    with pytest.raises(SubjectMissing, match="LLAMASMITH_TOOLS=ON"):
        load(bench.subject, engine="upstream")
    (bench.folder / "fail").touch()
    with pytest.raises(RuntimeError, match=r"(?s)llama-bench -m folder/m.gguf .*status 1\nerror: failed to load model"):
        load(bench.subject, engine="patched")
    bench.file.write_text("#!/bin/sh\necho nonsense\n", encoding="utf-8")
    with pytest.raises(RuntimeError, match=r"(?s)failed: .*nonsense"):
        load(bench.subject, engine="patched")


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
