"""A package for all CPUs, on CPUs that this machine does not have: qemu-user refuses what the CPU it plays lacks.

Needs a build with ``LLAMASMITH_CPU=dispatch``: this installation, or the one whose interpreter is named in
``LLAMASMITH_TEST_DISPATCH_PYTHON``. qemu has no AVX-512: variants that need it are proven on a machine that has it.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

NAMED = "LLAMASMITH_TEST_DISPATCH_PYTHON"
FACTS = """
import json, llamasmith
from llamasmith.build import package_root
(engine, *_) = llamasmith.engines()
print(json.dumps({"cpu": llamasmith.build_info().cpu, "root": str(package_root()), "best": engine.variant,
                  "variants": engine.variants}))
"""
# What a user does: import, load, generate; then which modules the process has mapped.
GENERATE = """
import json, sys
from llamasmith import Model, Session, load_engine
engine = load_engine()
with Model(sys.argv[1]) as model, Session(model, n_ctx=128, n_threads=2) as session:
    tokens = session.generate("hello world", max_tokens=8, temperature=0, ignore_eos=True).tokens
mapped = {line.split()[-1] for line in open("/proc/self/maps") if "libggml-cpu" in line}
print(json.dumps({"variant": engine.variant, "path": str(engine.path), "mapped": sorted(mapped), "tokens": tokens,
                  "reason": engine.variant_reason, "features": engine.features}))
"""
CPUS = [
    ("Nehalem", "sse42", "sandybridge needs avx, which this CPU does not have"),
    ("SandyBridge", "sandybridge", "ivybridge needs f16c, which"),
    ("IvyBridge", "ivybridge", "piledriver needs fma, which"),
    ("Opteron_G5", "piledriver", "haswell needs avx2, bmi2, which"),
    ("Haswell", "haswell", "alderlake needs avx_vnni, which"),
    ("max", "haswell", "alderlake needs avx_vnni, which"),
]


@dataclass(frozen=True)
class Installation:
    """An interpreter, and the package for all CPUs that it sees."""

    python: str
    root: Path
    best: str
    variants: tuple[str, ...]

    def run(self, code: str, *args: object, cpu: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        qemu = [_qemu(), "-cpu", cpu] if cpu else []
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LLAMASMITH_")}
        command = [*qemu, self.python, "-c", code, *map(str, args)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env={**kept, **env}, cwd="/")

    def generate(self, model: Path, cpu: str = "", **env: str) -> dict[str, Any]:
        done = self.run(GENERATE, model, cpu=cpu, **env)
        assert done.returncode == 0, f"exit status {done.returncode}: {done.stderr[-3000:]}"
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found


def _qemu() -> str:
    found = shutil.which("qemu-x86_64")
    if found is None or platform.machine() != "x86_64":
        pytest.skip("needs qemu-x86_64 on an x86-64 machine (Debian: apt-get install qemu-user)")
    return found


@pytest.fixture(scope="module")
def dispatch() -> Installation:
    named = os.environ.get(NAMED)
    python = named or sys.executable
    done = subprocess.run([python, "-c", FACTS], capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    if facts["cpu"] != "dispatch":
        assert not named, f"{NAMED} names {named}, whose package is built for the CPU {facts['cpu']!r}"
        pytest.skip(
            "needs a build with LLAMASMITH_CPU=dispatch: ci/core-wheel makes one and runs these tests with it. Or "
            "install one into an environment of its own (pip install . -C cmake.define.LLAMASMITH_CPU=dispatch), and "
            f"name its interpreter in {NAMED}"
        )
    return Installation(python, Path(facts["root"]), facts["best"], tuple(facts["variants"]))


@pytest.fixture(scope="module")
def tokens(dispatch: Installation, tiny_path: Path) -> list[int]:
    """What the best variant generates on this machine."""
    found: list[int] = dispatch.generate(tiny_path)["tokens"]
    return found


def test_only_the_best_variant_is_opened(dispatch: Installation, tiny_path: Path) -> None:
    found = dispatch.generate(tiny_path)
    assert found["variant"] == dispatch.best
    assert (
        found["mapped"] == [found["path"]] == [str(dispatch.root / f"engines/patched/libggml-cpu-{dispatch.best}.so")]
    )
    assert len(found["tokens"]) == 8
    assert found["reason"].startswith("the best that runs here")


@pytest.mark.parametrize(("cpu", "variant", "why"), CPUS, ids=[cpu for cpu, *_ in CPUS])
def test_a_cpu_gets_its_variant_and_no_illegal_instruction(
    dispatch: Installation, tiny_path: Path, tokens: list[int], cpu: str, variant: str, why: str
) -> None:
    if not {variant, why.split()[0]} <= set(dispatch.variants):
        pytest.skip(f"the build has only the variants {', '.join(dispatch.variants)}")
    found = dispatch.generate(tiny_path, cpu=cpu)
    assert found["variant"] == variant
    assert found["mapped"] == [found["path"]]
    assert why in found["reason"]
    assert found["tokens"] == tokens


def test_qemu_would_have_caught_an_illegal_instruction(dispatch: Installation, tiny_path: Path) -> None:
    """The proof above is worth something: opened past our choice and upstream's check, a new variant ends a process."""
    code = """
import ctypes, sys
ctypes.CDLL(sys.argv[1] + "/lib/libggml-base.so", mode=ctypes.RTLD_GLOBAL)
engine = ctypes.CDLL(sys.argv[1] + "/engines/patched/libggml-cpu-haswell.so")
engine.ggml_backend_score.restype = ctypes.c_int
print("score", engine.ggml_backend_score())
engine.ggml_cpu_init()
print("alive")
"""
    done = dispatch.run(code, dispatch.root, cpu="Nehalem")
    assert done.returncode == -4, (done.returncode, done.stdout, done.stderr)  # SIGILL


def test_a_variant_that_is_too_new_is_refused_and_not_run(dispatch: Installation, tiny_path: Path) -> None:
    done = dispatch.run(GENERATE, tiny_path, cpu="Nehalem", LLAMASMITH_CPU_VARIANT="haswell")
    assert done.returncode == 1, done.stderr
    assert re.search(
        r"LLAMASMITH_CPU_VARIANT is 'haswell', which this machine cannot run: it needs avx,.*", done.stderr
    )
    assert "the best that it can run is sse42" in done.stderr


def test_every_variant_that_runs_here_generates_the_same(
    dispatch: Installation, tiny_path: Path, tokens: list[int]
) -> None:
    """On the machine itself, and so those with AVX-512 too where it has that."""
    ran = []
    for variant in dispatch.variants:
        done = dispatch.run(GENERATE, tiny_path, LLAMASMITH_CPU_VARIANT=variant)
        if done.returncode == 0:
            found = json.loads(done.stdout.splitlines()[-1])
            assert (found["variant"], found["tokens"]) == (variant, tokens)
            ran.append(variant)
        else:
            assert "which this machine cannot run: it needs" in done.stderr, done.stderr
    assert {dispatch.variants[0], dispatch.best} <= set(ran)


def test_doctor_says_which_variant_and_why(dispatch: Installation) -> None:
    command = "from llamasmith.cli.__main__ import main; import sys; sys.argv[1:] = ['doctor', '--json']; main()"
    done = dispatch.run(command)
    assert done.returncode == 0, done.stdout + done.stderr
    (engine,) = [state for state in json.loads(done.stdout)["engines"] if state["name"] == "patched"]
    assert (engine["variant"], tuple(engine["variants"])) == (dispatch.best, dispatch.variants)
    assert engine["variant_reason"].startswith("the best that runs here")
    done = dispatch.run(command, LLAMASMITH_CPU_VARIANT="z80")
    assert done.returncode == 1
    assert "unset LLAMASMITH_CPU_VARIANT" in done.stdout


def test_the_folder_holds_what_its_list_says_without_symbols(dispatch: Installation) -> None:
    folder = dispatch.root / "engines" / "patched"
    record = json.loads((folder / "variants.json").read_text(encoding="utf-8"))
    files = {row["file"] for row in record["variants"]}
    assert {path.name for path in folder.glob("*.so")} == files
    readelf = shutil.which("readelf")
    if readelf is None:
        pytest.skip("readelf is not there (Debian: apt-get install binutils)")
    for file in files:
        sections = subprocess.run([readelf, "-SW", folder / file], capture_output=True, text=True, check=True).stdout
        assert ".dynsym" in sections
        assert ".symtab" not in sections


def test_what_all_variants_share_runs_on_any_cpu(dispatch: Installation) -> None:
    """libllama, ggml's base, the extension, the least variant: no register that only newer CPUs have."""
    objdump = shutil.which("objdump")
    if objdump is None or platform.machine() != "x86_64":
        pytest.skip("needs objdump on an x86-64 machine (Debian: apt-get install binutils)")
    shared = [*(dispatch.root / "lib").glob("*.so"), *dispatch.root.glob("_core.*.so")]
    if "x64" in dispatch.variants:
        shared.append(dispatch.root / "engines/patched/libggml-cpu-x64.so")
    for library in shared:
        command = f"{objdump} -d --no-show-raw-insn '{library}' | grep -m3 -E '%[yz]mm|%tmm|%k[0-7]|\tv[a-z0-9]+ '"
        found = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
        assert found.stdout == "", f"{library}: {found.stdout}"
    if "haswell" in dispatch.variants:  # the search finds what it looks for
        library = dispatch.root / "engines/patched/libggml-cpu-haswell.so"
        text = subprocess.run([objdump, "-d", library], capture_output=True, text=True, check=True).stdout
        assert "%ymm" in text
