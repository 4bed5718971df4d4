"""Checks what the user asked CMake for, and derives what upstream and the engines are told. Called by Options.cmake.

Every ``GGML_*``, ``LLAMA_*`` and ``LLAMASMITH_*`` definition must be known and must have an effect; else the build
stops and says what was meant. Reads the cache listing that CMake wrote, writes ``options.cmake`` and ``options.json``.
"""

from __future__ import annotations

import argparse
import difflib
import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

import backends
import instructions
from backends import Backends
from instructions import isa_args
from values import check_list, truth

from llamasmith.errors import BuildError

DEFAULT_ENGINES = ("patched", "upstream", "upstream-openmp")
ALL_ENGINES = (*DEFAULT_ENGINES, "patched-openmp")
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
    if instructions.is_about(name):
        instructions.refuse_switch(name, value, cpu)
        return True
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

    cpu = instructions.choose_cpu(values["LLAMASMITH_CPU"], values["LLAMASMITH_CPU_VARIANTS"])
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
    instructions.check_fma(requested)
    return choice


def cmake_text(choice: Choice, flags: list[str], pin: str) -> str:
    def line(name: str, values: list[str]) -> str:
        return f"set({name} {' '.join(f'[==[{value}]==]' for value in values)})\n"

    args = choice.engine_args + isa_args(choice.cpu, choice.engine_args)
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

    flags, needed = instructions.engine_flags(choice.cpu, choice.engine_args, args.compiler, args.processor)
    record = {
        "requested": choice.requested,
        "engines": choice.engines,
        "left_out": choice.left_out,
        "backends": choice.backends.names,
        "cpu": choice.cpu,
        "cpu_flags": needed,
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
