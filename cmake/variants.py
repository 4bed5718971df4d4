"""Which variants of an engine ``LLAMASMITH_CPU=dispatch`` builds, and what a CPU needs for each.

Called by Dispatch.cmake.

The one table: CMake builds from it, and what it says is written to ``variants.json``, which lies beside the modules and
is read at run time. Names and switches are upstream's (``GGML_CPU_ALL_VARIANTS`` in ggml/src/CMakeLists.txt, to which a
test holds this table); what a CPU needs is more than upstream's score asks for, since a compiler flag allows more than
the instructions it is named for.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from isa import MACROS, X86_SWITCHES

from llamasmith.errors import BuildError


@dataclass(frozen=True)
class Variant:
    """One way to compile the CPU backend. `switches` are upstream's, without ``GGML_`` and ``GGML_INTERNAL_``."""

    name: str
    switches: tuple[str, ...]

    @property
    def file(self) -> str:
        return f"libggml-cpu-{self.name}.so"


def _variants(*rows: str) -> tuple[Variant, ...]:
    return tuple(Variant(name, tuple(switches)) for name, *switches in (row.split() for row in rows))


_HASWELL = "SSE42 AVX F16C FMA AVX2 BMI2"
_SKYLAKEX = f"{_HASWELL} AVX512"

# From the least to the best, in the order of upstream's score.
X86 = _variants(
    "x64",
    "sse42 SSE42",
    "sandybridge SSE42 AVX",
    "ivybridge SSE42 AVX F16C",
    "piledriver SSE42 AVX F16C FMA",
    f"haswell {_HASWELL}",
    f"alderlake {_HASWELL} AVX_VNNI",
    f"skylakex {_SKYLAKEX}",
    f"cannonlake {_SKYLAKEX} AVX512_VBMI",
    f"cascadelake {_SKYLAKEX} AVX512_VNNI",
    f"icelake {_SKYLAKEX} AVX512_VBMI AVX512_VNNI",
    f"cooperlake {_SKYLAKEX} AVX512_VNNI AVX512_BF16",
    f"zen4 {_SKYLAKEX} AVX512_VBMI AVX512_VNNI AVX512_BF16",
    f"sapphirerapids {_SKYLAKEX} AVX512_VBMI AVX512_VNNI AVX512_BF16 AMX_TILE AMX_INT8",
)
_ARM82 = "DOTPROD FP16_VECTOR_ARITHMETIC"
ARM = _variants(
    "armv8.0_1",
    "armv8.2_1 DOTPROD",
    f"armv8.2_2 {_ARM82}",
    f"armv8.2_3 {_ARM82} SVE",
    f"armv8.6_1 {_ARM82} SVE MATMUL_INT8",
    f"armv8.6_2 {_ARM82} SVE MATMUL_INT8 SVE2",
    f"armv9.2_1 {_ARM82} SVE MATMUL_INT8 SME",
    f"armv9.2_2 {_ARM82} SVE MATMUL_INT8 SVE2 SME",
)

# Upstream raises the architecture's version to the first one that had a feature, and with it everything else of that
# version that a compiler may use without being asked to. What no compiler uses by itself is left out: cores that
# upstream means by armv8.6 (Neoverse V1) lack parts of ARMv8.5 (frint, flagm2, sb, bti).
ARM_VERSIONS = {
    "armv8-a": "asimd",
    "armv8.2-a": "asimd atomics crc32 asimdrdm",
    "armv8.6-a": "asimd atomics crc32 asimdrdm asimddp jscvt fcma lrcpc ilrcpc uscat flagm paca i8mm bf16",
    "armv9.2-a": "asimd atomics crc32 asimdrdm asimddp jscvt fcma lrcpc ilrcpc uscat flagm paca i8mm bf16"
    " fphp asimdhp asimdfhm sve svei8mm svebf16 sve2",
}
ARM_SWITCHES = {
    "DOTPROD": ("armv8.2-a", "+dotprod", "asimddp"),
    "FP16_VECTOR_ARITHMETIC": ("armv8.2-a", "+fp16", "fphp asimdhp"),
    "SVE": ("armv8.2-a", "+sve", "sve"),
    "MATMUL_INT8": ("armv8.6-a", "+i8mm", "i8mm"),
    "SVE2": ("armv8.6-a", "+sve2", "sve2"),
    "SME": ("armv9.2-a", "+sme", "sme"),
}


def architecture(processor: str) -> str:
    """``x86_64`` or ``aarch64``; BuildError for others, of which this project knows no variants."""
    if re.match(r"x86_64|amd64", processor, re.IGNORECASE):
        return "x86_64"
    if re.match(r"aarch64|arm64", processor, re.IGNORECASE):
        return "aarch64"
    raise BuildError(
        f"LLAMASMITH_CPU=dispatch knows x86-64 and 64-bit ARM; this processor is {processor}. "
        f"Use LLAMASMITH_CPU=native or baseline."
    )


def table(arch: str) -> tuple[Variant, ...]:
    return X86 if arch == "x86_64" else ARM


def _arm_version(variant: Variant) -> str:
    return max((ARM_SWITCHES[switch][0] for switch in variant.switches), default="armv8-a")


def flags(arch: str, variant: Variant) -> list[str]:
    """The compiler flags that upstream's CMake gives this variant."""
    if arch == "x86_64":
        return [flag for switch in variant.switches for flag in X86_SWITCHES[switch][0].split()]
    # In upstream's order, which is that of the table of switches.
    tags = [tag for switch, (_, tag, _) in ARM_SWITCHES.items() if switch in variant.switches]
    return [f"-march={_arm_version(variant)}{''.join(tags)}"]


def needs(arch: str, variant: Variant) -> list[str]:
    """The features without which this variant must not be loaded."""
    if arch == "x86_64":
        words = [feature for switch in variant.switches for feature in X86_SWITCHES[switch][1].split()]
    else:
        version = _arm_version(variant)
        words = ARM_VERSIONS[version].split()
        words += [feature for switch in variant.switches for feature in ARM_SWITCHES[switch][2].split()]
        if version != "armv8.2-a" and "FP16_VECTOR_ARITHMETIC" in variant.switches:
            words.append("asimdfhm")  # +fp16 brings it from ARMv8.4 on
        if version != "armv8.2-a" and "SVE" in variant.switches:
            words += ["svei8mm", "svebf16"]
    return list(dict.fromkeys(words))


# -- what this compiler can do


def macros(compiler: list[str], extra: list[str]) -> set[str] | str:
    """What the compiler defines with these flags, or why it does not take them."""
    command = [*compiler, *extra, "-dM", "-E", "-x", "c", os.devnull]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return next(iter(done.stderr.strip().splitlines()), "it fails")
    return set(re.findall(r"^#define (\w+)", done.stdout, re.MULTILINE))


def may_use(compiler: list[str], extra: list[str]) -> set[str]:
    """The features that code compiled with these flags may use."""
    found = macros(compiler, extra)
    if isinstance(found, str):
        raise BuildError(f"{' '.join([*compiler, *extra])} does not work: {found}.")
    return {feature for macro, feature in MACROS.items() if macro in found}


def check_base(arch: str, compiler: list[str]) -> None:
    """Whether what is compiled without a variant's flags, libllama and the extension, runs on any CPU."""
    too_new = sorted(may_use(compiler, []) - set(needs(arch, table(arch)[0])))
    if too_new:
        base = "-march=x86-64" if arch == "x86_64" else "-march=armv8-a"
        raise BuildError(
            f"LLAMASMITH_CPU=dispatch is for any CPU, but {' '.join(compiler)} uses {', '.join(too_new)}. "
            f"Take -march, -mcpu and -m... out of CFLAGS and CXXFLAGS; if the compiler does so by default, add {base}."
        )


# Stand-ins for two instructions: they note the address, so that the bytes there can be looked at on any x86-64 machine.
_STAND_IN = re.compile(r"^\s*(ldtilecfg|tileloadd)\s+([^#\n]*?\))(?:,\s*%tmm\d)?\s*(?:#.*)?$", re.MULTILINE)


def _noted(match: re.Match[str]) -> str:
    return (
        f"\tmovq %rax, smith_kept(%rip)\n\tleaq {match[2]}, %rax\n\tmovq %rax, smith_seen(%rip)\n"
        f"\tmovq smith_kept(%rip), %rax"
    )


def amx_reaches_memory(compiler: list[str]) -> bool:
    """Whether this compiler keeps the stores that AMX's loads are to read. Needs no CPU with AMX, unlike the probe that
    LLAMASMITH_CPU=native runs: a wheel is built for other machines, and must not depend on the one that builds it."""
    source = Path(__file__).with_name("probe_amx_stores.c")
    with tempfile.TemporaryDirectory() as folder:
        text, program = Path(folder) / "probe.s", Path(folder) / "probe"
        steps = (
            [*compiler, "-O3", "-mamx-tile", "-fno-pie", "-S", source, "-o", text],
            [*compiler, "-no-pie", text, "-o", program],
        )
        if subprocess.run(steps[0], capture_output=True, check=False).returncode != 0:
            return False
        assembly, found = _STAND_IN.subn(_noted, text.read_text(encoding="utf-8"))
        text.write_text(assembly, encoding="utf-8")
        if found < 2 or subprocess.run(steps[1], capture_output=True, check=False).returncode != 0:
            return False
        return subprocess.run([program], capture_output=True, check=False).returncode == 0


def buildable(arch: str, compiler: list[str], asked: list[str]) -> tuple[list[Variant], dict[str, str]]:
    """The variants that this compiler can build, and why it cannot build the others. BuildError for one asked for."""
    built, left_out = [], {}
    for variant in table(arch):
        if asked and variant.name not in asked:
            left_out[variant.name] = "not asked for (LLAMASMITH_CPU_VARIANTS)"
            continue
        found = macros(compiler, flags(arch, variant))
        why = ""
        if isinstance(found, str):
            why = f"the compiler does not know its flags: {found}"
        elif "AMX_TILE" in variant.switches and not amx_reaches_memory(compiler):
            why = "code for AMX by this compiler does not work: it drops stores that AMX reads; zen4 is the next best"
        if not why:
            built.append(variant)
        elif asked:
            raise BuildError(f"LLAMASMITH_CPU_VARIANTS asks for {variant.name}, but {why}.")
        else:
            left_out[variant.name] = why
    return built, left_out


def check_needs(arch: str, compiler: list[str], built: list[Variant]) -> None:
    """Whether the table names all that the compiler may use."""
    for variant in built:
        missing = sorted(may_use(compiler, flags(arch, variant)) - set(needs(arch, variant)))
        if missing:
            raise BuildError(
                f"With {' '.join(flags(arch, variant))} this compiler may use {', '.join(missing)}, which "
                f"cmake/variants.py does not list for {variant.name}: it could be loaded on a CPU that cannot run it."
            )


def asked_for(arch: str, given: str) -> list[str]:
    known = [variant.name for variant in table(arch)]
    words = [word for word in given.replace(",", ";").split(";") if word]
    for word in words:
        if word not in known:
            close = difflib.get_close_matches(word, known, n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            raise BuildError(f"LLAMASMITH_CPU_VARIANTS names {word!r}.{hint} Allowed: {', '.join(known)}.")
    return words


def record(arch: str, built: list[Variant], left_out: dict[str, str]) -> str:
    rows = [{"name": each.name, "file": each.file, "needs": needs(arch, each)} for each in built]
    return json.dumps({"arch": arch, "variants": rows, "left_out": left_out}, indent=1) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("compiler", "c-flags", "cxx-compiler", "cxx-flags", "processor", "asked", "out"):
        parser.add_argument(f"--{name}", required=True)
    args = parser.parse_args()
    arch = architecture(args.processor)
    compiler = [args.compiler, *args.c_flags.split()]
    check_base(arch, compiler)
    check_base(arch, [args.cxx_compiler, *args.cxx_flags.split()])
    built, left_out = buildable(arch, compiler, asked_for(arch, args.asked))
    check_needs(arch, compiler, built)
    for name, why in left_out.items():
        print(f"llamasmith: variant {name} is left out: {why}", file=sys.stderr)
    out = Path(args.out)
    (out / "variants.json").write_text(record(arch, built, left_out), encoding="utf-8")
    names = " ".join(variant.name for variant in built)
    (out / "variants.cmake").write_text(f"set(LLAMASMITH_VARIANTS_BUILT {names})\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except BuildError as error:
        sys.exit(f"\nllamasmith: {error}\n")
