"""cmake/options.py: every definition is understood or refused, and what follows from it is what the build is told."""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from scripts import load_script

from llamasmith.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "cmake" / "options.py"
VENDOR = ROOT / "vendor" / "llama.cpp"
ENGINES = ["patched", "upstream", "upstream-openmp"]
ON_X86 = platform.machine().lower() in {"x86_64", "amd64"}
COMMAND_LINE = "No help, variable specified on the command line."
PLACEMENT = "-falign-functions=64"  # for every CPU: engines differ by what was changed in them, not by where it lies
AMX = "__AVX2__ __AMX_TILE__ __AMX_INT8__"


options = load_script(SCRIPT)
X86_ISA = options.instructions.X86_ISA
KNOWN = {
    *(f"GGML_{name}" for name in ("BLAS", "BLAS_VENDOR", "CUDA", "CUDA_FA", "RPC", "VULKAN", "LLAMAFILE", *X86_ISA)),
    *options.DECIDED,
    "LLAMA_FATAL_WARNINGS",
}


def choose(*words: str, has_openmp: bool = True) -> Any:
    """What the build chooses if these NAME=VALUE words were on its command line."""
    entries = [options.Definition(*word.split("=", 1), by_user=True) for word in words]
    return options.choose(entries, KNOWN, has_openmp=has_openmp)


def isa_flags(choice: Any) -> Any:
    return options.instructions.isa_flags(choice.cpu, choice.engine_args)


def test_nothing_asked_for() -> None:
    choice = choose()
    assert (choice.engines, choice.backends.names, choice.cpu) == (ENGINES, ["cpu"], "native")
    assert (choice.requested, choice.left_out, choice.engine_args) == ({}, {}, [])


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("GGML_BLASS=ON", "GGML_BLASS is not an option .* Did you mean GGML_BLAS.* Our options: LLAMASMITH_BACKENDS, "),
        ("GGML_BLASS=OFF", "Did you mean GGML_BLAS"),
        ("LLAMA_CUBLAS=1", "Did you mean GGML_CUDA"),
        ("LLAMA_AVX512=ON", "Did you mean GGML_AVX512"),
        ("LLAMA_NATIVE=OFF", "Did you mean LLAMASMITH_CPU"),
        ("LLAMASMITH_ENGINE=upstream", "Did you mean LLAMASMITH_ENGINES"),
        ("LLAMASMITH_PATCHES=x", "Did you mean LLAMASMITH_SKIP_PATCHES"),
        ("GGML_XYZZYXYZZYXYZZY=1", r"the pinned llama.cpp\. Our options"),
        ("LLAMASMITH_CPU_FLAGS=-O3", "LLAMASMITH_CPU_FLAGS is not an option"),  # a variable of our own CMake files
        ("LLAMA_CUBLAS=ON", 'Here it is LLAMASMITH_BACKENDS="cpu;cuda"'),
        ("LLAMA_OPENBLAS=ON", 'Did you mean GGML_BLAS. Here it is LLAMASMITH_BACKENDS="cpu;openblas"'),
        ("GGML_CUDA=2", r"GGML_CUDA is '2'\. Allowed: ON, OFF"),
        ("GGML_VULKAN=ON", "only the backends cpu, .* and rpc"),
        ("GGML_BLAS_VENDOR=OpenBLAS", "no effect without the backend openblas: add GGML_BLAS=ON"),
        ("GGML_BLAS_VENDOR=FLAME", "GGML_BLAS_VENDOR=FLAME is not built here: .* OpenBLAS only"),
        ("GGML_AVX2=ON", "add LLAMASMITH_CPU=baseline"),
        ("GGML_NATIVE=ON", "set LLAMASMITH_CPU=native"),
        ("GGML_OPENMP=OFF", "OpenMP is an engine"),
        ("GGML_CPU=OFF", "choose engines with LLAMASMITH_ENGINES"),
        ("GGML_STATIC=TRUE", "cannot be linked statically"),
        ("GGML_BUILD_TESTS=ON", "set LLAMASMITH_UPSTREAM_TESTS=ON"),
        ("LLAMA_BUILD_TESTS=ON", "set LLAMASMITH_UPSTREAM_TESTS=ON"),
        ("LLAMA_BUILD_EXAMPLES=ON", "not part of the package"),
        ("LLAMA_BUILD_SERVER=ON", "set LLAMASMITH_TOOLS=ON"),
        ("LLAMA_FATAL_WARNINGS=ON", "llamasmith decides how libllama is built"),
        ("LLAMASMITH_ENGINES=patchd", r"names 'patchd', which does not exist\. Did you mean patched"),
        ("LLAMASMITH_ENGINES=;", r"is empty\. Allowed: patched, upstream, upstream-openmp"),
        ("LLAMASMITH_CPU=dispatc", "Did you mean dispatch"),
        ("LLAMASMITH_CPU_VARIANTS=haswell", "LLAMASMITH_CPU_VARIANTS has no effect without LLAMASMITH_CPU=dispatch"),
        ("GGML_CPU_ALL_VARIANTS=ON", "set LLAMASMITH_CPU=dispatch"),
        ("LLAMASMITH_BACKENDS=cpu;blas", r"names 'blas', .* Did you mean openblas\? Allowed: cpu, openblas, cuda, rpc"),
        ("LLAMASMITH_BACKENDS=cpu;OpenBLAS", "Did you mean openblas"),
        ("LLAMASMITH_BACKENDS=;", r"LLAMASMITH_BACKENDS is empty\. Allowed: cpu"),
        ("LLAMASMITH_OPENBLAS=mkl", r"LLAMASMITH_OPENBLAS is 'mkl'\. Allowed: auto, wheel, system"),
        ("LLAMASMITH_OPENBLAS=wheel", "no effect without the backend openblas"),
        ("LLAMASMITH_CPU=nativ", "Did you mean native"),
        ("LLAMASMITH_CPU=native;baseline", r"more than one\. Allowed: one of native, baseline, dispatch"),
        ("LLAMASMITH_TOOLS=llama-bench", r"LLAMASMITH_TOOLS is 'llama-bench'\. Allowed: ON, OFF"),
        ("LLAMASMITH_UPSTREAM_TESTS=barrier", r"LLAMASMITH_UPSTREAM_TESTS is 'barrier'\. Allowed: ON, OFF"),
    ],
)
def test_what_is_not_understood_or_has_no_effect_is_refused(word: str, message: str) -> None:
    with pytest.raises(BuildError, match=message) as caught:
        choose(word)
    assert word.partition("=")[0] in str(caught.value)


@pytest.mark.parametrize(
    ("words", "backends"),
    [
        (["LLAMASMITH_BACKENDS=cpu;openblas"], ["cpu", "openblas"]),
        (["LLAMASMITH_BACKENDS=cpu,rpc, openblas,rpc"], ["cpu", "rpc", "openblas"]),
        (["LLAMASMITH_BACKENDS=openblas"], ["openblas"]),
        (["GGML_BLAS=ON"], ["cpu", "openblas"]),
        (["GGML_BLAS=yes", "GGML_BLAS_VENDOR=OpenBLAS", "GGML_RPC=1"], ["cpu", "openblas", "rpc"]),
        (["LLAMASMITH_BACKENDS=cpu;openblas", "GGML_BLAS=ON", "GGML_RPC=OFF"], ["cpu", "openblas"]),
        (["LLAMASMITH_BACKENDS=openblas;cpu", "LLAMASMITH_OPENBLAS=system"], ["openblas", "cpu"]),
    ],
)
def test_backends_by_our_name_and_by_upstreams(words: list[str], backends: list[str]) -> None:
    choice = choose(*words)
    assert choice.backends.names == backends
    assert choice.requested == dict(word.split("=", 1) for word in words)
    assert choice.engine_args == []  # upstream's switch is an alias: no engine must link a BLAS
    assert choice.engines == (ENGINES if "cpu" in backends else [])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["LLAMASMITH_BACKENDS=cpu", "GGML_BLAS=ON"], "asks for the backend openblas, which .*=cpu leaves out"),
        (["LLAMASMITH_BACKENDS=cpu;rpc", "GGML_RPC=OFF"], "asks for the backend rpc, GGML_RPC=OFF leaves it out"),
        (["LLAMASMITH_BACKENDS=cpu;openblas", "GGML_BLAS_VENDOR=Intel10_64lp"], "OpenBLAS only"),
        (["LLAMASMITH_BACKENDS=openblas", "LLAMASMITH_TOOLS=ON"], "builds nothing but backends. Add cpu"),
        (["LLAMASMITH_BACKENDS=openblas", "LLAMASMITH_ENGINES=patched"], "builds nothing but backends. Add cpu"),
    ],
)
def test_contradictions_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(BuildError, match=message):
        choose(*words)


def test_a_backend_that_is_not_written_yet_is_refused_in_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(options.backends.MISSING, "rpc", "somebody writes it")
    with pytest.raises(BuildError, match=r"The backend rpc was asked for: somebody writes it\. Allowed: cpu, "):
        choose("GGML_RPC=ON")


def test_options_of_a_backend_reach_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options.backends, "MISSING", {})
    choice = choose("GGML_CUDA=ON", "GGML_CUDA_FA=OFF")
    assert choice.backends.args == {"cuda": ["-DGGML_CUDA_FA:STRING=OFF"]}
    assert choice.engine_args == []
    with pytest.raises(BuildError, match="GGML_CUDA_FA=ON has no effect without the backend cuda: add GGML_CUDA=ON"):
        choose("GGML_CUDA_FA=ON")


@pytest.mark.parametrize("name", ["LLAMASMITH_CUDA_ARCHITECTURES", "LLAMASMITH_CUDA_MAJOR"])
def test_options_of_cuda_need_it(name: str) -> None:
    with pytest.raises(BuildError, match=f'{name}=90 has no effect without .* LLAMASMITH_BACKENDS="cpu;rpc;cuda"'):
        choose(f"{name}=90", "LLAMASMITH_BACKENDS=cpu;rpc")
    assert choose(f"{name}=90", "GGML_CUDA=ON").requested[name] == "90"


@pytest.mark.parametrize("word", ["GGML_CUDA=OFF", "GGML_CUDA_FA=no", "GGML_NATIVE=0", "GGML_BACKEND_DL=ON"])
def test_what_is_so_anyway_may_be_said(word: str) -> None:
    choice = choose(word)
    assert choice.engine_args == []
    assert choice.requested == dict([word.split("=")])


def test_other_options_reach_the_engines() -> None:
    choice = choose("GGML_LLAMAFILE=OFF", "GGML_AVX2=ON", "GGML_FMA=1", "LLAMASMITH_CPU=baseline")
    assert choice.engine_args == ["-DGGML_LLAMAFILE:STRING=OFF", "-DGGML_AVX2:STRING=ON", "-DGGML_FMA:STRING=1"]
    requested = {"LLAMASMITH_CPU": "baseline", "GGML_LLAMAFILE": "OFF", "GGML_AVX2": "ON", "GGML_FMA": "1"}
    assert choice.requested == requested
    assert isa_flags(choice) == ["-msse4.2", "-mavx2", "-mfma"]


@pytest.mark.parametrize("words", ["GGML_AVX2=ON", "GGML_AVX512=on GGML_F16C=ON", "GGML_AVX2=1 GGML_FMA=OFF"])
def test_what_would_fail_deep_in_the_compiler_is_refused_before(words: str) -> None:
    first = words.split("=")[0]
    with pytest.raises(BuildError, match=f"{first}=ON without GGML_FMA=ON does not compile: .* Add GGML_FMA=ON"):
        choose("LLAMASMITH_CPU=baseline", *words.split())
    choose("LLAMASMITH_CPU=baseline", "GGML_AVX=ON", "GGML_F16C=ON")  # a CPU like that has no FMA
    choose("LLAMASMITH_CPU=baseline", "GGML_AVX2=OFF")


def test_dispatch_builds_what_was_asked_for_and_nothing_else() -> None:
    assert choose("LLAMASMITH_CPU=dispatch").engines == ["patched"]
    assert choose("LLAMASMITH_CPU=dispatch", "LLAMASMITH_ENGINES=patched;upstream").engines == ["patched", "upstream"]
    assert isa_flags(choose("LLAMASMITH_CPU=dispatch")) == []
    with pytest.raises(BuildError, match="GGML_AVX2=ON has no effect here: LLAMASMITH_CPU=dispatch builds a variant"):
        choose("LLAMASMITH_CPU=dispatch", "GGML_AVX2=ON")
    with pytest.raises(BuildError, match="GGML_CPU_ARM_ARCH=armv9-a names one CPU"):
        options.check_upstream_option("GGML_CPU_ARM_ARCH", "armv9-a", "dispatch")


def test_our_series_with_openmp_is_built_on_request_only() -> None:
    assert "patched-openmp" not in choose().engines
    assert choose("LLAMASMITH_ENGINES=patched,patched-openmp").engines == ["patched", "patched-openmp"]


@pytest.mark.parametrize("given", ["upstream;patched", "upstream,patched;upstream"])
def test_engines_in_the_order_of_the_user(given: str) -> None:
    assert choose(f"LLAMASMITH_ENGINES={given}").engines == ["upstream", "patched"]


def test_only_what_differs_from_the_defaults_is_recorded() -> None:
    assert choose("LLAMASMITH_TOOLS=off", "LLAMASMITH_CPU=native").requested == {}
    assert choose("LLAMASMITH_TOOLS=yes").requested == {"LLAMASMITH_TOOLS": "yes"}


def test_missing_openmp_is_left_out_unless_it_was_asked_for() -> None:
    choice = choose(has_openmp=False)
    assert choice.engines == ["patched", "upstream"]
    assert "the compiler has no OpenMP" in choice.left_out["upstream-openmp"]
    with pytest.raises(BuildError, match="asks for upstream-openmp, but the compiler has no OpenMP"):
        choose("LLAMASMITH_ENGINES=patched;upstream-openmp", has_openmp=False)
    with pytest.raises(BuildError, match="asks for patched-openmp, but the compiler has no OpenMP"):
        choose("LLAMASMITH_ENGINES=patched-openmp", has_openmp=False)
    assert choose("LLAMASMITH_ENGINES=patched", has_openmp=False).left_out == {}


def test_the_listing_tells_a_users_word_from_cmakes_own() -> None:
    text = (
        f"GGML_A\tUNINITIALIZED\tfrom a preset\tx\ty\nGGML_B\tSTRING\t\tON\n"
        f"GGML_C\tBOOL\t{COMMAND_LINE}\tON\nGGML_D\tBOOL\tggml: use D\tON\nGGML_E\tINTERNAL\t\t1\n"
    )
    found = [(entry.name, entry.value, entry.by_user) for entry in options.read_listing(text)]
    by_user = [("GGML_A", "x\ty", True), ("GGML_B", "ON", True), ("GGML_C", "ON", True)]
    assert found == [*by_user, ("GGML_D", "ON", False), ("GGML_E", "1", False)]


@pytest.mark.skipif(not VENDOR.is_dir(), reason="vendor/llama.cpp is not there; fetch it with: python vendor/fetch.py")
def test_the_tables_name_what_the_pinned_tree_has() -> None:
    known = options.upstream_options(VENDOR)
    cmake = (VENDOR / "ggml" / "src" / "CMakeLists.txt").read_text(encoding="utf-8").upper()
    assert {*options.backends.UPSTREAMS, "CPU"} == set(re.findall(r"^GGML_ADD_BACKEND\((\w+)\)", cmake, re.MULTILINE))
    assert {f"GGML_{name}" for name in X86_ISA} <= known
    assert set(options.DECIDED) <= known
    assert set(options.RENAMED.values()) <= known | set(options.OUR_DEFAULTS)
    assert not set(options.RENAMED) & known


# -- as the script that CMake runs


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the script for a small tree and returns the finished process; what it writes is in tmp_path."""
    (tmp_path / "llama.cpp" / "ggml").mkdir(parents=True)
    (tmp_path / "UPSTREAM.toml").write_text('commit = "abc"\n')
    (tmp_path / "llama.cpp" / "CMakeLists.txt").write_text('option(LLAMA_X "an option" OFF)\n')
    declared = "".join(f'option(GGML_{name} "ggml: {name}" OFF)\n' for name in ("BLAS", *X86_ISA))
    (tmp_path / "llama.cpp" / "ggml" / "CMakeLists.txt").write_text(declared)

    def run(
        *words: str, compiler: Path | str = "cc", processor: str = platform.machine(), openmp: str = "TRUE"
    ) -> subprocess.CompletedProcess[str]:
        rows = [f"{name}\tUNINITIALIZED\t\t{value}\n" for name, value in (word.split("=", 1) for word in words)]
        (tmp_path / "listing").write_text("".join(rows))
        given = {"listing": tmp_path / "listing", "vendor": tmp_path / "llama.cpp", "openmp": openmp, "out": tmp_path}
        given |= {"compiler": compiler, "compiler-id": "GNU", "processor": processor}
        arguments = [str(word) for name, value in given.items() for word in (f"--{name}", value)]
        return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False)

    return run


def fake_compiler(path: Path, macros: str, probe: str) -> Path:
    """A compiler that defines the macros, and for the AMX probe either fails or writes a program that exits so."""
    build = "exit 1" if probe == "refuses" else f'printf "#!/bin/sh\\nexit {probe}\\n" > "$out"; chmod +x "$out"'
    defines = "\n".join(f'echo "#define {macro} 1"' for macro in macros.split())
    cases = f"*-mno-amx*-dM*) ;;\n*-dM*)\n{defines}\n;;\n*) {build} ;;\n"
    path.write_text(f'#!/bin/sh\nfor out; do :; done\ncase "$*" in\n{cases}esac\n')
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("macros", "probe", "sound"),
    [
        pytest.param("__AVX2__", "1", True, id="no AMX: not even tried"),
        pytest.param(AMX, "0", True, id="AMX works"),
        pytest.param(AMX, "1", False, id="the probe fails"),
        pytest.param(AMX, "refuses", False, id="the probe does not compile"),
    ],
)
def test_amx_is_used_where_it_was_seen_to_work(run: Any, tmp_path: Path, macros: str, probe: str, sound: bool) -> None:
    done = run(compiler=fake_compiler(tmp_path / "cc", macros, probe), processor="x86_64")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "options.json").read_text())
    assert record["engine_flags"] == [PLACEMENT, "-march=native", *([] if sound else options.instructions.AMX_OFF)]
    assert ("amx_tile" in record["cpu_flags"]) == (sound and macros == AMX)
    assert ("AMX is left out" in done.stderr) == (not sound)


def test_arm_has_its_own_flag(run: Any, tmp_path: Path) -> None:
    done = run(compiler=fake_compiler(tmp_path / "cc", "__ARM_FEATURE_DOTPROD", "0"), processor="aarch64")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "options.json").read_text())
    assert (record["engine_flags"], record["cpu_flags"]) == ([PLACEMENT, "-mcpu=native"], ["asimddp"])


@pytest.mark.compile
@pytest.mark.skipif(not ON_X86, reason="these instruction sets are x86's")
def test_the_record_and_what_cmake_is_told(run: Any, tmp_path: Path) -> None:
    done = run("LLAMASMITH_CPU=baseline", "GGML_BLAS=OFF", "GGML_BMI2=1", "GGML_FMA=OFF", openmp="FALSE")
    assert done.returncode == 0, done.stderr
    assert "llamasmith: engine upstream-openmp is left out: the compiler has no OpenMP" in done.stderr
    record = json.loads((tmp_path / "options.json").read_text())
    assert list(record.pop("left_out")) == ["upstream-openmp"]
    requested = {"LLAMASMITH_CPU": "baseline", "GGML_BLAS": "OFF", "GGML_BMI2": "1", "GGML_FMA": "OFF"}
    built = {"engines": ["patched", "upstream"], "backends": ["cpu"], "cpu": "baseline", "engine_flags": [PLACEMENT]}
    assert record == {"requested": requested, **built, "cpu_flags": ["sse4_2", "bmi2"]}

    lines = dict(re.findall(r"set\((\w+) (.*)\)", (tmp_path / "options.cmake").read_text()))
    assert lines["LLAMASMITH_ENGINES_BUILT"] == "[==[patched]==] [==[upstream]==]"
    assert (lines["LLAMASMITH_CORE"], lines.get("LLAMASMITH_BACKENDS_BUILT", "")) == ("[==[ON]==]", "")
    assert lines["LLAMASMITH_CPU_FLAGS"] == f"[==[{PLACEMENT}]==]"
    assert lines["LLAMASMITH_PIN"] == "[==[abc]==]"
    assert lines["LLAMASMITH_REQUESTED_OF_UPSTREAM"] == "[==[GGML_BLAS]==] [==[GGML_BMI2]==] [==[GGML_FMA]==]"
    told = dict(re.findall(r"-DGGML_(\w+):\w+=(\w+)", lines["LLAMASMITH_ENGINE_ARGS"]))
    assert told == {**dict.fromkeys(X86_ISA, "OFF"), "SSE42": "ON", "BMI2": "1"}


def test_a_refusal_is_one_message(run: Any, tmp_path: Path) -> None:
    done = run("GGML_BLASS=ON")
    assert done.returncode == 1
    assert "Did you mean GGML_BLAS?" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "options.cmake").exists()


def test_a_compiler_that_fails_is_shown(run: Any) -> None:
    done = run(compiler="false", processor="x86_64")
    assert done.returncode == 1
    assert "false -march=native -dM -E -x c" in done.stderr
    assert "Use LLAMASMITH_CPU=baseline." in done.stderr
