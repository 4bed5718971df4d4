"""Which backends are built: LLAMASMITH_BACKENDS, and upstream's switches that say the same. Used by options.py.

A backend besides ``cpu`` is a loadable module of its own, made by cmake/Backends.cmake. How one is found, or why it
cannot be built, is not decided here: that is cmake/OpenBlas.cmake's matter, and so on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from values import check_list, truth

from llamasmith.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMES = ("cpu", "openblas", "cuda", "rpc")
# Those whose CMake is not written yet, and what to say to somebody who asks for one.
MISSING: dict[str, str] = {}
BUILT = tuple(name for name in NAMES if name not in MISSING)

# Upstream's backends, by the word in its switches: GGML_<word>, and options of it, GGML_<word>_<more>.
UPSTREAMS = (
    "BLAS", "CANN", "CUDA", "ET", "HIP", "HEXAGON", "METAL", "MUSA", "OPENCL", "OPENVINO", "RPC", "SYCL", "VIRTGPU",
    "VULKAN", "WEBGPU", "ZDNN", "ZENDNN",
)  # fmt: skip
OURS = {"BLAS": "openblas", "CUDA": "cuda", "RPC": "rpc"}
VENDOR = "GGML_BLAS_VENDOR"

# Switches of other days and places, and what they are today.
RENAMED = {
    "LLAMA_CUBLAS": "GGML_CUDA",
    "LLAMA_CUDA": "GGML_CUDA",
    "GGML_CUBLAS": "GGML_CUDA",
    "LLAMA_BLAS": "GGML_BLAS",
    "LLAMA_OPENBLAS": "GGML_BLAS",
    "GGML_OPENBLAS": "GGML_BLAS",
    "LLAMA_BLAS_VENDOR": VENDOR,
    "LLAMA_RPC": "GGML_RPC",
    "LLAMA_METAL": "GGML_METAL",
    "LLAMA_HIPBLAS": "GGML_HIP",
    "GGML_HIPBLAS": "GGML_HIP",
    "LLAMA_VULKAN": "GGML_VULKAN",
    "LLAMA_SYCL": "GGML_SYCL",
}
OPENBLAS_SOURCES = ("auto", "wheel", "system")


@dataclass
class Backends:
    """What is built. `args` holds upstream's own options for each backend, as CMake is given them."""

    names: list[str]
    args: dict[str, list[str]] = field(default_factory=dict)

    @property
    def core(self) -> bool:
        """Whether the package itself is built; else only the backends named, for wheels of their own."""
        return "cpu" in self.names

    @property
    def modules(self) -> list[str]:
        return [name for name in self.names if name != "cpu"]


def is_about(name: str) -> str | None:
    """The word of the backend that an option of upstream's belongs to."""
    return next((word for word in UPSTREAMS if f"{name}_".startswith(f"GGML_{word}_")), None)


def today(name: str) -> str:
    """What a switch of other days is here, as a sentence; empty if it is none."""
    ours = OURS.get(RENAMED.get(name, "").removeprefix("GGML_"))
    return f' Here it is LLAMASMITH_BACKENDS="cpu;{ours}".' if ours else ""


def choose_backends(given: str, switches: Mapping[str, str], openblas: str) -> Backends:
    """The backends to build, or BuildError with what is wrong.

    Args:
        given: LLAMASMITH_BACKENDS; empty if the user has not said it.
        switches: upstream's options about backends that the user said, with their values.
        openblas: LLAMASMITH_OPENBLAS.
    """
    names = check_list("LLAMASMITH_BACKENDS", given, NAMES) if given else ["cpu"]
    for word, ours in OURS.items():
        name = f"GGML_{word}"
        said = truth(switches.get(name, ""))
        if said in {"ON", "OFF"} and given and (said == "ON") != (ours in names):
            raise BuildError(_contradiction(name, switches[name], given, ours, names))
        if said == "ON" and ours not in names:
            names.append(ours)
        if said not in {"ON", "OFF", ""}:
            raise BuildError(f"{name} is {switches[name]!r}. Allowed: ON, OFF.")
    for name in names:
        if name in MISSING:
            raise BuildError(f"The backend {name} was asked for: {MISSING[name]}. Allowed: {', '.join(BUILT)}.")
    found = Backends(names)
    for name, value in switches.items():
        if name == VENDOR:
            _check_vendor(value, names)
        elif name.removeprefix("GGML_") not in OURS:
            _add_option(found, name, value)
    if openblas not in OPENBLAS_SOURCES:
        raise BuildError(f"LLAMASMITH_OPENBLAS is {openblas!r}. Allowed: {', '.join(OPENBLAS_SOURCES)}.")
    if openblas != "auto" and "openblas" not in names:
        raise BuildError(
            f"LLAMASMITH_OPENBLAS={openblas} has no effect without the backend openblas: "
            f'add LLAMASMITH_BACKENDS="cpu;openblas".'
        )
    return found


def _contradiction(name: str, value: str, given: str, ours: str, names: list[str]) -> str:
    if truth(value) == "ON":
        wish = ";".join([*names, ours])
        return (
            f"{name}={value} asks for the backend {ours}, which LLAMASMITH_BACKENDS={given} leaves out. "
            f'Say one of them: LLAMASMITH_BACKENDS="{wish}", or {name}={value} alone.'
        )
    return f"LLAMASMITH_BACKENDS={given} asks for the backend {ours}, {name}={value} leaves it out. Say one of them."


def _check_vendor(value: str, names: list[str]) -> None:
    if value != "OpenBLAS":
        raise BuildError(
            f"{VENDOR}={value} is not built here: of all BLAS libraries, this version builds OpenBLAS only. "
            f'Use {VENDOR}=OpenBLAS, which is LLAMASMITH_BACKENDS="cpu;openblas".'
        )
    if "openblas" not in names:
        raise BuildError(f"{VENDOR}={value} has no effect without the backend openblas: add GGML_BLAS=ON.")


def _add_option(found: Backends, name: str, value: str) -> None:
    """An option of one backend: passed on to it, refused if it would have no effect."""
    word = is_about(name)
    ours = OURS.get(word or "")
    if ours in found.names:
        found.args.setdefault(ours, []).append(f"-D{name}:STRING={value}")
    elif truth(value) not in {"OFF", ""}:
        if ours is None or ours in MISSING:
            raise BuildError(f"{name}={value} has no effect here: this version builds only the backends {_list()}.")
        raise BuildError(
            f"{name}={value} has no effect without the backend {ours}: "
            f'add GGML_{word}=ON, which is LLAMASMITH_BACKENDS="cpu;{ours}".'
        )


def _list() -> str:
    return f"{', '.join(BUILT[:-1])} and {BUILT[-1]}"
