"""The commands, as a user sees them: text, exit statuses, what goes to which stream. No engine runs here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

import llamasmith
from llamasmith import doctor, hub
from llamasmith.cli.__main__ import app
from llamasmith.cli.console import progress_bar
from llamasmith.doctor import BackendState, Diagnosis, EngineState, Finding
from llamasmith.errors import HubError, InvalidOption
from llamasmith.threads import Budget

if TYPE_CHECKING:
    from collections.abc import Iterator

    from click.testing import Result


def run(*words: str, **options: Any) -> Result:
    return CliRunner(env={"NO_COLOR": "1", "COLUMNS": "80"}).invoke(app, words, **options)


DIAGNOSIS = Diagnosis(
    version="1.2.3",
    pin="a" * 40,
    series_digest="c" * 64,
    patches=("threading-wait-policy.patch",),
    cpu="native",
    requested={"LLAMASMITH_TOOLS": "ON"},
    engines=(
        EngineState(
            "patched",
            "/a/long/path/" + "x" * 70 + "/libggml-cpu.so",
            ("AVX2", "FMA"),
            loadable=True,
            error="",
            variant="haswell",
            variants=("x64", "haswell"),
            variant_reason="the best that runs here; none is better",
        ),
        EngineState("upstream", "/b.so", (), loadable=False, error="it ended with SIGILL"),
    ),
    active="patched",
    backends=("cpu",),
    tools=("llama-bench",),
    threads=Budget(1, ("2 CPUs online", "cgroup quota of 1.5 CPUs (/cpu.max), rounded down to 1"), (0, 1), 1.5),
    problems=(Finding("The engine upstream cannot be loaded: it ended with SIGILL", "Build it anew."),),
    notes=(Finding("OMP_NUM_THREADS=4 is set", "Unset it."),),
    backend_states=(
        BackendState(
            "openblas",
            "/a/libggml-blas.so",
            "llamasmith-openblas",
            "1.2.3",
            {"compiler": "GNU 12.2.0", "library": "OpenBLAS 0.3.34.481.3", "from": "wheel"},
            devices=(
                {"name": "BLAS", "description": "OpenBLAS", "type": "accel", "memory_free": 0, "memory_total": 0},
            ),
        ),
        BackendState(
            "cuda", "/a/libggml-cuda.so", "llamasmith", "1.2.3", {}, False, "no driver. " + "Long words. " * 9
        ),
    ),
)


@pytest.fixture
def sick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "examine", lambda progress: DIAGNOSIS)


@pytest.mark.usefixtures("sick")
def test_doctor_fits_80_columns_and_says_what_to_do() -> None:
    result = run("doctor")
    assert result.exit_code == 1
    assert max(map(len, result.stdout.splitlines())) <= 80
    for words in (
        "a" * 40,
        "patched: loads, runs by default",
        "variant haswell, of 2: the best that runs here; none is better",
        "upstream: does not load",
        "backend openblas: loads, from llamasmith-openblas 1.2.3",
        "OpenBLAS 0.3.34.481.3",
        "device BLAS (accel): OpenBLAS",
        "backend cuda: does not load",
        "no driver.",
        "Build it anew.",
        "1 problem.",
    ):
        assert words in result.stdout
    assert "\x1b" not in result.stdout


@pytest.mark.usefixtures("sick")
def test_doctor_json_is_one_object() -> None:
    result = run("doctor", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["engines"][1] == {
        "name": "upstream",
        "path": "/b.so",
        "features": [],
        "loadable": False,
        "error": "it ended with SIGILL",
        "variant": "",
        "variants": [],
        "variant_reason": "",
    }
    assert found["threads"]["budget"] == 1
    assert [(one["name"], one["loadable"]) for one in found["backend_states"]] == [("openblas", True), ("cuda", False)]


def test_pull_prints_the_path_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def pull(name: str, *, force: bool, progress: hub.Progress) -> Path:
        progress("download", 1, 2)
        return Path("/cache") / name

    monkeypatch.setattr(hub, "pull", pull)
    result = run("pull", "smollm2-135m")
    assert (result.exit_code, result.stdout) == (0, "/cache/smollm2-135m\n")


def test_pull_list(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LLAMASMITH_CACHE", str(tmp_path))
    result = run("pull", "--list")
    assert result.exit_code == 0
    assert "smollm2-135m" in result.stdout
    assert "gemma3-270m" in result.stdout
    assert len(result.stdout.splitlines()) == 3


def test_pull_of_nothing() -> None:
    result = run("pull")
    assert result.exit_code == 1
    assert "--list" in result.stderr


def test_our_errors_are_one_paragraph_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def pull(name: str, **options: Any) -> Path:
        raise HubError(f"Cannot fetch [bold]{name}[/bold]: {'x' * 200}")

    monkeypatch.setattr(hub, "pull", pull)
    result = run("pull", "something")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"Error: Cannot fetch [bold]something[/bold]: {'x' * 200}\n"
    assert isinstance(run("--debug", "pull", "something").exception, HubError)
    monkeypatch.setenv("LLAMASMITH_DEBUG", "1")
    assert isinstance(run("pull", "something").exception, HubError)


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def pull(name: str, **options: Any) -> Path:
        raise ZeroDivisionError

    monkeypatch.setattr(hub, "pull", pull)
    assert isinstance(run("pull", "something").exception, ZeroDivisionError)


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def pull(name: str, **options: Any) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(hub, "pull", pull)
    assert run("pull", "something").exit_code == 130


@dataclass
class Engine:
    """What `generate` uses of the package, without an engine."""

    asked: dict[str, Any] = field(default_factory=dict)
    pieces: tuple[str, ...] = ("Once", " upon", " a time")
    interrupt: bool = False

    def install(self, monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
        self.asked["model"] = model
        for name in ("load_engine", "ThreadPool", "Model", "Session"):
            monkeypatch.setitem(llamasmith.__dict__, name, getattr(self, name))

    def load_engine(self, name: str | None) -> SimpleNamespace:
        if name == "nope":
            raise InvalidOption("No engine named 'nope'.")
        return SimpleNamespace(name=name or "patched")

    def ThreadPool(self, n_threads: int | None, *, wait: str | None) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(n_threads=n_threads or 2, wait=wait or "spin", close=lambda: None)

    def Model(self, path: str, *, rpc: Any, progress: Any) -> Engine:  # noqa: N802
        assert path == str(self.asked["model"])
        assert list(rpc or ()) == []
        progress(0.5)
        return self

    def Session(self, model: Engine, **options: Any) -> Engine:  # noqa: N802
        self.asked |= options
        return self

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing to close."""

    def stream(self, prompt: str | bytes, **options: Any) -> Engine:
        self.asked |= {"prompt": prompt, **options}
        return self

    def __iter__(self) -> Iterator[str]:
        yield from self.pieces
        if self.interrupt:
            raise KeyboardInterrupt

    @property
    def result(self) -> SimpleNamespace:
        times = SimpleNamespace(prompt_tokens=2, prompt_seconds=0.5, generated_tokens=3, generate_seconds=1.5)
        reason = "interrupted" if self.interrupt else "eos"
        return SimpleNamespace(text="".join(self.pieces), tokens=(1, 2, 3), stop_reason=reason, timings=times)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Engine:
    (tmp_path / "a.gguf").touch()
    fake = Engine()
    fake.install(monkeypatch, tmp_path / "a.gguf")
    return fake


def test_generate_writes_the_text_and_a_last_newline(engine: Engine) -> None:
    result = run("generate", "-m", str(engine.asked["model"]), "Hello")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "Once upon a time\n", "")
    expected = {"prompt": "Hello", "max_tokens": 128, "temperature": 0.8, "top_k": 40, "top_p": 0.95, "stop": ()}
    assert {key: engine.asked[key] for key in expected} == expected
    assert 0 <= engine.asked["seed"] < 2**32


def test_generate_hands_its_options_on(engine: Engine) -> None:
    words = "-n 7 --temperature 0 --top-k 3 --top-p 0.5 --seed 9 --stop a --stop b -t 3 --n-ctx 64 --wait park"
    more = "--flash-attn off --no-stream"
    result = run("generate", "-m", str(engine.asked["model"]), "-", *words.split(), *more.split(), input=b"Hi\n\n")
    assert (result.exit_code, result.stdout) == (0, "Once upon a time\n")
    pool = engine.asked.pop("pool")
    assert (pool.n_threads, pool.wait) == (3, "park")
    assert engine.asked == {
        "model": engine.asked["model"],
        "n_ctx": 64,
        "flash_attn": "off",
        "prompt": b"Hi\n",
        "max_tokens": 7,
        "temperature": 0.0,
        "top_k": 3,
        "top_p": 0.5,
        "seed": 9,
        "stop": ["a", "b"],
    }


def test_generate_json(engine: Engine) -> None:
    result = run("generate", "-m", str(engine.asked["model"]), "Hello", "--json", "--engine", "upstream", "--seed", "4")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {
        "text": "Once upon a time",
        "tokens": [1, 2, 3],
        "stop_reason": "eos",
        "timings": {"prompt_tokens": 2, "prompt_seconds": 0.5, "generated_tokens": 3, "generate_seconds": 1.5},
        "seed": 4,
        "engine": "upstream",
        "model": "a.gguf",
        "n_threads": 2,
        "wait": "spin",
    }


@pytest.mark.parametrize("how", [[], ["--no-stream"], ["--json"]])
def test_ctrl_c_keeps_what_came(how: list[str], engine: Engine) -> None:
    engine.interrupt = True
    result = run("generate", "-m", str(engine.asked["model"]), "Hello", *how)
    assert result.exit_code == 130
    assert "Once upon a time" in result.stdout
    assert result.stdout.endswith("\n")


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["-m", "nope"], 1, "There is no model named 'nope'"),
        (["-m", "/no/such.gguf"], 1, "no file"),
        ([], 2, "--model"),
        (["-m", "x", "--flash-attn", "maybe"], 2, "--flash-attn"),
        (["-m", "x", "--temperature", "-1"], 2, "--temperature"),
        (["-m", "x", "--top-p", "1.5"], 2, "--top-p"),
        (["-m", "x", "-n", "many"], 2, "-n"),
        (["-m", "x", "--seed", "-1"], 2, "--seed"),
    ],
)
def test_generate_refuses(words: list[str], status: int, says: str) -> None:
    result = run("generate", "Hello", *words)
    assert (result.exit_code, result.stdout) == (status, "")
    assert says in result.stderr


def test_an_unknown_engine(engine: Engine) -> None:
    result = run("generate", "-m", str(engine.asked["model"]), "Hello", "--engine", "nope")
    assert (result.exit_code, result.stderr) == (1, "Error: No engine named 'nope'.\n")


def test_help_lists_the_commands() -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert all(name in result.stdout for name in ("doctor", "pull", "generate", "ab", "patches", "--version"))


def child(*words: str, code: str = "from llamasmith.cli.__main__ import main; main()") -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-c", code, *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from llamasmith.cli.__main__ import app\n"
        "heavy = {'numpy', 'scipy', 'huggingface_hub', 'llamasmith._core', 'llamasmith.hub'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    said = child(code=code).communicate(timeout=60)[1]
    assert said == b""


def test_a_reader_that_goes_away_is_no_error() -> None:
    code = (
        "import sys, typer\n"
        "from llamasmith.cli import __main__ as cli\n"
        "@cli.app.command()\n"
        "def flood() -> None:\n"
        "    for _ in range(100_000):\n"
        "        typer.echo('many words')\n"
        "cli.main()"
    )
    process = child("flood", code=code)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=60) == 1
    process.stderr.close()


def test_a_bar_shows_only_what_lasts(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes the stream for a terminal then
    times = iter((0.0, 0.5, 1.5))
    with progress_bar(clock=lambda: next(times)) as show:
        show("Loading", 0.1, 1.0)
        assert capsys.readouterr().err == ""
        show("Loading", 0.2, 1.0)
    assert "Loading" in capsys.readouterr().err
