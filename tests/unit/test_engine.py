from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import llamasmith
from llamasmith.errors import LlamaError

ROOT = Path(__file__).resolve().parents[2]

GENERATE = """
import sys
from llamasmith import load_engine, Model, Session
engine = load_engine(sys.argv[1])
with Session(Model(sys.argv[2]), n_ctx=256, n_threads=2, flash_attn=sys.argv[3]) as session:
    result = session.generate(sys.argv[4], max_tokens=64, temperature=0, ignore_eos=True)
print(engine.name, *result.tokens)
"""


def test_all_engines_were_built() -> None:
    engines = llamasmith.engines()
    by_default = ["patched", "upstream", "upstream-openmp"]
    assert [engine.name for engine in engines] == (
        ["patched"] if llamasmith.build_info().cpu == "dispatch" else by_default
    )
    for engine in engines:
        assert engine.path.is_file()


def test_build_info_tells_the_build() -> None:
    info = llamasmith.build_info()
    assert len(info.pin) == 40
    assert len(info.series_digest) == 64
    series = (ROOT / "patches" / "series").read_text(encoding="utf-8").splitlines()
    assert [patch.name for patch in info.patches] == [line for line in series if line and not line.startswith("#")]
    if not {"LLAMASMITH_BACKENDS", "GGML_BLAS", "GGML_RPC"} & set(info.requested):
        assert info.backends == ("cpu",)
    assert info.asdict()["pin"] == info.pin


def test_importing_loads_no_engine(run_python: Any) -> None:
    code = """
import llamasmith, sys
assert "numpy" not in sys.modules, "numpy"
assert "llamasmith._core" not in sys.modules, "_core"
llamasmith.engines()
assert llamasmith.loaded_engine() is None
maps = open("/proc/self/maps").read()
assert "libggml-cpu" not in maps
"""
    result = run_python(code)
    assert result.returncode == 0, result.stderr


def test_a_variant_that_is_not_there_is_refused(run_python: Any) -> None:
    """Of a single module, as of a build for all CPUs."""
    result = run_python("import llamasmith; llamasmith.load_engine()", LLAMASMITH_CPU_VARIANT="z80")
    assert result.returncode == 1
    assert "InvalidOption: LLAMASMITH_CPU_VARIANT is 'z80'" in result.stderr


def test_default_engine_and_environment(run_python: Any) -> None:
    code = "import llamasmith; print(llamasmith.load_engine().name)"
    assert run_python(code).stdout.split() == ["patched"]
    assert run_python(code, LLAMASMITH_ENGINE="upstream").stdout.split() == ["upstream"]
    assert "EngineNotFound: No engine named 'nope'" in run_python(code, LLAMASMITH_ENGINE="nope").stderr


@pytest.mark.parametrize(("name", "openmp"), [("patched", False), ("upstream", False), ("upstream-openmp", True)])
def test_engine_is_what_it_is_called(run_python: Any, name: str, openmp: bool) -> None:
    code = """
import llamasmith, sys
engine = llamasmith.load_engine(sys.argv[1])
loaded = {line.split(None, 5)[-1].strip() for line in open("/proc/self/maps") if "libggml-cpu" in line}
assert loaded == {str(engine.path)}, loaded
print(engine.openmp, engine.chooses_wait, "REPACK" in engine.features)
"""
    result = run_python(code, name)
    assert result.stdout.split() == [str(openmp), str(name == "patched"), "True"], result.stderr


def test_broken_engine_is_an_error(run_python: Any, tmp_path: Path) -> None:
    broken = tmp_path / "libggml-cpu.so"
    broken.write_bytes(b"\x7fELF" + bytes(100))
    code = """
import sys
from llamasmith import _core
from llamasmith.errors import EngineError
for path in sys.argv[1:]:
    try:
        _core.load_engine(path)
    except EngineError as error:
        print(error)
"""
    result = run_python(code, broken, tmp_path / "absent.so")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("cannot be loaded: load_backend: failed to load") == 2
    assert "doctor" in result.stdout
    assert result.stderr == ""  # said once, by the exception


def tokens_of(run_python: Any, engine: str, model: Path, flash_attn: str, prompt: str) -> list[int]:
    result = run_python(GENERATE, engine, model, flash_attn, prompt)
    name, *tokens = result.stdout.split()
    assert name == engine, result.stderr
    return [int(token) for token in tokens]


def test_engines_agree_on_the_tiny_model(run_python: Any, tiny_path: Path) -> None:
    outputs = [tokens_of(run_python, e.name, tiny_path, "auto", "hello world") for e in llamasmith.engines()]
    assert outputs[0] == outputs[1] == outputs[2]
    assert len(outputs[0]) == 64


@pytest.mark.model
@pytest.mark.parametrize("flash_attn", ["auto", "off"])
def test_engines_agree_on_the_real_model(run_python: Any, smollm2_path: Path, flash_attn: str) -> None:
    prompt = "The three primary colours are"
    outputs = [tokens_of(run_python, e.name, smollm2_path, flash_attn, prompt) for e in llamasmith.engines()]
    assert outputs[0] == outputs[1] == outputs[2]
    assert len(outputs[0]) == 64


@pytest.mark.model
def test_real_model_makes_sense(run_python: Any, smollm2: Any) -> None:
    with llamasmith.Session(smollm2, n_ctx=256) as session:
        assert "Paris" in session.generate("The capital of France is", max_tokens=8, temperature=0).text


def test_unknown_attribute_and_dir() -> None:
    with pytest.raises(AttributeError, match="nonesuch"):
        llamasmith.nonesuch  # noqa: B018
    assert {"Model", "Session", "__version__"} <= set(dir(llamasmith))
    assert issubclass(llamasmith.LlamaError, LlamaError)
    assert llamasmith.__version__
