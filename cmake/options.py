"""Checks what the user asked CMake for, and derives what upstream and the engines are told. Called by Options.cmake.

Every ``GGML_*``, ``LLAMA_*`` and ``LLAMASMITH_*`` definition must be known and must have an effect; else the build
stops and says what was meant. Reads the cache listing that CMake wrote, writes ``options.cmake`` and ``options.json``.
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
from dataclasses import dataclass, field
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

import backends
import isa
from backends import Backends
from values import check_list, truth

from llamasmith.errors import BuildError

DEFAULT_ENGINES = ("patched", "upstream", "upstream-openmp")
ALL_ENGINES = (*DEFAULT_ENGINES, "patched-openmp")
CPU_CHOICES = ("native", "baseline", "dispatch")
OUR_DEFAULTS = {
    "LLAMASMITH_ENGINES": ";".join(DEFAULT_ENGINES),
    "LLAMASMITH_BACKENDS": "",  # cpu, and what upstream's switches (GGML_BLAS=ON) add
    "LLAMASMITH_OPENBLAS": "auto",
    "LLAMASMITH_CUDA_ARCHITECTURES": "",
    "LLAMASMITH_CUDA_MAJOR": "",
    "LLAMASMITH_CPU": "native",
    "LLAMASMITH_CPU_VARIANTS": "",
    "LLAMASMITH_EXTRA_PATCHES": "",
    "LLAMASMITH_SKIP_PATCHES": "",
    "LLAMASMITH_TOOLS": "OFF",
    "LLAMASMITH_UPSTREAM_TESTS": "OFF",
    "LLAMASMITH_LLAMA_CPP_DIR": "",
}

X86_ISA = {name: flags for name, (flags, _) in isa.X86_SWITCHES.items()}

# Upstream options whose value this project decides: the value we set, and what a user should set instead.
DECIDED = {
    "GGML_NATIVE": ("OFF", "set LLAMASMITH_CPU=native, baseline or dispatch instead"),
    "GGML_BACKEND_DL": ("ON", "engines are always loadable modules"),
    "GGML_BACKEND_DIR": ("", "engines are found relative to the package"),
    "GGML_STATIC": ("OFF", "a Python extension cannot be linked statically"),
    "GGML_CPU": ("ON", "choose engines with LLAMASMITH_ENGINES"),
    "GGML_OPENMP": (None, "OpenMP is an engine: choose with LLAMASMITH_ENGINES=upstream-openmp or patched-openmp"),
    "GGML_BUILD_TESTS": ("OFF", "set LLAMASMITH_UPSTREAM_TESTS=ON to build upstream's tests of the CPU backend"),
    "GGML_BUILD_EXAMPLES": ("OFF", "upstream's examples are not part of the package"),
    "GGML_ALL_WARNINGS": ("OFF", "warnings are for our own code"),
    "GGML_CPU_ALL_VARIANTS": ("OFF", "set LLAMASMITH_CPU=dispatch to build every variant"),
    "LLAMA_BUILD_COMMON": ("OFF", "set LLAMASMITH_TOOLS=ON to build upstream's tools"),
    "LLAMA_BUILD_TOOLS": ("OFF", "set LLAMASMITH_TOOLS=ON to build upstream's tools"),
    "LLAMA_BUILD_SERVER": ("OFF", "set LLAMASMITH_TOOLS=ON to build upstream's llama-server"),
    "LLAMA_BUILD_TESTS": ("OFF", "set LLAMASMITH_UPSTREAM_TESTS=ON to build upstream's tests of the CPU backend"),
    "LLAMA_BUILD_EXAMPLES": ("OFF", "upstream's examples are not part of the package"),
    "LLAMA_BUILD_APP": ("OFF", "upstream's app is not part of the package"),
    "LLAMA_BUILD_UI": ("OFF", "upstream's web pages are not part of the package"),
    "LLAMA_USE_PREBUILT_UI": ("OFF", "a build downloads nothing but the pinned source"),
    "LLAMA_OPENSSL": ("OFF", "a package must not depend on the build machine's OpenSSL"),
    "LLAMA_USE_SYSTEM_GGML": ("OFF", "engines and libraries come from the same pinned tree"),
}
# Names of other days and places, and what they are today.
RENAMED = {
    **backends.RENAMED,
    "LLAMA_NATIVE": "LLAMASMITH_CPU",
    "LLAMA_AVX": "GGML_AVX",
    "LLAMA_AVX2": "GGML_AVX2",
    "LLAMA_AVX512": "GGML_AVX512",
    "LLAMA_FMA": "GGML_FMA",
    "LLAMA_F16C": "GGML_F16C",
}
# The help text that CMake gives to -D on its command line, and scikit-build-core to -C cmake.define.
BY_USER = {"No help, variable specified on the command line.", ""}

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


@dataclass(frozen=True)
class Definition:
    """One cache entry: ``by_user`` if it was given on a command line and not made by CMake code."""

    name: str
    value: str
    by_user: bool


@dataclass
class Choice:
    """What the build will do."""

    requested: dict[str, str]
    engines: list[str]
    left_out: dict[str, str]
    backends: Backends
    cpu: str
    engine_args: list[str] = field(default_factory=list)


def read_listing(text: str) -> list[Definition]:
    """The cache entries that CMake listed, a tab-separated line each: name, type, help, value."""
    entries = []
    for line in text.splitlines():
        name, _, rest = line.partition("\t")
        kind, _, rest = rest.partition("\t")
        helptext, _, value = rest.partition("\t")
        by_user = kind == "UNINITIALIZED" or (kind != "INTERNAL" and helptext in BY_USER)
        entries.append(Definition(name, value, by_user))
    return entries


def upstream_options(vendor: Path) -> set[str]:
    """Names of all options that upstream's CMake files declare, read from the pinned tree itself."""
    declared = re.compile(r"^\s*(?:option|set)\s*\(\s*((?:GGML|LLAMA)_\w+)(?=.*?(?:CACHE|\"))", re.MULTILINE)
    names: set[str] = set()
    for file in (vendor / "CMakeLists.txt", vendor / "ggml" / "CMakeLists.txt"):
        names |= set(declared.findall(file.read_text(encoding="utf-8")))
    return names


def refuse_unknown(name: str, known: set[str]) -> None:
    if name in known:
        return
    meant = RENAMED.get(name)
    if meant is None:
        close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
        meant = close[0] if close else None
    hint = f" Did you mean {meant}?{backends.today(name)}" if meant else ""
    ours = ", ".join(sorted(OUR_DEFAULTS))
    raise BuildError(f"{name} is not an option of llamasmith or of the pinned llama.cpp.{hint} Our options: {ours}.")


def check_upstream_option(name: str, value: str, cpu: str) -> bool:
    """Whether a known upstream option may be passed on; raises where it would have no effect or do harm."""
    value = truth(value)
    if name.removeprefix("GGML_") in X86_ISA:
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
        return True
    if name == "GGML_CPU_ARM_ARCH" and cpu == "dispatch":
        raise BuildError(f"{name}={value} names one CPU, and LLAMASMITH_CPU=dispatch builds for all. Leave one out.")
    if name in DECIDED:
        ours, advice = DECIDED[name]
        if value != ours:
            raise BuildError(f"{name}={value} has no effect here: {advice}.")
        return False
    if not name.startswith("GGML_"):
        raise BuildError(f"{name}={value} has no effect here: llamasmith decides how libllama is built.")
    return True


def choose_backends(entries: list[Definition], values: dict[str, str], known: set[str]) -> Backends:
    """What is said of backends, by us and by upstream's own switches."""
    by_user = {entry.name: entry.value for entry in entries if entry.by_user}
    switches = {name: value for name, value in by_user.items() if name in known and backends.is_about(name)}
    return backends.choose_backends(values["LLAMASMITH_BACKENDS"], switches, values["LLAMASMITH_OPENBLAS"])


def refuse_what_needs_cuda(requested: dict[str, str], built: Backends) -> None:
    for name in ("LLAMASMITH_CUDA_ARCHITECTURES", "LLAMASMITH_CUDA_MAJOR"):
        if name in requested and "cuda" not in built.names:
            raise BuildError(
                f"{name}={requested[name]} has no effect without the backend cuda: "
                f'add LLAMASMITH_BACKENDS="{";".join([*built.names, "cuda"])}".'
            )


def refuse_what_needs_the_core(requested: dict[str, str], built: Backends) -> None:
    for name in ("LLAMASMITH_ENGINES", "LLAMASMITH_TOOLS", "LLAMASMITH_UPSTREAM_TESTS"):
        if name in requested:
            raise BuildError(
                f"{name}={requested[name]} has no effect with LLAMASMITH_BACKENDS={';'.join(built.names)}, which "
                f"builds nothing but backends. Add cpu to LLAMASMITH_BACKENDS."
            )


def choose(entries: list[Definition], known: set[str], *, has_openmp: bool) -> Choice:
    """Turns cache entries into the build's choices, or raises BuildError with what is wrong."""
    values = {**OUR_DEFAULTS, **{e.name: e.value for e in entries if e.name in OUR_DEFAULTS}}
    requested = {name: value for name, value in values.items() if truth(value) != OUR_DEFAULTS[name]}

    cpu = values["LLAMASMITH_CPU"]
    if len(check_list("LLAMASMITH_CPU", cpu, CPU_CHOICES)) > 1:
        raise BuildError(
            f"LLAMASMITH_CPU is {cpu!r}, which is more than one. Allowed: one of {', '.join(CPU_CHOICES)}."
        )
    if values["LLAMASMITH_CPU_VARIANTS"] and cpu != "dispatch":
        raise BuildError("LLAMASMITH_CPU_VARIANTS has no effect without LLAMASMITH_CPU=dispatch.")
    for switch in ("LLAMASMITH_TOOLS", "LLAMASMITH_UPSTREAM_TESTS"):
        if truth(values[switch]) not in {"ON", "OFF"}:
            raise BuildError(f"{switch} is {values[switch]!r}. Allowed: ON, OFF.")
    built = choose_backends(entries, values, known)
    refuse_what_needs_cuda(requested, built)
    engines = check_list("LLAMASMITH_ENGINES", values["LLAMASMITH_ENGINES"], ALL_ENGINES)
    if cpu == "dispatch" and "LLAMASMITH_ENGINES" not in requested:
        engines = ["patched"]  # each engine is built in every variant: only what was asked for

    left_out = {}
    for engine in [name for name in engines if name.endswith("-openmp") and not has_openmp]:
        why = "the compiler has no OpenMP (for GCC and Clang on Debian: apt install libgomp1 or libomp-dev)"
        if "LLAMASMITH_ENGINES" in requested:
            raise BuildError(f"LLAMASMITH_ENGINES asks for {engine}, but {why}.")
        engines.remove(engine)
        left_out[engine] = why

    if not built.core:
        refuse_what_needs_the_core(requested, built)
        engines, left_out = [], {}
    choice = Choice(requested, engines, left_out, built, cpu)
    for entry in entries:
        if not entry.by_user or entry.name in OUR_DEFAULTS:
            continue
        refuse_unknown(entry.name, known | set(OUR_DEFAULTS))
        requested[entry.name] = entry.value
        if backends.is_about(entry.name):
            continue
        if check_upstream_option(entry.name, entry.value, cpu):
            choice.engine_args.append(f"-D{entry.name}:STRING={entry.value}")
    check_fma(choice)
    return choice


def check_fma(choice: Choice) -> None:
    """Upstream's code for AVX2 and newer uses FMA, and does not compile without."""
    on = {name for name, value in choice.requested.items() if truth(value) == "ON"}
    newer = [name for name in choice.requested if re.match(r"GGML_(AVX2|AVX_VNNI|AVX512.*)$", name) and name in on]
    if newer and "GGML_FMA" not in on:
        raise BuildError(
            f"{newer[0]}=ON without GGML_FMA=ON does not compile: upstream's code for it uses FMA. Add GGML_FMA=ON; "
            f"every CPU with AVX2 has it, and F16C and BMI2 as well (GGML_F16C=ON, GGML_BMI2=ON)."
        )


def isa_args(choice: Choice) -> list[str]:
    """Upstream's own switches for instruction sets, each set explicitly: their defaults depend on the environment."""
    given = {arg[2:].partition(":")[0] for arg in choice.engine_args}
    on = {"SSE42"} if choice.cpu == "baseline" else set()
    names = [name for name in X86_ISA if f"GGML_{name}" not in given]
    return [f"-DGGML_{name}:BOOL={'ON' if name in on else 'OFF'}" for name in names]


def isa_flags(choice: Choice) -> list[str]:
    """The compiler flags that these switches become."""
    switches = dict(re.findall(r"-DGGML_(\w+):\w+=(.*)", "\n".join(choice.engine_args + isa_args(choice))))
    return [flag for name, flags in X86_ISA.items() if truth(switches[name]) == "ON" for flag in flags.split()]


# Every function begins a cache line, in every engine. Else a patch that makes one function longer moves the loops of
# all that follow, and a hot loop may run some percent faster or slower for where it lies: a difference between engines
# that is nobody's merit (seen: 2 % of prompt speed, in a function that no patch touches).
PLACEMENT = ["-falign-functions=64"]

AMX_OFF = ["-mno-amx-tile", "-mno-amx-int8", "-mno-amx-bf16"]


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


def cmake_text(choice: Choice, flags: list[str], pin: str) -> str:
    def line(name: str, values: list[str]) -> str:
        return f"set({name} {' '.join(f'[==[{value}]==]' for value in values)})\n"

    args = choice.engine_args + isa_args(choice)
    upstreams = [name for name in choice.requested if not name.startswith("LLAMASMITH_")]
    each = [(f"LLAMASMITH_BACKEND_ARGS_{name}", choice.backends.args.get(name, [])) for name in choice.backends.modules]
    return (
        line("LLAMASMITH_ENGINES_BUILT", choice.engines)
        + line("LLAMASMITH_CORE", ["ON" if choice.backends.core else "OFF"])
        + line("LLAMASMITH_BACKENDS_BUILT", choice.backends.modules)
        + "".join(line(name, values) for name, values in each)
        + line("LLAMASMITH_CPU_FLAGS", flags)
        + line("LLAMASMITH_ENGINE_ARGS", args)
        + line("LLAMASMITH_PIN", [pin])
        + line("LLAMASMITH_REQUESTED_OF_UPSTREAM", upstreams)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("listing", "vendor", "openmp", "compiler", "compiler-id", "processor", "out"):
        parser.add_argument(f"--{name}", required=True)
    args = parser.parse_args()

    vendor = Path(args.vendor)
    pin = tomllib.loads((vendor.parent / "UPSTREAM.toml").read_text(encoding="utf-8"))["commit"]
    entries = read_listing(Path(args.listing).read_text(encoding="utf-8"))
    has_openmp = truth(args.openmp) == "ON"
    choice = choose(entries, upstream_options(vendor), has_openmp=has_openmp)
    for engine, why in choice.left_out.items():
        print(f"llamasmith: engine {engine} is left out: {why}", file=sys.stderr)

    flags = [*PLACEMENT, *(native_flags(args.compiler, args.processor) if choice.cpu == "native" else [])]
    baseline = isa_flags(choice) if re.match(r"x86_64|amd64", args.processor, re.IGNORECASE) else []
    record = {
        "requested": choice.requested,
        "engines": choice.engines,
        "left_out": choice.left_out,
        "backends": choice.backends.names,
        "cpu": choice.cpu,
        "cpu_flags": needed_cpu_flags(args.compiler, [*flags, *baseline]),
        "engine_flags": flags,
    }
    out = Path(args.out)
    (out / "options.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    (out / "options.cmake").write_text(cmake_text(choice, flags, pin), encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except BuildError as error:
        sys.exit(f"\nllamasmith: {error}\n")
