"""Why the backend cuda finds no GPU: asked of NVIDIA's driver itself, which says more than the CUDA runtime does."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["why_no_gpu"]

_SUCCESS, _NO_DEVICE = 0, 100


def why_no_gpu(needed: str, load: Callable[[str], ctypes.CDLL] = ctypes.CDLL) -> str:
    """The reason, and what to do; loads the driver's library into this process.

    Args:
        needed: the version of CUDA that the backend was built with, such as ``13.0``; empty if that is not known.
    """
    try:
        driver = load("libcuda.so.1")
    except OSError:
        return (
            "no driver: libcuda.so.1 is not there. Install NVIDIA's driver; in a container, let the host's in (for "
            "Docker and Podman: --gpus all, with the NVIDIA Container Toolkit)"
        )
    code = driver.cuInit(0)
    if code not in (_SUCCESS, _NO_DEVICE):
        return f"NVIDIA's driver does not start: {_name(driver, code)}. See whether nvidia-smi works"
    version = ctypes.c_int()
    if driver.cuDriverGetVersion(ctypes.byref(version)) == _SUCCESS and needed:
        knows, wants = version.value // 1000, int(needed.partition(".")[0])
        if knows < wants:
            has = f"{version.value // 1000}.{version.value % 1000 // 10}"
            return f"NVIDIA's driver is too old: it knows CUDA {has}, the backend needs {needed}. Install a newer one"
    count = ctypes.c_int()
    if code == _NO_DEVICE or driver.cuDeviceGetCount(ctypes.byref(count)) != _SUCCESS or count.value == 0:
        return "NVIDIA's driver sees no GPU. CUDA_VISIBLE_DEVICES may hide it, or a container was given none"
    return f"NVIDIA's driver sees {count.value} GPU(s); the log of llama.cpp (logging.DEBUG) tells why none is used"


def _name(driver: ctypes.CDLL, code: int) -> str:
    text = ctypes.c_char_p()
    if driver.cuGetErrorName(code, ctypes.byref(text)) == _SUCCESS and text.value:
        return f"{text.value.decode(errors='replace')} ({code})"
    return f"error {code}"
