"""What the build is told with LLAMASMITH_CPU=dispatch, without compiling an engine."""

from __future__ import annotations

import json
import platform
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from scripts import load_script

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
GGML = ROOT / "vendor" / "llama.cpp" / "ggml"
pytestmark = [
    pytest.mark.compile,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="names of variants and flags are x86-64's"),
]


def test_what_the_sub_build_is_told(configure: Callable[..., Any], unpacked: Path, tmp_path: Path) -> None:
    build = tmp_path / "build"
    done = configure(unpacked, build, "LLAMASMITH_CPU=dispatch", "LLAMASMITH_CPU_VARIANTS=x64;haswel")
    assert done.returncode != 0
    assert "LLAMASMITH_CPU_VARIANTS names 'haswel'. Did you mean haswell?" in done.stderr

    # A build folder that stays does not keep what was refused.
    done = configure(unpacked, build, "LLAMASMITH_CPU=dispatch", "LLAMASMITH_CPU_VARIANTS=haswell;x64")
    assert done.returncode == 0, done.stderr
    record = json.loads((build / "build.json").read_text(encoding="utf-8"))
    assert (record["cpu"], record["engines"], record["cpu_flags"]) == ("dispatch", ["patched"], [])
    assert record["requested"] == {"LLAMASMITH_CPU": "dispatch", "LLAMASMITH_CPU_VARIANTS": "haswell;x64"}
    listed = json.loads((build / "variants.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in listed["variants"]] == ["x64", "haswell"]
    (cache,) = build.glob("engine-patched-prefix/tmp/*-cache-*.cmake")
    assert 'set(ENGINE_VARIANTS "x64,haswell" CACHE' in cache.read_text(encoding="utf-8")
    rules = (build / "cmake_install.cmake").read_text(encoding="utf-8")
    for name in ("libggml-cpu-x64.so", "libggml-cpu-haswell.so", "variants.json"):
        assert f"engines/patched/{name}" in rules or f"{build}/{name}" in rules
    assert "libggml-cpu.so" not in rules


@pytest.mark.skipif(not GGML.is_dir(), reason="vendor/llama.cpp is not there; fetch it with: python vendor/fetch.py")
def test_each_variant_is_compiled_with_its_flags_and_the_check_with_none(
    configure: Callable[..., Any], offline: dict[str, str], tmp_path: Path
) -> None:
    offline["SOURCE_DATE_EPOCH"] = "1700000000"  # upstream turns AVX off then
    names = ("x64", "sandybridge", "haswell", "zen4")
    definitions = {
        "CMAKE_EXPORT_COMPILE_COMMANDS": "ON",
        "CMAKE_BUILD_TYPE": "Release",
        "ENGINE_GGML_DIR": str(GGML),
        "ENGINE_OUTPUT_DIR": str(tmp_path / "out"),
        "ENGINE_THREADING_DIR": str(ROOT / "src" / "threading"),
        "ENGINE_CPU_FLAGS": "-falign-functions=64",
        "ENGINE_VARIANTS": ",".join(names),
        "GGML_OPENMP": "OFF",
    }
    build = tmp_path / "build"
    done = configure(ROOT / "cmake" / "engine", build, *(f"{name}={value}" for name, value in definitions.items()))
    assert done.returncode == 0, done.stderr
    commands = json.loads((build / "compile_commands.json").read_text(encoding="utf-8"))
    table = load_script(ROOT / "cmake" / "variants.py")
    flags = {variant.name: table.flags("x86_64", variant) for variant in table.X86}

    def of(target: str, source: str) -> list[str]:
        (line,) = [
            each["command"]
            for each in commands
            if f"/{target}.dir/" in each["command"] and each["file"].endswith(f"/{source}")
        ]
        return re.findall(r"(?<= )-[mf](?!PIC|no-lto)\S+", line)

    for name in names:
        expected = sorted([*flags[name], "-falign-functions=64"])
        for source in ("ggml-cpu.c", "ops.cpp", "steps.c"):  # upstream's, and ours
            found = [flag for flag in of(f"ggml-cpu-{name}", source) if not flag.startswith("-fdiagnostics")]
            assert sorted(found) == expected, (name, source)
        # Upstream's own check, which runs wherever the module is opened.
        assert not [flag for flag in of(f"ggml-cpu-{name}-feats", "cpu-feats.cpp") if flag.startswith("-m")]
