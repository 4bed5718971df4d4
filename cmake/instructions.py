"""For which CPU the engines are compiled: LLAMASMITH_CPU, and upstream's switches for instruction sets.

Used by options.py.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import isa
from values import check_list, truth

from llamasmith.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CPU_CHOICES = ("native", "baseline", "dispatch")
X86_ISA = {name: flags for name, (flags, _) in isa.X86_SWITCHES.items()}

# What a compiler for this machine may define -> flags of /proc/cpuinfo that the engines will need where they run.
MACRO_FLAGS = {
    macro: isa.MACROS[macro]
    for macro in (
        "__SSE4_2__",
        "__AVX__",
        "__AVX2__",
        "__FMA__",
        "__F16C__",
        "__BMI__",
        "__BMI2__",
        "__LZCNT__",
        "__MOVBE__",
        "__AVXVNNI__",
        "__AVX512F__",
        "__AVX512CD__",
        "__AVX512BW__",
        "__AVX512DQ__",
        "__AVX512VL__",
        "__AVX512VBMI__",
        "__AVX512VNNI__",
        "__AVX512BF16__",
        "__AVX512FP16__",
        "__AMX_TILE__",
        "__AMX_INT8__",
        "__AMX_BF16__",
        "__ARM_FEATURE_DOTPROD",
        "__ARM_FEATURE_MATMUL_INT8",
        "__ARM_FEATURE_SVE",
        "__ARM_FEATURE_FP16_VECTOR_ARITHMETIC",
    )
}

# Every function begins a cache line, in every engine. Else a patch that makes one function longer moves the loops of
# all that follow, and a hot loop may run some percent faster or slower for where it lies: a difference between engines
# that is nobody's merit (seen: 2 % of prompt speed, in a function that no patch touches).
PLACEMENT = ["-falign-functions=64"]

AMX_OFF = ["-mno-amx-tile", "-mno-amx-int8", "-mno-amx-bf16"]


def choose_cpu(given: str, variants: str) -> str:
    """The value of LLAMASMITH_CPU. Raises BuildError for another one, and for variants without dispatch."""
    if len(check_list("LLAMASMITH_CPU", given, CPU_CHOICES)) > 1:
        raise BuildError(
            f"LLAMASMITH_CPU is {given!r}, which is more than one. Allowed: one of {', '.join(CPU_CHOICES)}."
        )
    if variants and given != "dispatch":
        raise BuildError("LLAMASMITH_CPU_VARIANTS has no effect without LLAMASMITH_CPU=dispatch.")
    return given


def is_about(name: str) -> bool:
    """Whether an option of upstream's chooses instruction sets."""
    return name == "GGML_CPU_ARM_ARCH" or name.removeprefix("GGML_") in X86_ISA


def refuse_switch(name: str, value: str, cpu: str) -> None:
    """Raises where ``cpu`` decides what this switch of upstream's would."""
    if name == "GGML_CPU_ARM_ARCH":
        if cpu == "dispatch":
            raise BuildError(
                f"{name}={value} names one CPU, and LLAMASMITH_CPU=dispatch builds for all. Leave one out."
            )
        return
    if cpu == "native":
        raise BuildError(
            f"{name}={value}: LLAMASMITH_CPU=native already uses what this machine has; "
            f"to choose instruction sets yourself, add LLAMASMITH_CPU=baseline."
        )
    if cpu == "dispatch":
        raise BuildError(
            f"{name}={value} has no effect here: LLAMASMITH_CPU=dispatch builds a variant for each kind of CPU; "
            f"choose among them with LLAMASMITH_CPU_VARIANTS."
        )


def check_fma(requested: Mapping[str, str]) -> None:
    """Upstream's code for AVX2 and newer uses FMA, and does not compile without."""
    on = {name for name, value in requested.items() if truth(value) == "ON"}
    newer = [name for name in requested if re.match(r"GGML_(AVX2|AVX_VNNI|AVX512.*)$", name) and name in on]
    if newer and "GGML_FMA" not in on:
        raise BuildError(
            f"{newer[0]}=ON without GGML_FMA=ON does not compile: upstream's code for it uses FMA. Add GGML_FMA=ON; "
            f"every CPU with AVX2 has it, and F16C and BMI2 as well (GGML_F16C=ON, GGML_BMI2=ON)."
        )


def isa_args(cpu: str, engine_args: Sequence[str]) -> list[str]:
    """Upstream's own switches for instruction sets, each set explicitly: their defaults depend on the environment."""
    given = {arg[2:].partition(":")[0] for arg in engine_args}
    on = {"SSE42"} if cpu == "baseline" else set()
    names = [name for name in X86_ISA if f"GGML_{name}" not in given]
    return [f"-DGGML_{name}:BOOL={'ON' if name in on else 'OFF'}" for name in names]


def isa_flags(cpu: str, engine_args: Sequence[str]) -> list[str]:
    """The compiler flags that these switches become."""
    switches = dict(re.findall(r"-DGGML_(\w+):\w+=(.*)", "\n".join([*engine_args, *isa_args(cpu, engine_args)])))
    return [flag for name, flags in X86_ISA.items() if truth(switches[name]) == "ON" for flag in flags.split()]


def amx_is_sound(compiler: str, flags: list[str]) -> bool:
    """Whether code for AMX tiles works here: tried, for neither the CPU's flags nor the compiler's tell."""
    source = Path(__file__).with_name("probe_amx.c")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "probe"
        command = [compiler, "-O3", *flags, str(source), "-o", str(program)]
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            return False
        return subprocess.run([str(program)], capture_output=True, check=False).returncode == 0


def native_flags(compiler: str, processor: str) -> list[str]:
    """Compiler flags for the CPU of this machine, without what this compiler gets wrong."""
    if re.match(r"aarch64|arm", processor, re.IGNORECASE):
        return ["-mcpu=native"]
    flags = ["-march=native"]
    if "amx_tile" in needed_cpu_flags(compiler, flags) and not amx_is_sound(compiler, flags):
        print("llamasmith: AMX is left out: code for it by this compiler does not work here", file=sys.stderr)
        flags += AMX_OFF
    return flags


def needed_cpu_flags(compiler: str, flags: list[str]) -> list[str]:
    """The /proc/cpuinfo flags that code compiled with these flags may need."""
    command = [compiler, *flags, "-dM", "-E", "-x", "c", os.devnull]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise BuildError(f"{' '.join(command)} failed: {result.stderr.strip()}. Use LLAMASMITH_CPU=baseline.")
    macros = set(re.findall(r"^#define (\w+)", result.stdout, re.MULTILINE))
    return [flag for macro, flag in MACRO_FLAGS.items() if macro in macros]


def engine_flags(cpu: str, engine_args: Sequence[str], compiler: str, processor: str) -> tuple[list[str], list[str]]:
    """The compiler's flags for engines, and the /proc/cpuinfo flags that what it makes of them may need."""
    found = [*PLACEMENT, *(native_flags(compiler, processor) if cpu == "native" else [])]
    switched = isa_flags(cpu, engine_args) if re.match(r"x86_64|amd64", processor, re.IGNORECASE) else []
    return found, needed_cpu_flags(compiler, [*found, *switched])
