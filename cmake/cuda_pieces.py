"""The parts of a CUDA toolkit, and a tree of links that brings them together. Used by cuda_toolkit.py."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cuda_compiler import Version, in_words

if TYPE_CHECKING:
    from collections.abc import Sequence

# What people are told to install where nothing else says which version.
USUAL: Version = (13, 0)


@dataclass(frozen=True)
class Piece:
    """A part of a toolkit: the wheel that has it, and what must be there, of which one form is enough."""

    wheel: str
    files: tuple[tuple[str, ...], ...]


def in_include(*files: str) -> tuple[str, ...]:
    """Where these headers may be: NVIDIA's installer has them below targets/ too."""
    return tuple(f"{place}{file}" for file in files for place in ("include/", "targets/*/include/"))


def in_lib(file: str) -> tuple[str, ...]:
    return (f"lib*/{file}", f"targets/*/lib/{file}")


PIECES = (
    Piece("nvidia-cuda-nvcc", (("bin/nvcc",), ("bin/ptxas",), ("bin/cudafe++",))),
    Piece("nvidia-cuda-crt", (in_include("crt/host_config.h"),)),
    Piece("nvidia-nvvm", (("nvvm/bin/cicc",),)),
    Piece("nvidia-cuda-runtime", (in_include("cuda_runtime.h"), in_lib("libcudart.so*"))),
    Piece("nvidia-cuda-cccl", (in_include("cub/cub.cuh", "cccl/cub/cub.cuh"),)),
    Piece("nvidia-cublas", (in_include("cublas_v2.h"), in_lib("libcublas.so*"), in_lib("libcublasLt.so*"))),
)


def has(root: Path, piece: Piece) -> bool:
    return all(any(next(root.glob(form), None) for form in forms) for forms in piece.files)


def runtime_version(root: Path) -> Version | None:
    """Of the header that is compiled against."""
    for header in (root / "include" / "cuda_runtime_api.h", *root.glob("targets/*/include/cuda_runtime_api.h")):
        if header.is_file():
            match = re.search(r"#define\s+CUDART_VERSION\s+(\d+)", header.read_text(encoding="utf-8", errors="replace"))
            return (int(match[1]) // 1000, int(match[1]) % 1000 // 10) if match else None
    return None


def how_to_get(pieces: Sequence[Piece], version: Version | None) -> str:
    """The wheels to install, of the one minor version that they must all have, in the two ways that a build sees."""
    minor = in_words(version or USUAL)
    wheels = [f"{piece.wheel}=={minor}.*" for piece in pieces]
    quoted = " ".join(f'"{wheel}"' for wheel in wheels)
    return (
        f"pip install {quoted}, and --no-build-isolation for this build; or, with the rest of your command line, "
        f'pip install . -C "build.requires={";".join(wheels)}"'
    )


def links_are_there(root: Path) -> bool:
    return any((root / lib / "libcublas.so").exists() for lib in ("lib64", "targets/x86_64-linux/lib"))


def _link(target: Path, link: Path) -> None:
    if not link.is_symlink() and not link.exists():
        link.symlink_to(target)


def make_overlay(roots: Sequence[Path], overlay: Path) -> None:
    """A tree of links to the files of these roots, the first one first, made anew.

    nvcc looks for its neighbours from the folder in which it was called, with ``..``: that folder must be a real one.
    """
    if overlay.exists():
        shutil.rmtree(overlay)
    for part in ("bin", "lib", "include"):
        (overlay / part).mkdir(parents=True)
        for root in roots:
            for folder in (root / part, *([root / "lib64"] if part == "lib" else []), *root.glob(f"targets/*/{part}")):
                for file in sorted(folder.iterdir()) if folder.is_dir() else ():
                    _link(file.resolve() if file.is_symlink() else file.absolute(), overlay / part / file.name)
    (overlay / "lib64").symlink_to("lib")
    for root in roots:
        if (root / "nvvm").is_dir():
            _link((root / "nvvm").absolute(), overlay / "nvvm")
    for library in sorted((overlay / "lib").iterdir()):
        plain, _, number = library.name.partition(".so.")
        if number:
            _link(Path(library.name), overlay / "lib" / f"{plain}.so")
