"""cmake/cuda_toolkit.py on made-up trees: which toolkit is taken, what is missing, what is linked."""

from __future__ import annotations

import importlib
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from llamasmith.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Iterable

FOLDER = Path(__file__).resolve().parents[2] / "cmake"


def load(name: str) -> Any:
    """A module of the build's, which is no package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        return importlib.import_module(name)


nvcc, gpus, cuda = load("cuda_compiler"), load("cuda_gpus"), load("cuda_toolkit")
FILES = {
    "nvidia-cuda-nvcc": ("bin/nvcc", "bin/ptxas", "bin/cudafe++", "bin/nvcc.profile"),
    "nvidia-cuda-crt": ("include/crt/host_config.h",),
    "nvidia-nvvm": ("nvvm/bin/cicc", "lib/libnvvm.so.4"),
    "nvidia-cuda-runtime": ("include/cuda_runtime.h", "lib/libcudart.so.13", "lib/libcudart_static.a"),
    "nvidia-cuda-cccl": ("include/cccl/cub/cub.cuh",),
    "nvidia-cublas": ("include/cublas_v2.h", "lib/libcublas.so.13", "lib/libcublasLt.so.13"),
}


def make(root: Path, *, leave_out: Iterable[str] = (), only: Iterable[str] = FILES, version: str = "13.0") -> Path:
    """A toolkit in the form of the wheels, whose compiler says that version."""
    for wheel in only:
        for file in FILES[wheel] if wheel not in leave_out else ():
            path = root / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")
            if file == "bin/nvcc":
                compiler(path, version)
            if file == "include/cuda_runtime.h":
                major, minor = version.split(".")
                number = int(major) * 1000 + int(minor) * 10
                path.with_name("cuda_runtime_api.h").write_text(f"#define CUDART_VERSION  {number}\n")
    return root


def compiler(path: Path, version: str) -> None:
    path.write_text(
        f'#!/bin/sh\n[ "$1" = --list-gpu-arch ] && {{ echo compute_75; echo compute_86; echo compute_120; exit 0; }}\n'
        f'echo "Cuda compilation tools, release {version}, V{version}.88"\n'
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


class World:
    """A machine with nothing on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.site = folder / "site-packages"
        self.site.mkdir()
        self.usual = folder / "usr-local-cuda"
        self.overlay = folder / "build" / "cuda-toolkit"
        self.environment = {"PATH": os.fspath(folder / "bin")}
        self.root = ""

    def wheels(self, major: int = 13, **options: Any) -> Path:
        return make(self.site / "nvidia" / f"cu{major}", **options)

    def find(self, major: int | None = None) -> Any:
        places = cuda.site_packages(self.environment, [os.fspath(self.site)])
        wanted = cuda.candidates(self.root, self.environment, places, [self.usual])
        return cuda.choose(wanted, cuda.folders_of_wheels(places), self.overlay, major)

    def refusal(self, major: int | None = None) -> str:
        with pytest.raises(BuildError) as caught:
            self.find(major)
        return str(caught.value)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def tree(root: Path) -> set[str]:
    return {os.fspath(path.relative_to(root)) for path in root.rglob("*")}


# Which one


def test_wheels_alone_become_an_overlay(world: World) -> None:
    folder = world.wheels()
    before = tree(world.site)
    found = world.find()
    assert (found.root, found.nvcc, found.version) == (world.overlay, world.overlay / "bin" / "nvcc", (13, 0))
    assert found.wheels
    assert str(folder) in found.source
    for name in ("lib64/libcudart.so", "lib64/libcublas.so", "lib/libcublasLt.so", "include/cuda_runtime.h"):
        assert (world.overlay / name).exists(), name
    assert (world.overlay / "lib" / "libcublas.so").resolve() == folder / "lib" / "libcublas.so.13"
    # nvcc goes up from here with "..": in a linked folder it would end up in site-packages
    assert not (world.overlay / "bin").is_symlink()
    assert tree(world.site) == before, "nothing is written into site-packages"


def test_an_overlay_is_made_anew(world: World) -> None:
    world.wheels()
    world.overlay.mkdir(parents=True)
    (world.overlay / "stale").write_text("")
    world.find()
    assert not (world.overlay / "stale").exists()


def test_a_whole_system_toolkit_is_taken_as_it_is(world: World) -> None:
    make(world.usual)
    (world.usual / "lib64").symlink_to("lib")
    for name in ("cublas", "cublasLt", "cudart"):
        (world.usual / "lib" / f"lib{name}.so").symlink_to(f"lib{name}.so.13")
    found = world.find()
    assert (found.root, found.nvcc, found.wheels) == (world.usual, world.usual / "bin" / "nvcc", False)
    assert not world.overlay.exists()


def test_a_system_toolkit_without_cublas_is_completed_from_its_wheel(world: World) -> None:
    make(world.usual, leave_out=["nvidia-cublas"])
    message = world.refusal()
    assert "incomplete: it lacks cublas." in message
    assert 'pip install "nvidia-cublas==13.0.*"' in message
    assert "nvidia-cuda-nvcc" not in message
    world.wheels(only=["nvidia-cublas"])
    found = world.find()
    assert found.root == world.overlay
    assert found.source == f"{world.usual}, completed from wheels in {world.site / 'nvidia' / 'cu13'}"
    for name in ("bin/ptxas", "include/cuda_runtime.h", "include/cublas_v2.h", "lib64/libcublas.so"):
        assert (world.overlay / name).exists(), name


def test_wheels_of_another_major_version_complete_nothing(world: World) -> None:
    make(world.usual, leave_out=["nvidia-cublas"])
    world.wheels(12, only=["nvidia-cublas"])
    assert "lacks cublas" in world.refusal()


def test_what_is_named_comes_first(world: World) -> None:
    world.wheels()
    make(world.usual)
    other = make(world.folder / "other", version="12.9")
    world.environment["CUDACXX"] = os.fspath(other / "bin" / "nvcc")
    assert world.find().version == (12, 9)
    world.environment["CUDAToolkit_ROOT"] = os.fspath(make(world.folder / "third", version="13.1"))
    assert world.find().version == (13, 1)
    world.root = os.fspath(make(world.folder / "fourth", version="13.2"))
    assert world.find().version == (13, 2)


def test_wheels_in_the_build_environment_come_before_the_system(world: World) -> None:
    make(world.usual, version="12.9")
    assert world.find().version == (12, 9)
    world.wheels(version="13.0")
    assert world.find().version == (13, 0)


def test_the_newest_of_two_sets_of_wheels(world: World) -> None:
    world.wheels(12, version="12.9")
    world.wheels(13, version="13.0")
    assert world.find().version == (13, 0)


def test_the_user_s_active_environment_is_seen_from_an_isolated_build(world: World) -> None:
    venv = world.folder / "venv"
    make(venv / "lib" / "python3.12" / "site-packages" / "nvidia" / "cu13")
    world.environment["VIRTUAL_ENV"] = os.fspath(venv)
    assert world.find().version == (13, 0)


@pytest.mark.parametrize("form", ["link", "script"])
def test_the_toolkit_behind_an_nvcc_on_the_path(world: World, form: str) -> None:
    real = make(world.folder / "elsewhere" / "cuda-13.0")
    caller = world.folder / "bin" / "nvcc"
    caller.parent.mkdir()
    if form == "link":
        caller.symlink_to(real / "bin" / "nvcc")
    else:
        caller.write_text(f'#!/bin/sh\nexec {real}/bin/nvcc "$@"\n')
        caller.chmod(0o755)
    found = world.find()
    assert (found.root, found.source) == (world.overlay, f"nvcc on the PATH: {caller}")
    assert (world.overlay / "include" / "cublas_v2.h").resolve() == real / "include" / "cublas_v2.h"


# What is wrong


def test_nothing_at_all(world: World) -> None:
    message = world.refusal()
    assert "needs a CUDA toolkit of version 12.0 or newer, and none fits: no" in message
    for wheel in FILES:
        assert f'"{wheel}==13.0.*"' in message
    assert "build.requires=nvidia-cuda-nvcc==13.0.*;nvidia-cuda-crt==13.0.*" in message


@pytest.mark.parametrize("wheel", [wheel for wheel in FILES if wheel != "nvidia-cuda-nvcc"])
def test_a_missing_wheel_is_named_with_its_version(world: World, wheel: str) -> None:
    world.wheels(leave_out=[wheel], version="13.2")
    assert f'pip install "{wheel}==13.2.*", and' in world.refusal()


def test_several_missing_wheels(world: World) -> None:
    world.wheels(leave_out=["nvidia-cublas", "nvidia-nvvm"])
    message = world.refusal()
    assert "lacks nvvm, cublas. Install them with" in message
    assert 'pip install "nvidia-nvvm==13.0.*" "nvidia-cublas==13.0.*"' in message


def test_wheels_without_the_compiler(world: World) -> None:
    world.wheels(leave_out=["nvidia-cuda-nvcc"])
    assert "cu13 has no nvcc" in world.refusal()


@pytest.mark.parametrize("how", ["root", "path"])
def test_a_toolkit_that_is_too_old_is_told_with_both_versions(world: World, how: str) -> None:
    old = make(world.usual, version="11.8")
    if how == "root":
        world.root = os.fspath(old)
    message = world.refusal()
    assert re.search(r"is version 11\.8; the pinned llama.cpp needs 12\.0 or newer", message), message


def test_one_that_is_too_old_does_not_hide_another(world: World) -> None:
    make(world.folder, only=["nvidia-cuda-nvcc"], version="11.8")  # bin/nvcc on the PATH
    make(world.usual)
    assert world.find().version == (13, 0)


def test_a_wheel_for_one_major_version_takes_no_other_toolkit(world: World) -> None:
    make(world.usual, version="12.9")
    message = world.refusal(13)
    assert f"none fits (the one from {world.usual} is version 12.9; LLAMASMITH_CUDA_MAJOR asks for 13)" in message
    assert '"nvidia-cublas==13.0.*"' in message
    world.wheels()
    assert world.find(13).version == (13, 0)
    assert world.find(12).version == (12, 9)
    world.root = os.fspath(world.usual)
    assert "LLAMASMITH_CUDA_MAJOR asks for 13. Name another one" in world.refusal(13)


def test_a_named_root_without_a_compiler(world: World) -> None:
    make(world.usual)
    world.root = os.fspath(world.folder / "nowhere")
    assert f"there is no {world.folder}/nowhere/bin/nvcc" in world.refusal()


def test_pieces_of_two_versions(world: World) -> None:
    folder = world.wheels(version="13.0")
    (folder / "include" / "cuda_runtime_api.h").write_text("#define CUDART_VERSION 13020\n")
    message = world.refusal()
    assert "of two versions: its compiler is 13.0, its runtime 13.2" in message
    assert '"nvidia-cuda-runtime==13.0.*"' in message


def test_a_nvccthat_is_none(world: World) -> None:
    folder = world.wheels()
    (folder / "bin" / "nvcc").write_text("#!/bin/sh\necho hello\n")
    assert "does not say which version of CUDA it is" in world.refusal()
    (folder / "bin" / "nvcc").write_text("#!/bin/sh\necho broken >&2\nexit 1\n")
    assert "--version failed: broken" in world.refusal()
    (folder / "bin" / "nvcc").chmod(0o644)
    assert "cannot be run" in world.refusal()


# What it is built for


def chosen(given: str, version: tuple[int, int] = (13, 0), here: Iterable[str] = ()) -> list[str]:
    found: list[str] = gpus.architectures(given, version, ["75", "80", "86", "90", "120"], lambda: list(here))
    return found


@pytest.mark.parametrize(
    ("version", "first", "last"),
    [((12, 4), "61-virtual", "90-virtual"), ((12, 8), "61-virtual", "120a-real"), ((13, 0), "75-virtual", "120a-real"),
     ((14, 1), "75-virtual", "120a-real")],
)  # fmt: skip
def test_a_short_list_for_each_major_version(version: tuple[int, int], first: str, last: str) -> None:
    found = chosen("", version)
    assert (found[0], found[-1]) == (first, last)
    assert len(found) <= 8


@pytest.mark.parametrize(
    ("given", "expected"),
    [("86-real", ["86-real"]), ("86-real;90-virtual", ["86-real", "90-virtual"]), ("86,86;120a", ["86", "120a"])],
)
def test_a_list_of_ones_own(given: str, expected: list[str]) -> None:
    assert chosen(given) == expected


def test_native_is_what_the_driver_says() -> None:
    assert chosen("native", here=["86", "120"]) == ["86-real", "120a-real"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("native", r"no driver or no GPU\. Name the architecture, such as 86-real, .*75-virtual"),
        ("native;86", "native stands alone"),
        ("ampere", r"names 'ampere'\. Allowed: native, or numbers"),
        ("sm_86", "names 'sm_86'"),
        ("8.6", "names '8.6'"),
        ("86-reel", "names '86-reel'"),
        ("61", r"names '61', which the compiler of CUDA 13\.0 does not know\. It knows: 75, 80"),
    ],
)
def test_architectures_that_are_refused(given: str, message: str) -> None:
    with pytest.raises(BuildError, match=message):
        chosen(given)


def test_without_a_driver_there_are_no_gpus() -> None:
    def load(name: str) -> Any:
        raise OSError(name)

    assert gpus.gpus_here(load) == []


def test_a_driver_is_asked() -> None:
    class Driver:
        def __init__(self, init: int) -> None:
            self.cuInit = lambda flags: init

        def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
            count._obj.value = 2
            return 0

        def cuDeviceGetAttribute(self, value: Any, attribute: int, index: int) -> int:  # noqa: N802
            value._obj.value = {75: (8, 12), 76: (6, 0)}[attribute][index]
            return 0

    assert gpus.gpus_here(lambda name: Driver(0)) == ["86", "120"]
    assert gpus.gpus_here(lambda name: Driver(100)) == [], "CUDA_ERROR_NO_DEVICE"


def test_the_nvccsays_what_it_knows(world: World) -> None:
    assert nvcc.known_architectures(world.wheels() / "bin" / "nvcc") == ["75", "86", "120"]
    assert nvcc.known_architectures(world.folder / "none") == []


def test_what_cmake_is_told(world: World) -> None:
    world.wheels()
    text = cuda.cmake_text(world.find(), ["86-real", "90-virtual"])
    assert f"set(LLAMASMITH_CUDA_ROOT [==[{world.overlay}]==])" in text
    assert "set(LLAMASMITH_CUDA_VERSION [==[13.0]==])" in text
    assert "set(LLAMASMITH_CUDA_FROM [==[wheels]==])" in text
    assert "set(LLAMASMITH_CUDA_BUILT_FOR [==[86-real;90-virtual]==])" in text
