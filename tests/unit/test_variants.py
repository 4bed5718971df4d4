"""Variants: the table is upstream's, a compiler uses no more than it says, each CPU gets the best that it can run."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from scripts import load_script

from llamasmith import variants as at_run_time
from llamasmith._native import _core
from llamasmith.errors import BuildError, EngineError, InvalidOption
from llamasmith.variants import Choice, Variant, best, choose, explain, read_variants

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "cmake" / "variants.py"
GGML = ROOT / "vendor" / "llama.cpp" / "ggml" / "src"
needs_vendor = pytest.mark.skipif(not GGML.is_dir(), reason="vendor/llama.cpp is not there: python vendor/fetch.py")
needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler, cc (Debian: gcc)")
needs_x86 = pytest.mark.skipif(platform.machine() not in {"x86_64", "AMD64"}, reason="these flags are x86-64's")


table = load_script(SCRIPT)


def all_variants(arch: str = "x86_64") -> tuple[Variant, ...]:
    """As if every variant had been built."""
    rows = table.table(arch)
    return tuple(Variant(row.name, Path(row.file), tuple(table.needs(arch, row))) for row in rows)


# -- the table


@needs_vendor
@pytest.mark.parametrize(
    ("arch", "begin", "end"),
    [
        (
            "x86_64",
            'if (GGML_SYSTEM_ARCH STREQUAL "x86")\n        ggml_add_cpu',
            'elseif(GGML_SYSTEM_ARCH STREQUAL "ARM")',
        ),
        (
            "aarch64",
            'elseif(GGML_SYSTEM_ARCH STREQUAL "ARM")\n        if (CMAKE_SYSTEM_NAME MATCHES "Linux")',
            "Android",
        ),
    ],
)
def test_the_variants_are_upstreams(arch: str, begin: str, end: str) -> None:
    text = (GGML / "CMakeLists.txt").read_text(encoding="utf-8")
    text = text[text.index(begin) :]
    text = text[: text.index(end, len(begin))]
    theirs = {
        name: set(switches.split())
        for name, switches in re.findall(r"ggml_add_cpu_backend_variant\(([\w.]+)([^)]*)\)", text)
    }
    assert theirs == {variant.name: set(variant.switches) for variant in table.table(arch)}


@needs_vendor
@pytest.mark.parametrize(("arch", "folder"), [("x86_64", "x86"), ("aarch64", "arm")])
def test_their_order_is_that_of_upstreams_score(arch: str, folder: str) -> None:
    text = (GGML / "ggml-cpu" / "arch" / folder / "cpu-feats.cpp").read_text(encoding="utf-8")
    text = text[text.index("_score() {") :]
    rows = re.findall(r"#ifdef GGML_(?:USE_)?(\w+)\n.*?score \+= 1(?:<<(\d+))?;\n#endif", text, re.DOTALL)
    points = {name: 1 << int(bit or 0) for name, bit in rows}
    assert len(points) >= 6
    scores = [sum(points.get(switch, 0) for switch in variant.switches) for variant in table.table(arch)]
    assert scores == sorted(set(scores))


@needs_vendor
def test_the_flags_are_upstreams() -> None:
    text = (GGML / "ggml-cpu" / "CMakeLists.txt").read_text(encoding="utf-8")
    x86 = text[text.index("list(APPEND ARCH_FLAGS -march=native)") :]
    blocks = re.findall(
        r"if \(GGML_(\w+)\)\n((?:\s+list\(APPEND ARCH_\w+ [^)]*\)\n)+)", x86[: x86.index("GGML_BACKEND_DL")]
    )
    theirs = {name: re.findall(r"ARCH_FLAGS (-m\S+)\)", body) for name, body in blocks}
    assert theirs == {name: flags.split() for name, (flags, _) in table.X86_SWITCHES.items()}

    arm = text[text.index('set(ARM_MCPU "armv8-a")') : text.index("ggml_add_cpu_backend_features(${GGML_CPU_NAME} arm")]
    blocks = re.findall(r"if \(GGML_INTERNAL_(\w+)\)\n(.*?)endif\(\)", arm, re.DOTALL)
    found = {}
    for name, body in blocks:
        version = re.findall(r'ARM_MCPU "(.*?)"', body)
        found[name] = (version[0] if version else "", re.findall(r"ARCH_TAGS}(\+\w+)", body)[0])
    assert found.pop("NOSVE") == ("", "+nosve")  # Apple's
    assert list(found.items()) == [(name, row[:2]) for name, row in table.ARM_SWITCHES.items()]


def test_every_feature_is_one_that_can_be_read() -> None:
    for arch in ("x86_64", "aarch64"):
        readable = _core.cpu_features(facts(arch))
        for variant in all_variants(arch):
            assert set(variant.needs) <= set(readable), variant.name
    assert all_variants()[0].needs == ()  # runs on any x86-64


@pytest.mark.compile
@needs_cc
@needs_x86
def test_the_compiler_uses_no_more_than_the_table_says() -> None:
    built, _ = table.buildable("x86_64", ["cc"], [])
    assert {"x64", "sse42", "haswell", "skylakex"} <= {variant.name for variant in built}
    table.check_base("x86_64", ["cc", "-march=x86-64"])
    table.check_needs("x86_64", ["cc", "-march=x86-64"], built)
    with pytest.raises(BuildError, match=r"may use movbe, which cmake/variants.py does not list for x64"):
        table.check_needs("x86_64", ["cc", "-march=x86-64", "-mmovbe"], built)
    with pytest.raises(BuildError, match=r"for any CPU, but cc -march=haswell uses abm, avx, .* out of CFLAGS"):
        table.check_base("x86_64", ["cc", "-march=haswell"])


SOUND = """
#include <immintrin.h>
#undef _tile_loadconfig
#undef _tile_loadd
#define _tile_loadconfig(at) __asm__ volatile("ldtilecfg %0" : : "m"(*(const char (*)[64]) (at)))
#define _tile_loadd(tile, at, stride) \\
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm0" : : "r"(at), "r"((long) (stride)) : "memory")
"""
UNSOUND = SOUND.replace(' : "memory"', "")  # as GCC 12 has it


@pytest.mark.compile
@needs_cc
@needs_x86
def test_a_compiler_that_drops_what_amx_reads_is_found(tmp_path: Path) -> None:
    """On any x86-64 machine: neither the program nor the test needs AMX."""
    for name, header in (("sound", SOUND), ("unsound", UNSOUND)):
        (tmp_path / f"{name}.h").write_text(header, encoding="utf-8")
    if isinstance(table.macros(["cc"], ["-mamx-tile"]), str):
        pytest.skip("the compiler does not know AMX")
    assert table.amx_reaches_memory(["cc", "-include", str(tmp_path / "sound.h")])
    assert not table.amx_reaches_memory(["cc", "-include", str(tmp_path / "unsound.h")])
    assert not table.amx_reaches_memory(["cc", "-include", str(tmp_path / "none.h")])


@pytest.mark.compile
@needs_cc
@needs_x86
def test_amx_that_does_not_work_costs_one_variant(monkeypatch: pytest.MonkeyPatch) -> None:
    for sound in (True, False):
        monkeypatch.setattr(table, "amx_reaches_memory", lambda compiler, sound=sound: sound)
        built, left_out = table.buildable("x86_64", ["cc"], [])
        assert ("sapphirerapids" in {variant.name for variant in built}) == sound
        assert ("AMX" in left_out.get("sapphirerapids", "")) != sound
    with pytest.raises(BuildError, match="LLAMASMITH_CPU_VARIANTS asks for sapphirerapids, but code for AMX"):
        table.buildable("x86_64", ["cc"], ["sapphirerapids"])


def test_a_compiler_that_knows_little(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_text('#!/bin/sh\ncase "$*" in *avx512*|*avxvnni*) echo "error: what is this?" >&2; exit 1;; esac\n')
    old.chmod(0o755)
    built, left_out = table.buildable("x86_64", [str(old)], [])
    assert [variant.name for variant in built][-1] == "haswell"
    assert left_out["zen4"] == "the compiler does not know its flags: error: what is this?"
    with pytest.raises(BuildError, match="asks for zen4, but the compiler does not know its flags"):
        table.buildable("x86_64", [str(old)], ["x64", "zen4"])
    built, left_out = table.buildable("x86_64", [str(old)], ["x64"])
    assert ([variant.name for variant in built], left_out["haswell"][:9]) == (["x64"], "not asked")


def test_words_of_the_user() -> None:
    assert table.asked_for("x86_64", "") == []
    assert table.asked_for("x86_64", "x64,haswell;") == ["x64", "haswell"]
    with pytest.raises(BuildError, match=r"names 'haswel'\. Did you mean haswell\? Allowed: x64, sse42"):
        table.asked_for("x86_64", "haswel")
    with pytest.raises(BuildError, match="knows x86-64 and 64-bit ARM; this processor is riscv64"):
        table.architecture("riscv64")
    assert (table.architecture("AMD64"), table.architecture("arm64")) == ("x86_64", "aarch64")


# -- the choice, on CPUs of which we know what they have

# Bits as Intel's and AMD's manuals and Linux's asm/hwcap.h number them; written down apart from src/machine/cpu.c.
X86_BITS = {
    "leaf1_ecx": {"pni": 0, "ssse3": 9, "fma": 12, "sse4_1": 19, "sse4_2": 20, "movbe": 22, "popcnt": 23, "xsave": 26,
                  "osxsave": 27, "avx": 28, "f16c": 29},
    "leaf7_ebx": {"bmi1": 3, "avx2": 5, "bmi2": 8, "avx512f": 16, "avx512dq": 17, "avx512cd": 28, "avx512bw": 30,
                  "avx512vl": 31},
    "leaf7_ecx": {"avx512vbmi": 1, "avx512_vnni": 11},
    "leaf7_edx": {"amx_bf16": 22, "amx_tile": 24, "amx_int8": 25},
    "leaf7_1_eax": {"avx_vnni": 4, "avx512_bf16": 5},
    "ext1_ecx": {"abm": 5},
}  # fmt: skip
ARM_BITS = {
    "hwcap": "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm jscvt fcma lrcpc dcpop "
    "sha3 sm3 sm4 asimddp sha512 sve asimdfhm dit uscat ilrcpc flagm ssbs sb paca pacg",
    "hwcap2": "dcpodp sve2 sveaes svepmull svebitperm svesha3 svesm4 flagm2 frint svei8mm svef32mm svef64mm svebf16 "
    "i8mm bf16 dgh rng bti mte ecv afp rpres mte3 sme",
}
YMM, ZMM, TILES = 0x7, 0xE7, 0x600E7

NEHALEM = "pni ssse3 sse4_1 sse4_2 popcnt"
SANDY_BRIDGE = f"{NEHALEM} xsave osxsave avx"
HASWELL = f"{SANDY_BRIDGE} f16c fma movbe abm bmi1 avx2 bmi2"
SKYLAKE_X = f"{HASWELL} avx512f avx512dq avx512cd avx512bw avx512vl"
ZEN4 = f"{SKYLAKE_X} avx512vbmi avx512_vnni avx512_bf16"
SAPPHIRE_RAPIDS = f"{ZEN4} avx_vnni amx_bf16 amx_tile amx_int8"
CORTEX_A72 = "fp asimd evtstrm crc32 cpuid"
CORTEX_A76 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
A64FX = "fp asimd evtstrm sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm fcma dcpop sve"
NEOVERSE_V1 = (
    f"{CORTEX_A76} jscvt fcma sha3 sm3 sm4 sha512 sve asimdfhm dit uscat ilrcpc flagm ssbs paca pacg dcpodp svei8mm "
    "svebf16 i8mm bf16 dgh rng"
)


def facts(arch: str, flags: str = "", xcr0: int = 0, tiles: bool = False) -> Any:
    """What _core.cpu_facts() would say on a CPU with these flags."""
    has = set(flags.split())
    registers = {
        name: sum(1 << bit for flag, bit in bits.items() if flag in has) if arch == "x86_64" else 0
        for name, bits in X86_BITS.items()
    }
    for name, flags_in_order in ARM_BITS.items():
        registers[name] = sum(
            1 << bit for bit, flag in enumerate(flags_in_order.split()) if flag in has and arch == "aarch64"
        )
    return {"arch": arch, "xcr0": xcr0, "tiles": tiles, **registers}


@pytest.mark.parametrize(
    ("flags", "xcr0", "tiles", "expected"),
    [
        pytest.param("pni ssse3 sse4_1", 0, False, "x64", id="Penryn"),
        pytest.param(NEHALEM, 0, False, "sse42", id="Nehalem"),
        pytest.param(SANDY_BRIDGE, YMM, False, "sandybridge", id="Sandy Bridge"),
        pytest.param(SANDY_BRIDGE.replace("osxsave", ""), 0, False, "sse42", id="Sandy Bridge, a kernel without XSAVE"),
        pytest.param(SANDY_BRIDGE, 0x3, False, "sse42", id="Sandy Bridge, AVX switched off"),
        pytest.param(f"{SANDY_BRIDGE} f16c", YMM, False, "ivybridge", id="Ivy Bridge"),
        pytest.param(f"{SANDY_BRIDGE} f16c fma bmi1 abm", YMM, False, "piledriver", id="Piledriver"),
        pytest.param(HASWELL, YMM, False, "haswell", id="Haswell"),
        pytest.param(HASWELL, 0x3, False, "sse42", id="Haswell, AVX switched off"),
        pytest.param(SKYLAKE_X, ZMM, False, "skylakex", id="Skylake-X"),
        pytest.param(SKYLAKE_X, YMM, False, "haswell", id="Skylake-X, AVX-512 state switched off"),
        pytest.param(SKYLAKE_X, 0x67, False, "haswell", id="Skylake-X, one of three states missing"),
        pytest.param(f"{SKYLAKE_X} avx512_vnni", ZMM, False, "cascadelake", id="Cascade Lake"),
        pytest.param(f"{SKYLAKE_X} avx512_vnni avx512_bf16", ZMM, False, "cooperlake", id="Cooper Lake"),
        pytest.param(f"{SKYLAKE_X} avx512_vnni avx512vbmi", ZMM, False, "icelake", id="Ice Lake"),
        pytest.param(f"{SKYLAKE_X} avx512vbmi", ZMM, False, "cannonlake", id="Cannon Lake"),
        pytest.param(ZEN4, 0x2E7, False, "zen4", id="Zen 4"),
        pytest.param(f"{ZEN4} avx_vnni", 0x2E7, False, "zen4", id="Zen 5"),
        pytest.param(f"{HASWELL} avx_vnni", 0x207, False, "alderlake", id="Alder Lake"),
        pytest.param(SAPPHIRE_RAPIDS, TILES, True, "sapphirerapids", id="Sapphire Rapids"),
        pytest.param(SAPPHIRE_RAPIDS, TILES, False, "zen4", id="Sapphire Rapids, no permission for tiles"),
        pytest.param(SAPPHIRE_RAPIDS, ZMM, False, "zen4", id="Sapphire Rapids, tiles switched off"),
        pytest.param(SAPPHIRE_RAPIDS, 0x200E7, True, "zen4", id="Sapphire Rapids, half of the tiles' state"),
        pytest.param(SAPPHIRE_RAPIDS, YMM, False, "alderlake", id="Sapphire Rapids, AVX-512 state switched off"),
    ],
)
def test_what_runs_on_x86(flags: str, xcr0: int, tiles: bool, expected: str) -> None:
    found = best(all_variants(), _core.cpu_features(facts("x86_64", flags, xcr0, tiles)))
    assert found is not None
    assert found.name == expected


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        pytest.param(CORTEX_A72, "armv8.0_1", id="Raspberry Pi 4"),
        pytest.param(CORTEX_A76, "armv8.2_2", id="Raspberry Pi 5"),
        pytest.param(f"{CORTEX_A76} ssbs", "armv8.2_2", id="Neoverse N1"),
        pytest.param(A64FX, "armv8.0_1", id="A64FX, SVE without dot products"),
        pytest.param(NEOVERSE_V1, "armv8.6_1", id="Neoverse V1"),
        pytest.param(NEOVERSE_V1.replace("paca pacg", ""), "armv8.2_3", id="Neoverse V1, a kernel without PAC"),
        pytest.param(f"{NEOVERSE_V1} sve2 frint flagm2 sb bti", "armv8.6_2", id="Neoverse V2"),
        pytest.param(f"{NEOVERSE_V1} sve2 sme", "armv9.2_2", id="SVE2 and SME"),
    ],
)
def test_what_runs_on_arm(flags: str, expected: str) -> None:
    found = best(all_variants("aarch64"), _core.cpu_features(facts("aarch64", flags)))
    assert found is not None
    assert found.name == expected


def test_this_machine_as_the_kernel_sees_it() -> None:
    found = _core.cpu_features(_core.cpu_facts())
    lines = (line.partition(":") for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines())
    flags = next((set(flags.split()) for key, _, flags in lines if key.strip() in {"flags", "Features"}), None)
    if not flags or not found:
        pytest.skip("/proc/cpuinfo does not list this CPU's features")
    flags = {"sse3" if flag == "pni" else flag for flag in flags}
    tiles = {"amx_tile", "amx_int8"}  # these are a permission of each process as well
    assert {name for name, state in found.items() if state == "usable"} - tiles == flags & set(found) - tiles


def features(flags: str, xcr0: int) -> Mapping[str, str]:
    return _core.cpu_features(facts("x86_64", flags, xcr0))


def test_the_environment_overrides_but_never_to_what_cannot_run() -> None:
    variants = all_variants()
    haswell = features(HASWELL, YMM)
    assert choose(variants, haswell, {}) == Choice(variants[5], False, haswell)
    forced = choose(variants, haswell, {"LLAMASMITH_CPU_VARIANT": "sse42"})
    assert (forced.variant.name, forced.asked_for) == ("sse42", True)
    with pytest.raises(InvalidOption, match=r"is 'haswel'\. Did you mean 'haswell'\? Allowed: x64, sse42, "):
        choose(variants, haswell, {"LLAMASMITH_CPU_VARIANT": "haswel"})
    with pytest.raises(InvalidOption, match=r"LLAMASMITH_CPU_VARIANT is ''\. Allowed"):
        choose(variants, haswell, {"LLAMASMITH_CPU_VARIANT": ""})
    with pytest.raises(
        EngineError,
        match=r"cannot run: it needs avx_vnni, which this CPU does not have.*best that it can run is haswell",
    ):
        choose(variants, haswell, {"LLAMASMITH_CPU_VARIANT": "alderlake"})
    with pytest.raises(EngineError, match=r"avx512f.*, which the operating system .* has not switched on"):
        choose(variants, features(SKYLAKE_X, YMM), {"LLAMASMITH_CPU_VARIANT": "skylakex"})
    with pytest.raises(EngineError, match=r"No variant of the engine runs on this CPU: even haswell needs sse3, "):
        choose(variants[5:], features("", 0), {})
    with pytest.raises(InvalidOption, match=r"is 'x64', but the engine upstream is a single module"):
        at_run_time.refuse_without_variants("upstream", {"LLAMASMITH_CPU_VARIANT": "x64"})


def test_why_this_variant_in_words() -> None:
    variants, haswell = all_variants(), features(HASWELL, YMM)
    assert explain(choose(variants, haswell, {}), variants, {}) == (
        "the best that runs here; alderlake needs avx_vnni, which this CPU does not have"
    )
    asked = choose(variants, haswell, {"LLAMASMITH_CPU_VARIANT": "sse42"})
    assert explain(asked, variants, {}) == (
        "LLAMASMITH_CPU_VARIANT asks for it; haswell is better and would run; "
        "alderlake needs avx_vnni, which this CPU does not have"
    )
    barred = explain(choose(variants, features(ZEN4, YMM), {}), variants, {})
    assert "; alderlake needs avx_vnni, which this CPU does not have; zen4 needs avx512f, avx512cd, " in barred
    assert barred.endswith(", which the operating system (or the virtual machine) has not switched on")
    zen4 = choose(variants[:-1], features(SAPPHIRE_RAPIDS, ZMM), {})
    assert explain(zen4, variants[:-1], {"sapphirerapids": "no AMX"}) == (
        "the best that runs here; none that was built is better; sapphirerapids was not built: no AMX"
    )


# -- the list beside the modules


def test_what_the_build_writes_is_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "variants.json").write_text(table.record("x86_64", list(table.X86), {"more": "why"}), encoding="utf-8")
    variants, left_out = read_variants(tmp_path)
    assert [variant.name for variant in variants] == [variant.name for variant in table.X86]
    assert variants[5].path == tmp_path / "libggml-cpu-haswell.so"
    assert (variants[0].needs, left_out) == ((), {"more": "why"})
    assert read_variants(tmp_path / "nothing") == ((), {})


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"variants": [{"name": "x64"}], "left_out": {}}', "cannot be read"),
        ('{"variants": [], "left_out": {}}', "lists no variant"),
        (
            '{"variants": [{"name": "a", "file": "/tmp/libggml-cpu-a.so", "needs": []}], "left_out": {}}',
            "another folder",
        ),
        ('{"variants": [{"name": "a", "file": "evil.so", "needs": []}], "left_out": {}}', "names the variant 'a' in"),
        ('{"variants": [{"name": "../a", "file": "x", "needs": []}], "left_out": {}}', "names the variant '../a'"),
    ],
)
def test_a_damaged_list_is_refused(tmp_path: Path, record: str, message: str) -> None:
    (tmp_path / "variants.json").write_text(record, encoding="utf-8")
    with pytest.raises(BuildError, match=re.escape(message)):
        read_variants(tmp_path)


# -- as the script that CMake runs


@pytest.mark.compile
@needs_cc
@needs_x86
def test_the_script(tmp_path: Path) -> None:
    def run(*changes: str) -> subprocess.CompletedProcess[str]:
        given = {"compiler": "cc", "c-flags": "", "cxx-compiler": "cc", "cxx-flags": "", "processor": "x86_64"}
        given |= {"asked": "sse42;x64", "out": str(tmp_path), **dict(change.split("=", 1) for change in changes)}
        command = [sys.executable, str(SCRIPT), *(f"--{name}={value}" for name, value in given.items())]
        env = {**os.environ, "PYTHONPATH": str(ROOT / "python")}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=env)

    done = run()
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "variants.cmake").read_text() == "set(LLAMASMITH_VARIANTS_BUILT x64 sse42)\n"
    record = json.loads((tmp_path / "variants.json").read_text())
    assert [row["name"] for row in record["variants"]] == ["x64", "sse42"]
    assert "llamasmith: variant haswell is left out: not asked for" in done.stderr
    for change, message in (
        ("cxx-flags=-mavx2", "uses avx, avx2,"),
        ("c-flags=-march=native", "LLAMASMITH_CPU=dispatch is for any CPU, but cc -march=native uses"),
        ("asked=zen5", "Did you mean zen4?"),
        ("processor=s390x", "this processor is s390x"),
    ):
        done = run(change)
        assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
        assert message in done.stderr
