"""What the backend cuda is built for. Used by cuda_toolkit.py."""

from __future__ import annotations

import ctypes
import re
from typing import TYPE_CHECKING

from cuda_compiler import Version, in_words

from llamasmith.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# What is built unless somebody says otherwise: machine code for the most common GPUs, and code that the driver compiles
# when it first runs (virtual) for those between and after them. Upstream's list, without what no more than one GPU has.
DEFAULT_ARCHITECTURES: dict[int, tuple[str, ...]] = {
    12: ("61-virtual", "70-virtual", "75-virtual", "80-virtual", "86-real", "89-real", "90-virtual"),
    13: ("75-virtual", "80-virtual", "86-real", "89-real", "90-virtual", "120a-real"),
}
ARCHITECTURE = re.compile(r"(\d{2,3})([af]?)(-real|-virtual)?")


def gpus_here(load: Callable[[str], ctypes.CDLL] = ctypes.CDLL) -> list[str]:
    """Compute capabilities of this machine's GPUs, such as ``86``, as the driver tells. Empty without driver or GPU."""
    try:
        driver = load("libcuda.so.1")
    except OSError:
        return []
    count = ctypes.c_int()
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return []
    found = []
    for index in range(count.value):
        numbers = []
        for attribute in (75, 76):  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
            value = ctypes.c_int()
            driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, index)
            numbers.append(value.value)
        found.append("{}{}".format(*numbers))
    return sorted(set(found), key=int)


def default_architectures(version: Version) -> list[str]:
    major = min(version[0], max(DEFAULT_ARCHITECTURES))
    blackwell = ["120a-real"] if version >= (12, 8) and major == 12 else []
    return [*DEFAULT_ARCHITECTURES[major], *blackwell]


def architectures(given: str, version: Version, known: Sequence[str], gpus: Callable[[], list[str]]) -> list[str]:
    """What to compile for. `known`: what the compiler can, as it says itself; empty if it does not say."""
    words = [word.strip() for word in given.replace(",", ";").split(";") if word.strip()]
    if not words:
        return default_architectures(version)
    if "native" in words:
        if len(words) > 1:
            raise BuildError(f"LLAMASMITH_CUDA_ARCHITECTURES is {given!r}: native stands alone.")
        found = gpus()
        if not found:
            raise BuildError(
                "LLAMASMITH_CUDA_ARCHITECTURES=native asks the driver for this machine's GPUs, and there is no driver "
                "or no GPU. Name the architecture, such as 86-real, or leave the option out for "
                f"{';'.join(default_architectures(version))}."
            )
        words = [f"{number}a-real" if number.startswith("12") else f"{number}-real" for number in found]
    for word in words:
        match = ARCHITECTURE.fullmatch(word)
        if not match:
            raise BuildError(
                f"LLAMASMITH_CUDA_ARCHITECTURES names {word!r}. Allowed: native, or numbers such as 86 (code for that "
                f"GPU and for newer ones), 86-real (for that GPU), 86-virtual (compiled by the driver), separated by "
                f"semicolons."
            )
        if known and match[1] not in known:
            raise BuildError(
                f"LLAMASMITH_CUDA_ARCHITECTURES names {word!r}, which the compiler of CUDA {in_words(version)} does "
                f"not know. It knows: {', '.join(known)}."
            )
    return list(dict.fromkeys(words))
