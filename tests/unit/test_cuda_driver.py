"""Why there is no GPU, with drivers that are made up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from llamasmith.cuda_driver import why_no_gpu

if TYPE_CHECKING:
    import ctypes


class Driver:
    def __init__(self, init: int = 0, version: int = 13000, count: int = 0, name: bytes | None = None) -> None:
        self.init, self.version, self.count, self.name = init, version, count, name

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return self.init

    def cuDriverGetVersion(self, out: Any) -> int:  # noqa: N802
        out._obj.value = self.version
        return 0

    def cuDeviceGetCount(self, out: Any) -> int:  # noqa: N802
        out._obj.value = self.count
        return 0

    def cuGetErrorName(self, code: int, out: Any) -> int:  # noqa: N802
        out._obj.value = self.name
        return 0 if self.name else 1


@pytest.mark.parametrize(
    ("driver", "message"),
    [
        (Driver(init=803, name=b"CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"), r"CUDA_ERROR_SYSTEM_DRIVER_MISMATCH \(803\)"),
        (Driver(init=999), "does not start: error 999. See whether nvidia-smi works"),
        (Driver(version=12040), r"it knows CUDA 12\.4, the backend needs 13\.0"),
        (Driver(init=100), "sees no GPU"),
        (Driver(count=0), "sees no GPU. CUDA_VISIBLE_DEVICES"),
        (Driver(count=2, version=13020), r"sees 2 GPU\(s\)"),
    ],
)
def test_what_a_driver_says(driver: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(why_no_gpu("13.0", lambda name: driver))


def test_no_driver() -> None:
    def load(name: str) -> ctypes.CDLL:
        raise OSError(f"{name}: cannot open shared object file")

    assert why_no_gpu("13.0", load).startswith("no driver: libcuda.so.1 is not there. Install NVIDIA's driver")


def test_a_version_that_is_not_known() -> None:
    driver: Any = Driver(version=12040, count=1)
    assert "sees 1 GPU" in why_no_gpu("", lambda name: driver)
